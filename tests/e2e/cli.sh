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

expect 0 'heads 4 to 7, 1 move, pieces of 512 B' layout order=nhd,block=16 order=hnd,block=128,tp=2
expect 0 '"sub_block": 8' layout order=nhd,block=24 order=hnd,block=64 --json
expect 2 "'blocks' is no key" layout blocks=3 order=hnd
expect 2 'kv=both' layout kv=both order=hnd
expect 1 "no layout is called 'LBXC'" layout order=LBXC order=hnd
expect 1 'TP 3 and 8 KV heads' layout tp=3 order=hnd
expect 1 'a layout with 0 layers' layout layers=0 order=hnd
expect 1 'the producer has 128 elements in a head of K, the consumer 64' layout order=nhd order=nhd,dim=64
expect 1 'nothing converts' layout dtype=bytes dtype=fp16
expect 1 'do not fit 63 bits' layout layers=2147483647,heads=2147483647,dim=2147483 order=hnd
expect 2 'a number from 0' layout block=-1 order=hnd

commands=$("$SEGUE" --help | sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p')
[ -n "$commands" ] || { echo 'segue --help lists no commands'; status=1; }
for command in $commands; do
    expect 0 '' "$command" --help
    grep -q "^### segue $command\$" "$TESTS/../docs/cli.md" || { echo "docs/cli.md does not describe segue $command"; status=1; }
done
exit $status
