# SPDX-License-Identifier: Apache-2.0
"""Every public header compiles alone and twice, as C11 and as C++17, without a warning."""
import os
import shutil
import subprocess

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
LANGUAGES = (
    ("C11", ["cc", "gcc", "clang"], ["-xc", "-std=c11", "-Wstrict-prototypes"]),
    ("C++17", ["c++", "g++", "clang++"], ["-xc++", "-std=c++17"]),
)


def compiler(names):
    return next((name for name in names if shutil.which(name)), None)


def check(root, build):
    faults = []
    for language, names, flags in LANGUAGES:
        command = compiler(names)
        if command is None:
            faults.append(f"include/segue:1: no {language} compiler here to check with: {', '.join(names)}")
            continue
        for header in sorted((root / "include/segue").glob("*.h")):
            include = f"#include <segue/{header.name}>\n"
            done = subprocess.run(
                [command, *flags, *WARNINGS, "-I", root / "include", "-"], input=include * 2,
                capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
            if done.returncode != 0:
                first = next((line for line in done.stderr.splitlines() if "error:" in line), "?")
                where = header.relative_to(root)
                faults.append(f"{where}:1: does not compile alone as {language}: {first.strip()}")
    return faults
