#!/bin/sh
# Install what is missing, by apt, saying so before. Where that is not allowed, print the command instead.
#
#     scripts/need.sh mariadbd=mariadb-server-core redis-server=redis-server …      (program or path=package)
#
# QA_ENV_NO_APT=1 forbids apt.
set -eu
PATH="$PATH:/usr/sbin:/sbin"

missing=""
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 && continue
    [ ! -e "${pair%%=*}" ] || continue
    case "$missing " in *" ${pair#*=} "*) ;; *) missing="$missing ${pair#*=}" ;; esac
done
[ -n "$missing" ] || exit 0

# Rather fail than replace, say, a MySQL server that is already here.
install="apt-get install -y --no-remove --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo env"
else
    as_root=""
fi
if [ -z "$as_root" ] || [ -n "${QA_ENV_NO_APT:-}" ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing here:$missing. Please install it, then try again:" >&2
    echo "    sudo apt-get update && sudo $install" >&2
    exit 1
fi

echo "Missing here:$missing. Installing it now: $install" >&2
export DEBIAN_FRONTEND=noninteractive
$as_root DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null
# shellcheck disable=SC2086  # words on purpose
$as_root DEBIAN_FRONTEND=noninteractive $install </dev/null
