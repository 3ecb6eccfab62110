#!/bin/bash
# Mounts a real environment out of a real uv cache and uses it. Each command is printed before it runs.
# Usage: demo.sh UV SITEFS FOLDER (`make demo` gives all three)
set -euo pipefail

uv=$(realpath -s "$1") sitefs=$(realpath -s "$2") folder=$3
here=$(cd "$(dirname "$0")" && pwd)

unset PYTHONDONTWRITEBYTECODE VIRTUAL_ENV
export UV_CACHE_DIR=cache UV_PYTHON_DOWNLOADS=never UV_NO_CONFIG=1
PATH=$(dirname "$sitefs"):$(dirname "$uv"):$PATH

mkdir -p "$folder" && cd "$folder"
cp "$here/../../tests/corpora/small.txt" requirements.txt
cp "$here/hello.py" .

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

leave() {
    [ ! -d venv/.sitefs ] || sitefs unmount --lazy venv >/dev/null 2>&1 || true
}
trap leave EXIT
leave
rm -rf venv

echo '# A cache as uv fills it; and an environment, which stays empty.'
run uv venv --quiet --clear filler
run uv pip sync --quiet --python filler/bin/python requirements.txt
rm -rf filler
run uv venv --quiet venv

echo
echo '# The environment is complete at once, and nothing is copied.'
run sitefs mount -r requirements.txt venv cache
run sitefs status venv
run venv/bin/python hello.py
run venv/bin/flask --version
run uv pip list --python venv/bin/python
run uv pip check --python venv/bin/python
run sitefs why venv rich/console.py
run du -sh --one-file-system venv

echo
echo '# And undone.'
run sitefs unmount venv
run ls venv/lib/python3*/site-packages
