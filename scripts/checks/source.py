# SPDX-License-Identifier: Apache-2.0
"""What the checks share: the C files of the tree, and C text without comments and strings."""
import re

FOLDERS = ("include", "src", "router", "engine", "tools")
NOT_CODE = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def files(root):
    """The C files of the product, sorted, relative to the root."""
    found = []
    for folder in FOLDERS:
        found += (root / folder).rglob("*.[ch]")
    return sorted(path.relative_to(root) for path in found)


def code(text):
    """The text with comments and literals blanked; line numbers stay."""
    return NOT_CODE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)
