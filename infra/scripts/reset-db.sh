#!/bin/sh
# Drop Echo's database with all that is in it, make it anew, migrate and seed. Says which one it is, and asks unless
# --yes is given.
set -eu

case $#:${1-} in
    0: | 1:--yes) ;;
    *)
        echo "usage: ${0##*/} [--yes]" >&2
        exit 2
        ;;
esac
whimbrel=$(dirname -- "$(readlink -f -- "$0")")/whimbrel.sh

"$whimbrel" status --origins | sed -n 's/^database  */database: /p'
if [ $# -eq 0 ]; then
    if ! [ -t 0 ]; then
        echo "${0##*/}: this has to be confirmed, and there is no terminal to ask on; use make db-reset YES=1" >&2
        exit 2
    fi
    printf 'Drop it with everything in it, and make it anew? [y/N] '
    read -r answer || answer=
    case $answer in
        [Yy] | [Yy][Ee][Ss]) ;;
        *)
            echo 'Nothing was changed.'
            exit 1
            ;;
    esac
fi

"$whimbrel" psql -- --no-psqlrc --quiet --set=ON_ERROR_STOP=1 <<'SQL'
\set name :DBNAME
\connect postgres
DROP DATABASE :"name" WITH (FORCE);
CREATE DATABASE :"name";
SQL
"$whimbrel" up
"$whimbrel" seed
