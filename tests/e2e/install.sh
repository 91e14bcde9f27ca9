#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What `make install` lays down runs from where it lies, and a program builds against it through pkg-config.
# usage: install.sh BUILD_FOLDER PREFIX LIBDIR
set -eu

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
meson install -C "$1" --no-rebuild --quiet --destdir "$root"
prefix=$root$2
said=$("$prefix/bin/segue" version)

cat >"$root/user.c" <<'END'
#include <segue/version.h>
#include <stdio.h>
int main(void)
{
    printf("segue %s\n", segue_version());
    return 0;
}
END
export PKG_CONFIG_PATH="$prefix/$3/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root"
cc "$root/user.c" -o "$root/user" $(pkg-config --cflags --libs segue)
linked=$(LD_LIBRARY_PATH="$prefix/$3" "$root/user")

if [ "$said" != "$linked" ] || [ "$said" = "segue " ]; then
    echo "the command says '$said', a program linked to the library '$linked'"
    exit 1
fi
