#!/bin/sh
# Installs a wheel into a fresh environment, with no Rust toolchain on the PATH, and does the main job with it.
set -eu
wheel=$(realpath "$1")
python=$(command -v "${PYTHON:-python3}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$python" -m venv fresh
fresh/bin/pip install --quiet "$wheel"
PATH="$folder/fresh/bin:/usr/bin:/bin"
export PATH
if command -v cargo >/dev/null; then
    echo "a Rust toolchain is on the PATH: $(command -v cargo)" >&2
    exit 1
fi
precast sample sample --size 64,64,32 --quiet
precast convert sample/labels out/labels --resolution 32,32,40 --quiet
precast inspect out/labels
echo "$(basename "$wheel") installs and runs" >&2
