# SPDX-License-Identifier: Apache-2.0
"""What the checks share: the C files of the tree, C text without comments and strings, and
the public symbols as the map lists and as the headers declare them."""
import re

FOLDERS = ("include", "src", "router", "engine", "tools")
MAP = "src/libsegue.map"
API = re.compile(r"^SEGUE_API\b[^;(]*?\b(\w+)\s*\(", re.MULTILINE)
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


def listed(root):
    """symbol -> its line in the map; and the faults of the map itself."""
    symbols, faults, exported = {}, [], False
    for number, line in enumerate((root / MAP).read_text().splitlines(), 1):
        word = line.strip().rstrip(";")
        if word in ("global:", "local:"):
            exported = word == "global:"
        elif exported and word and word != "}" and not word.startswith("#"):
            if not re.fullmatch(r"\w+", word):
                faults.append(f"{MAP}:{number}: '{word}' is no plain symbol; list each one by name")
            symbols[word] = number
    return symbols, faults


def declared(root):
    """symbol -> file:line of its declaration in a public header."""
    found = {}
    for header in sorted((root / "include/segue").glob("*.h")):
        text = header.read_text()
        for match in API.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found[match.group(1)] = f"{header.relative_to(root)}:{line}"
    return found
