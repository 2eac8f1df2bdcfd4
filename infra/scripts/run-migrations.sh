#!/bin/sh
# Apply and undo Echo's migrations, from any directory. Options and exit codes are whimbrel's: see whimbrel up --help.
set -eu

usage() {
    cat <<USAGE
usage: ${0##*/} up [OPTION...]          apply what is pending
       ${0##*/} down [V] [OPTION...]    undo the last migration, or everything above version V, without asking
       ${0##*/} status [OPTION...]      show what is applied and what is pending
       ${0##*/} force V [OPTION...]     run the up script of version V again, applied or not
USAGE
}

whimbrel() {
    exec "$(dirname -- "$(readlink -f -- "$0")")/whimbrel.sh" "$@"
}

case ${1-} in
    up | status)
        whimbrel "$@"
        ;;
    down)
        whimbrel "$@" --yes
        ;;
    force)
        case ${2-} in
            '' | *[!0-9]*) ;;
            *) whimbrel "$@" ;;
        esac
        echo "${0##*/}: force needs the version to apply again, a number" >&2
        ;;
    -h | --help | help)
        usage
        exit
        ;;
esac
usage >&2
exit 2
