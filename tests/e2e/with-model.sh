#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the program named by $1 with MODEL, the path of the fetched reference model.
MODEL=$("$TESTS/../scripts/fetch-model") || {
    echo "skipped: the reference model cannot be had here (see above)"
    exit 77
}
export MODEL
exec "$@"
