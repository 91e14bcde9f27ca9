#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every command has a manual page that names all of its options, and groff finds no fault with any.
# usage: man.sh SEGUE FOLDER_OF_PAGES
set -u
segue=$1 pages=$2 status=0

fault() {
    echo "$*"
    status=1
}

for command in segue $("$segue" --help | sed -n 's/^  \([a-z]*\)  *.*/\1/p'); do
    case $command in
    segue) page=segue arguments= ;;
    version) continue ;; # a word, not a page
    *) page=segue-$command arguments=$command ;;
    esac
    file=$pages/$page.1
    if [ ! -s "$file" ]; then
        fault "$page.1 is not there: add $command to docs/man/meson.build"
        continue
    fi
    said=$(sed 's/\\-/-/g; s/\\f.//g' "$file")
    # shellcheck disable=SC2086  # arguments is one word or none
    for option in $("$segue" $arguments --help | grep -o -- '--[a-z][a-z-]*' | sort -u); do
        case $said in
        *"$option"*) ;;
        *) fault "$page.1 does not name $option" ;;
        esac
    done
    for section in NAME SYNOPSIS 'EXIT STATUS' 'SEE ALSO'; do
        printf '%s\n' "$said" | grep -qxE "\.SH \"?$section\"?" || fault "$page.1 has no section $section"
    done
    if command -v groff >/dev/null; then
        faults=$(groff -man -ww -Tutf8 -z "$file" 2>&1)
        [ -z "$faults" ] || fault "$faults"
    fi
done
exit $status
