#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What `make install` lays down runs from where it lies, and a program, the example, builds against it through
# pkg-config and does what it says.
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

cc -Wall -Werror "$(dirname "$0")/../../examples/handoff.c" -o "$root/example" $(pkg-config --cflags --libs segue)
SEGUE_IPC_DIR=$root/ipc LD_LIBRARY_PATH="$prefix/$3" timeout 60 "$root/example"

if [ "$said" != "$linked" ] || [ "$said" = "segue " ]; then
    echo "the command says '$said', a program linked to the library '$linked'"
    exit 1
fi
