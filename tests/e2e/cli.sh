#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command line's promises (docs/cli.md): exit statuses, and help that every command listed gives.
# usage: SEGUE=build/segue cli.sh
set -u
status=0

expect() { # exit-status words-in-the-output arguments...
    want=$1 words=$2
    shift 2
    said=$("$SEGUE" "$@" 2>&1 </dev/null)
    got=$?
    case $said in *"$words"*) found=yes ;; *) found=no ;; esac
    if [ $got != "$want" ] || [ $found = no ]; then
        echo "segue $*: exit status $got, expected $want and '$words' in: $said"
        status=1
    fi
}

expect 2 'usage: segue COMMAND'
expect 0 'usage: segue COMMAND' --help
expect 0 'segue ' --version
expect 2 "there is no command 'no-such-command'" no-such-command

commands=$("$SEGUE" --help | sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p')
[ -n "$commands" ] || { echo 'segue --help lists no commands'; status=1; }
for command in $commands; do
    expect 0 '' "$command" --help
    grep -q "^### segue $command\$" "$TESTS/../docs/cli.md" || { echo "docs/cli.md does not describe segue $command"; status=1; }
done
exit $status
