#!/bin/sh
# Coverage-guided fuzzing of the readers, without cargo-fuzz and on the stable toolchain (a C++ compiler builds libFuzzer):
#   fuzz/run.sh SECONDS [TARGET...]        e.g. fuzz/run.sh 600 nifti events
# Seeds come from tests/bad, from fuzz/seeds/TARGET (good files of formats of which the corpus has bad ones alone), and from
# fuzz/corpus/TARGET, where what is found worth keeping is kept; a finding becomes a file in
# fuzz/artifacts, and from there one in tests/bad/crash.
set -eu
seconds=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
[ $# -gt 0 ] || set -- $(ls fuzz_targets | sed 's/\.rs$//')
RUSTC_WRAPPER="$here/instrument.sh" CARGO_PROFILE_RELEASE_OPT_LEVEL=1 cargo build --release
mkdir -p artifacts

# The files of tests/bad that a target reads, by their endings (as in tests/hostile_bytes.rs).
seeds() {
    [ ! -d "seeds/$1" ] || cp "seeds/$1"/* "corpus/$1/"
    case $1 in
    nifti) names='-name *.nii -o -name *.nii.gz' ;;
    npy) names='-name *.npy' ;;
    pickle) names='-name *.bin -o -name *.pyd' ;;
    tar) names='-name *.tar' ;;
    events) names='-name *events.tsv' ;;
    table) names='-name *.csv -o -name *.tsv' ;;
    study) names='-name *.toml' ;;
    gifti) names='-name *.gii' ;;
    sparse | npz) names='-name *.npz' ;;
    textgrid) names='-name *.TextGrid' ;;
    tokenizer) names='-name tokenizer.json' ;;
    *) return 0 ;;
    esac
    set -f
    # shellcheck disable=SC2086 # Words are wanted.
    find ../tests/bad -type f \( $names \) | while read -r file; do
        cp "$file" "corpus/$1/$(cksum <"$file" | tr ' ' -)"
    done
    set +f
}

for target in "$@"; do
    mkdir -p "corpus/$target"
    seeds "$target"
    "${CARGO_TARGET_DIR:-target}/release/$target" "corpus/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 \
        -max_len=65536 -artifact_prefix="artifacts/$target-" -print_final_stats=1
done
