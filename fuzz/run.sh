#!/bin/sh
# Coverage-guided fuzzing of the readers, without cargo-fuzz and on the stable toolchain (a C++ compiler builds libFuzzer):
#   fuzz/run.sh SECONDS [TARGET...]        e.g. fuzz/run.sh 600 nifti events
# Seeds come from fuzz/corpus/TARGET where it exists and are kept there; a finding becomes a file in fuzz/artifacts.
set -eu
seconds=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
[ $# -gt 0 ] || set -- $(ls fuzz_targets | sed 's/\.rs$//')
RUSTC_WRAPPER="$here/instrument.sh" CARGO_PROFILE_RELEASE_OPT_LEVEL=1 cargo build --release
mkdir -p artifacts
for target in "$@"; do
    mkdir -p "corpus/$target"
    "${CARGO_TARGET_DIR:-target}/release/$target" "corpus/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 \
        -max_len=65536 -artifact_prefix="artifacts/$target-" -print_final_stats=1
done
