# SPDX-License-Identifier: Apache-2.0
"""The checks of scripts/check_layers. Each module has check(root, build) -> list of faults."""
