#!/bin/sh
# Make or refresh a virtual environment: scripts/venv.sh DIRECTORY REQUIREMENTS-FILE
#
# PYTHON3 names the interpreter; otherwise the first on PATH that is new enough is taken.
set -eu
directory=$1
requirements=$2
here=$(dirname "$0")

enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
complete() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

if [ ! -x "$directory/bin/python" ] || ! "$directory/bin/python" -m pip --version >/dev/null 2>&1; then
    python=""
    for candidate in ${PYTHON3:-python3 python3.13 python3.12 python3.11}; do
        enough "$candidate" || continue
        python=${python:-$candidate}
        complete "$python" || ! complete "$candidate" || python=$candidate
    done
    if [ -z "$python" ]; then
        found=$("${PYTHON3:-python3}" --version 2>&1) || found="no ${PYTHON3:-python3}"
        echo "Python 3.11 or newer is needed, here is ${found}. Install one, or name one: make PYTHON3=/path/to/python3.12 …" >&2
        exit 1
    fi
    if ! complete "$python"; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        "$here/need.sh" "no-ensurepip=python$version-venv"
    fi
    echo "Making $directory with $("$python" --version)" >&2
    "$python" -m venv --clear "$directory"
fi

echo "Installing $requirements into $directory" >&2
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
