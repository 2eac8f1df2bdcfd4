#!/bin/sh
# Create Echo's database and apply the baseline, version 1, from any directory. What is there stays: nothing is dropped.
set -eu

if [ $# -ne 0 ]; then
    echo "usage: ${0##*/}    (to begin anew: make db-reset)" >&2
    exit 2
fi
exec "$(dirname -- "$(readlink -f -- "$0")")/whimbrel.sh" up --to 1 --create-database
