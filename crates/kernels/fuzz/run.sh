#!/bin/sh
# Runs every fuzz target for SECONDS and fails on the first crash, hang or allocation beyond the limit.
#
#   run.sh SECONDS [TARGET...]
#
# Needs a nightly toolchain for the sanitizer, or any toolchain with RUSTC_BOOTSTRAP set, as below. Inputs that
# libFuzzer finds go to a scratch copy of the corpus; the committed corpus stays small.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: run.sh SECONDS [TARGET...]" >&2
    exit 2
fi
seconds=$1
shift
cd "$(dirname "$0")"

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "installing cargo-fuzz" >&2
    cargo install --locked cargo-fuzz
fi
if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    toolchain=+nightly
else
    toolchain=
    export RUSTC_BOOTSTRAP=1
fi

[ $# -gt 0 ] || set -- decode_u32 decode_u64 round_trip gunzip draco_decode draco_round_trip
for target in "$@"; do
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    echo "== $target for $seconds s" >&2
    cargo $toolchain fuzz run --fuzz-dir . "$target" "$scratch" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=16384 -verbosity=0 -print_final_stats=1
    rm -rf "$scratch"
done
echo "no crash in $# targets" >&2
