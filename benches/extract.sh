#!/usr/bin/env bash
# All hidden states, pooled, against transformers + PyTorch: the two in turns, so that a machine whose speed drifts slows both.
#
#   benches/extract.sh PEER.py CHECKPOINT TEXTS.txt [ROUNDS] [BATCH]
#
# PEER.py prints a JSON line {"peer", "seconds", "peak_rss_mb", …} per variant, timed without loading the model, as
# `brainscore extract` times itself. PYTHON names the interpreter; BRAINSCORE the program. THREADS: "1 2" by default.
set -euo pipefail
peer=$1 checkpoint=$2 texts=$3 rounds=${4:-5} batch=${5:-32}
python=${PYTHON:-python3} ours=${BRAINSCORE:-target/release/brainscore}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for threads in ${THREADS:-1 2}; do
    for round in $(seq "$rounds"); do
        rm -rf "$out/features"
        /usr/bin/time -f "%M" -o "$out/rss" "$ours" extract "$checkpoint" --texts "$texts" --no-cache --threads "$threads" \
            --out "$out/features" 2>/dev/null |
            awk -v t="$threads" \
                '{ for (i = 1; i <= NF; i++) if ($i == "s:") print "{\"peer\": \"brainscore\", \"threads\": " t ", \"seconds\": " $(i - 1) "}" }' >>"$out/lines"
        echo "{\"peer\": \"brainscore\", \"threads\": $threads, \"peak_rss_mb\": $(($(cat "$out/rss") / 1024))}" >>"$out/lines"
        OMP_NUM_THREADS=$threads "$python" "$peer" "$checkpoint" "$texts" --repeat 1 --batch "$batch" 2>/dev/null | grep '^{' >>"$out/lines"
    done
done
"$python" - "$out/lines" <<'PY'
import collections, json, statistics, sys
seconds, memory = collections.defaultdict(list), collections.defaultdict(int)
for line in open(sys.argv[1]):
    d = json.loads(line); key = (d["threads"], d["peer"])
    if "seconds" in d: seconds[key].append(d["seconds"])
    if "peak_rss_mb" in d: memory[key] = max(memory[key], d["peak_rss_mb"])
for threads in sorted({k[0] for k in seconds}):
    best = min(statistics.median(v) for k, v in seconds.items() if k[0] == threads and k[1] != "brainscore")
    for key in sorted(k for k in seconds if k[0] == threads):
        m = statistics.median(seconds[key])
        print(f"{threads} threads  {key[1]:22s} median {m:8.3f} s of {len(seconds[key])} ({min(seconds[key]):.3f} to {max(seconds[key]):.3f})  peak {memory[key]} MB  best peer / this {best / m:.2f}")
PY
