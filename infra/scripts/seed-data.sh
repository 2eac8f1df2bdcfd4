#!/bin/sh
# Put the seed data into Echo's database, from any directory. What is there stays; a second run changes nothing.
set -eu

if [ $# -ne 0 ]; then
    echo "usage: ${0##*/}" >&2
    exit 2
fi
exec "$(dirname -- "$(readlink -f -- "$0")")/whimbrel.sh" seed
