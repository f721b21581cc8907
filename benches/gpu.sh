#!/usr/bin/env bash
# What a machine with an NVIDIA card has to show: every kernel against float64 on the CPU, how fast they are beside what the
# card copies and multiplies, and whole jobs against himalaya on the same card.
#
#   gpu.sh BRAINSCORE [RIDGE_PEERS.py PYTHON]
#
# RIDGE_PEERS.py is the peers' script (its options: --samples --features --targets --layers --subjects --folds --repeat --only
# --save), PYTHON one with himalaya and a torch that sees the card. Prints tables and JSON lines; nothing is installed.
set -euo pipefail
program=$1 peers=${2-} python=${3-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== machine"
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv || true
date -u
echo "== kernels against the CPU, and how fast they are (n = 3000 in 5 folds: 600 held-out rows, p = 1000, 20 alphas)"
"$program" doctor --device cuda --thorough --measure 600,1000,30000,20
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck initcheck; do
        echo "== compute-sanitizer $tool"
        compute-sanitizer --tool "$tool" --error-exitcode 9 "$program" doctor --device cuda:0 | tail -3
    done
else
    echo "== no compute-sanitizer"
fi
[ -n "$peers" ] || exit 0

# The same arrays for all; medians of three runs in turns.
job() {
    local name=$1 && shift
    echo "== $name: $*"
    "$python" "$peers" "$@" --repeat 1 --only himalaya-ridge-cuda --save "$work/$name" >/dev/null
    local features=() responses=() file
    for file in "$work/$name"/x_*.npy; do features+=(--x "$file"); done
    for file in "$work/$name"/y_*.npy; do responses+=(--y "$file"); done
    for round in 1 2 3; do
        "$python" "$peers" "$@" --repeat 1 --only himalaya-ridge-cuda,himalaya-kernel-cuda
        for device in cuda cpu; do
            rm -rf "$work/out"
            "$program" fit "${features[@]}" "${responses[@]}" --folds "$work/$name/fold.npy" --alphas "$work/$name/alphas.npy" \
                --device "$device" --json --out "$work/out"
        done
    done
}
job "one-layer" --samples 3000 --features 1000 --targets 30000 --layers 1 --subjects 1 --folds 5
job "whole-study" --samples 1000 --features 1024 --targets 1024 --layers 25 --subjects 39 --folds 5
