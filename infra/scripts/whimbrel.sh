#!/bin/sh
# Run the project's whimbrel in the project's directory, from any directory: whimbrel.sh COMMAND [ARGUMENT...]
#
# It is the one in .venv; where there is none, the one on PATH; and else .venv is made first.
set -eu

script=$(readlink -f -- "$0")
root=$(dirname -- "$(dirname -- "$(dirname -- "$script")")")
cd -- "$root"

if [ -x .venv/bin/whimbrel ]; then
    exec .venv/bin/whimbrel "$@"
fi
if command -v whimbrel >/dev/null; then
    exec whimbrel "$@"
fi
# Its output must not be taken for whimbrel's.
make setup >&2
exec .venv/bin/whimbrel "$@"
