#!/bin/sh
# Make .venv with the interpreter given, or with the newest Python from 3.11 on that is found.
# An existing .venv that works is kept.
set -eu

fit='import sys; sys.exit(sys.version_info < (3, 11))'
whole="$fit; import venv, ensurepip"

if .venv/bin/python -c "$fit" 2>/dev/null && .venv/bin/python -m pip --version >/dev/null 2>&1
then
    exit 0
fi

# An interpreter is tried out, not just looked up: a version manager may leave a name in the
# PATH that does not start.
chosen=
old=
for candidate in ${1:-python3.13 python3.12 python3.11 python3 python}; do
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    if "$candidate" -c "$fit" 2>/dev/null; then
        chosen=$candidate
        break
    fi
    old="$old $candidate is $version;"
done

if [ -z "$chosen" ]; then
    echo "setup: no Python 3.11 or newer found${1:+ as $1}.${old:+ Found:$old}" >&2
    echo "hint: install one, or name it: make setup PYTHON=/path/to/python3.13" >&2
    exit 1
fi
if ! "$chosen" -c "$whole" 2>/dev/null; then
    echo "setup: $chosen comes without the modules venv and ensurepip." >&2
    echo "hint: on Debian and Ubuntu: apt install python$version-venv" >&2
    exit 1
fi

echo "setup: making .venv with $chosen (Python $version)"
"$chosen" -m venv --clear .venv
