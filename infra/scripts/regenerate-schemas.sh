#!/usr/bin/env bash
# Write database/schemas/ from the migrations, on an embedded database of its own that is removed afterwards.
set -euo pipefail

scripts=$(dirname -- "$(readlink -f -- "$0")")
cd -- "$scripts/../.."

data=.whimbrel/schemas
export WHIMBREL_DATABASE="embedded:$data?dbname=echo"
remove() {
    "$scripts/whimbrel.sh" cluster stop --quiet
    rm -rf -- "$data" "$data.lock"
}
trap remove EXIT

"$scripts/whimbrel.sh" up --quiet
field() {
    "$scripts/whimbrel.sh" cluster status --json | .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}
DATABASE=$(field conninfo)
PG_DUMP=$(field programs)/pg_dump
export DATABASE PG_DUMP
"$scripts/dump-schemas.sh"
echo 'database/schemas is what the migrations add up to.'
