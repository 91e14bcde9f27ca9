#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the configure of Debian's nginx-dev for our module, with the flags the packaged nginx was built with, so that
# nginx accepts the module. What is made: headers that describe this machine and the module's list of itself.
# usage: configure.sh NGINX_SOURCE MODULE_FOLDER OUTPUT_FOLDER
set -e
source_dir=$1 module_dir=$2 out=$3
work=$(mktemp -d "$out/nginx.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$source_dir"
. ./conf_flags
if ! ./configure "${NGX_CONF_FLAGS[@]}" --add-dynamic-module="$module_dir" --builddir="$work" >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    exit 1
fi
for file in ngx_auto_config.h ngx_auto_headers.h ngx_http_segue_module_modules.c; do
    cp "$work/$file" "$out/$file"
done
