# SPDX-License-Identifier: Apache-2.0
"""The shared library exports exactly src/libsegue.map, which is exactly what the public
headers declare; the nginx module exports its module's symbols only."""
import re
import subprocess

MAP = "src/libsegue.map"
API = re.compile(r"^SEGUE_API\b[^;(]*?\b(\w+)\s*\(", re.MULTILINE)
NGINX_MODULE = re.compile(r"ngx_modules|ngx_module_names|ngx_module_order|ngx_http_segue(_\w+)?_module")


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
    places = {}
    for header in sorted((root / "include/segue").glob("*.h")):
        text = header.read_text()
        for match in API.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            places[match.group(1)] = f"{header.relative_to(root)}:{line}"
    return places


def exported(library):
    """What a shared object exports; names that begin with _ belong to the toolchain."""
    out = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True)
    rows = (line.split() for line in out.stdout.splitlines())
    return {row[2].split("@")[0] for row in rows if len(row) == 3 and row[1] != "A" and row[2][0] != "_"}


def check(root, build):
    symbols, faults = listed(root)
    headers = declared(root)
    for name in sorted(headers.keys() - symbols.keys()):
        faults.append(f"{headers[name]}: {name} is public, but {MAP} does not list it")
    for name in sorted(symbols.keys() - headers.keys()):
        faults.append(f"{MAP}:{symbols[name]}: no public header declares {name}")

    library = build / "src/libsegue.so"
    if library.exists():
        got = exported(library)
        for name in sorted(symbols.keys() - got):
            faults.append(f"{MAP}:{symbols[name]}: libsegue.so does not export {name}")
        for name in sorted(got - symbols.keys()):
            faults.append(f"{MAP}:1: libsegue.so exports {name}, which is not listed")
    for module in sorted(build.rglob("ngx_http_segue*_module.so")):
        for name in sorted(exported(module)):
            if not NGINX_MODULE.fullmatch(name):
                faults.append(f"router/nginx:1: {module.name} exports {name}; make it static")
    return faults
