# SPDX-License-Identifier: Apache-2.0
"""The shared library exports exactly src/libsegue.map, and nothing that no public header
declares; the nginx module exports its module's symbols only."""
import re
import subprocess

from . import source

NGINX_MODULE = re.compile(r"ngx_modules|ngx_module_names|ngx_module_order|ngx_http_segue(_\w+)?_module")


def exported(library):
    """What a shared object exports; names that begin with _ belong to the toolchain."""
    out = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True)
    rows = (line.split() for line in out.stdout.splitlines())
    return {row[2].split("@")[0] for row in rows if len(row) == 3 and row[1] != "A" and row[2][0] != "_"}


def check(root, build):
    symbols, faults = source.listed(root)
    for name in sorted(symbols.keys() - source.declared(root).keys()):
        faults.append(f"{source.MAP}:{symbols[name]}: no public header declares {name}")

    library = build / "src/libsegue.so"
    if library.exists():
        got = exported(library)
        for name in sorted(symbols.keys() - got):
            faults.append(f"{source.MAP}:{symbols[name]}: libsegue.so does not export {name}")
        for name in sorted(got - symbols.keys()):
            faults.append(f"{source.MAP}:1: libsegue.so exports {name}, which is not listed")
    for module in sorted(build.rglob("ngx_http_segue*_module.so")):
        for name in sorted(exported(module)):
            if not NGINX_MODULE.fullmatch(name):
                faults.append(f"router/nginx:1: {module.name} exports {name}; make it static")
    return faults
