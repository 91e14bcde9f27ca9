# SPDX-License-Identifier: Apache-2.0
"""Every function a public header declares is in src/libsegue.map."""
from . import source


def check(root, build):
    symbols, _ = source.listed(root)
    return [f"{place}: {name} is public, but {source.MAP} does not list it"
            for name, place in sorted(source.declared(root).items()) if name not in symbols]
