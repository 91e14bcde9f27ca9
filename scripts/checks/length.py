# SPDX-License-Identifier: Apache-2.0
"""Long files are reported. A prompt to split them by concept, not a fault."""
from . import source

LIMIT = 500


def check(root, build):
    for path in source.files(root):
        lines = (root / path).read_text().count("\n")
        if lines > LIMIT:
            print(f"note: {path} has {lines} lines: split it by concept, or say why not at its head")
    return []
