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

folder=$(mktemp -d)
key=$folder/key
expect 2 'which FILE' key show
expect 2 'new, show or rotate' key
expect 2 'not dance' key dance "$key"
expect 2 '--secret goes with show' key new "$key" --secret
expect 3 "$key: No such file" key show "$key"
expect 0 'current  ' key new "$key"
expect 1 "$key already" key new "$key"
expect 0 '{"file": "'"$key"'", "keys": [{"role": "current", "id": "' key show "$key" --json
expect 0 'next     ' key rotate "$key"
expect 0 'previous ' key rotate "$key"
expect 0 'current  ' key rotate "$key"
secret=$(sed -n 's/^current //p' "$key")
expect 0 "$secret" key show "$key" --secret
expect 0 '"secret": "'"$secret"'"' key show "$key" --secret --json
case $(SEGUE_KEY=$key "$SEGUE" key show 2>&1) in *"$secret"*) echo 'segue key show says the secret'; status=1 ;; esac
case $(stat -c %a "$key") in 600) ;; *) echo "$key is not of mode 600"; status=1 ;; esac
chmod 644 "$key"
expect 1 'is open to others; chmod 600' key show "$key"
rm -r "$folder"

commands=$("$SEGUE" --help | sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p')
[ -n "$commands" ] || { echo 'segue --help lists no commands'; status=1; }
for command in $commands; do
    expect 0 '' "$command" --help
    grep -q "^### segue $command\$" "$TESTS/../docs/cli.md" || { echo "docs/cli.md does not describe segue $command"; status=1; }
done
exit $status
