# SPDX-License-Identifier: Apache-2.0
"""Who includes whom, against src/LAYERS."""
import os
import pathlib
import re

from . import source

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
NGINX_WORD = re.compile(r"\b(?:ngx|NGX)_\w+")
NGINX_HOME = "router/nginx"
PUBLIC = "include/segue"
INCLUDE_ROOTS = ("include", "src", "router", "engine", "tools", "")


def read_layers(root):
    """folder -> the folders it may use; and the faults of the list itself."""
    layers, faults = {}, []
    for number, line in enumerate((root / "src/LAYERS").read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        folder, colon, uses = line.partition(":")
        if not colon or folder in layers:
            faults.append(f"src/LAYERS:{number}: expected 'folder: folders it may use', once a folder")
            continue
        # What stands above is all there is to use, so the layers cannot form a circle.
        for used in uses.split():
            if used not in layers:
                faults.append(f"src/LAYERS:{number}: {folder} uses {used}, which is not listed above it")
        layers[folder] = set(uses.split())
    return layers, faults


def layer_of(path, layers):
    """The listed folder that holds the path; include/segue is everybody's."""
    folders = (str(parent) for parent in path.parents)
    return next((folder for folder in folders if folder in layers or folder == PUBLIC), None)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def includes_of(root, path, text):
    """(line, quoted, name, file it means or None) for each include of one file."""
    for match in INCLUDE.finditer(text):
        quoted, name = match.group(1) == '"', match.group(2)
        near = [path.parent] if quoted else []
        places = (pathlib.Path(os.path.normpath(folder / name))
                  for folder in near + [pathlib.Path(r) for r in INCLUDE_ROOTS])
        target = next((place for place in places if (root / place).is_file()), None)
        yield line_of(text, match.start()), quoted, name, target


def check_file(root, path, text, layers, edges):
    layer = layer_of(path, layers)
    if layer is None:
        yield f"{path}:1: lies in no folder that src/LAYERS lists"
        return
    for line, quoted, name, target in includes_of(root, path, text):
        if target is None:
            if quoted:
                yield f"{path}:{line}: includes \"{name}\", which is no file of this tree"
            continue
        edges.setdefault(path, []).append((line, target))
        used = layer_of(target, layers)
        if layer == PUBLIC and (quoted or used != PUBLIC):
            yield f"{path}:{line}: a public header may include only <segue/...> and the system's headers"
        elif used not in (layer, PUBLIC) and used not in layers.get(layer, ()):
            yield f"{path}:{line}: {layer} may not use {used or target.parent} ({name}); see src/LAYERS"
    word = NGINX_WORD.search(source.code(text))
    if word and layer != NGINX_HOME:
        yield f"{path}:{line_of(text, word.start())}: {word.group()}: nginx's names stay in {NGINX_HOME}"


def circles(edges):
    """One fault for each file from which includes lead back to it first."""
    done = set()

    def visit(path, trail):
        if path in trail:
            circle = trail[trail.index(path):] + [path]
            line = next(n for n, target in edges[circle[0]] if target == circle[1])
            yield f"{circle[0]}:{line}: includes form a circle: {' -> '.join(map(str, circle))}"
        elif path not in done:
            for _, target in edges.get(path, ()):
                yield from visit(target, trail + [path])
            done.add(path)

    for path in sorted(edges):
        yield from visit(path, [])


def check(root, build):
    layers, faults = read_layers(root)
    edges = {}
    for path in source.files(root):
        faults += check_file(root, path, (root / path).read_text(), layers, edges)
    return faults + list(circles(edges))
