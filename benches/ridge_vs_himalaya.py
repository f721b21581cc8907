"""Times `examples/fit_arrays` and himalaya on the same arrays, turn by turn, and compares their mean scores.

    cargo build --release --examples
    python benches/ridge_vs_himalaya.py PEERS.py [--cases abcde] [--repeat 5] [--layers N] [--work DIR]

PEERS.py makes the arrays (`--save DIR`) and times himalaya (`--only NAME`); it prints one JSON line per estimator.
Times are of the fits alone: no reading, no start of the interpreter. Python needs numpy, scikit-learn, himalaya, torch.
"""
import argparse, json, os, re, statistics, subprocess, sys, tempfile

CASES = {
    "a": (dict(samples=1000, features=1024, targets=1024, layers=4, subjects=1), "himalaya-kernel-torch"),
    "b": (dict(samples=3000, features=768, targets=1024, layers=2, subjects=1), "himalaya-ridge-numpy"),
    "c": (dict(samples=60, features=1024, targets=1024, layers=25, subjects=39), "himalaya-kernel-numpy"),
    "d": (dict(samples=2000, features=4096, targets=20000, layers=1, subjects=1), "himalaya-kernel-torch"),
    "e": (dict(samples=1000, features=4096, targets=1024, layers=4, subjects=1), "himalaya-kernel-torch"),
}

def peer(script, sizes, name, repeat, save=None):
    flags = [str(v) for k in sizes for v in (f"--{k}", sizes[k])] + ["--repeat", str(repeat), "--only", name]
    out = subprocess.run([sys.executable, script, *flags, *(["--save", save] if save else [])], check=True, text=True, capture_output=True).stdout
    return json.loads(out) if repeat else None

def ours(binary, folder, sizes, precision):
    xs = [f"{folder}/x_{i}.npy" for i in range(sizes["layers"])]
    ys = [f"{folder}/y_{i}.npy" for i in range(sizes["subjects"])]
    command = ["/usr/bin/env", binary, precision, f"{folder}/fold.npy", f"{folder}/alphas.npy", *xs, "--", *ys]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    line = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    found = re.search(r"([\d.]+) s, cod (\S+), r ([^,]+),", line)
    return float(found[1]), float(found[2]), float(found[3]), usage.ru_maxrss // 1024

def floor(s, precision, rates):
    """Seconds that the products and decompositions of the method take at the measured rate of products (one thread each, two threads).

    The dual or the primal, whichever is cheaper: per inner training set a kernel (or a sum of Grams), an eigendecomposition (10 d^3),
    coordinates of targets and held-out rows, 17 alphas of predictions; per outer fold the same for one alpha. As in src/encoding/engine/shape.rs.
    """
    single, double = rates; n, p, t, k = s["samples"], s["features"], s["targets"] * s["subjects"], 5; best = None
    for primal in (True, False):
        seconds = (2 * n * p * t + n * p * p) / (single if precision == "single" else double) if primal else 0
        for count, out, alphas in ((k * (k - 1) / 2, 2 * n / k, 17), (k, n / k, 1)):
            rows = n - out; d = p if primal else rows
            factor = (d * d if primal else rows * p * (rows + 2 * out)) + 10 * d ** 3 + 2 * d * d * (out + t)
            seconds += count * (factor / (single if precision == "single" else double) + 2 * alphas * out * d * t / (double if precision == "double" else single))
        best = seconds if best is None else min(best, seconds)
    return best * s["layers"] / 2

def rates():
    """sgemm and dgemm of NumPy's BLAS on one thread are not ours: the engine's own products are timed."""
    found = re.search(r"sgemm ([\d.]+) dgemm ([\d.]+)", subprocess.run(["target/release/examples/fit_arrays", "rates"], check=True, text=True, capture_output=True).stdout)
    return float(found[1]) * 1e9, float(found[2]) * 1e9

def main():
    p = argparse.ArgumentParser()
    p.add_argument("peers"); p.add_argument("--cases", default="abcde"); p.add_argument("--repeat", type=int, default=5)
    p.add_argument("--layers", type=int); p.add_argument("--all", action="store_true", help="time all four himalaya estimators once, and in every round those within a third of the fastest")
    p.add_argument("--precisions", default="single,mixed", help="ours");
    p.add_argument("--work"); p.add_argument("--binary", default="target/release/examples/fit_arrays"); a = p.parse_args()
    speed = rates(); print(f"sgemm {speed[0] / 1e9:.0f}, dgemm {speed[1] / 1e9:.0f} GFLOP/s on one thread", flush=True)
    for case in a.cases:
        sizes, best = CASES[case]
        sizes = dict(sizes, layers=min(a.layers or sizes["layers"], sizes["layers"]))
        with tempfile.TemporaryDirectory(dir=a.work) as folder:
            # The peer makes its arrays from the sizes; saving them needs a fit of the smallest kind only when repeat is 0.
            make = f"import runpy,sys;m=runpy.run_path(sys.argv[1]);import numpy as np;from argparse import Namespace as N;s=N(**{dict(sizes, folds=5)!r});X,Y,f,al=m['data'](s);d=sys.argv[2];[np.save(f'{{d}}/x_{{i}}.npy',x) for i,x in enumerate(X)];[np.save(f'{{d}}/y_{{i}}.npy',y) for i,y in enumerate(Y)];np.save(f'{{d}}/fold.npy',f);np.save(f'{{d}}/alphas.npy',al)"
            subprocess.run([sys.executable, "-c", make, a.peers, folder], check=True)
            names = [best] if not a.all else [f"himalaya-{k}-{b}" for k in ("ridge", "kernel") for b in ("numpy", "torch")]
            times = {n: [] for n in [*a.precisions.split(","), *names]}
            scores, memory = {}, {}
            for turn in range(a.repeat):
                first = min((times[n][0] for n in names if times[n]), default=0.0)
                for name in times:
                    if turn and name in names and times[name][0] > 4 / 3 * first:
                        continue
                    if name in names:
                        found = peer(a.peers, sizes, name, 1)
                        seconds, cod, r, rss = found["seconds"], found["mean_cod"], found["mean_r"], found["peak_rss_mb"]
                    else:
                        seconds, cod, r, rss = ours(a.binary, folder, sizes, name)
                    times[name].append(seconds); scores[name] = (cod, r); memory[name] = rss
        middle = {n: statistics.median(t) for n, t in times.items()}
        fastest = min(names, key=middle.get)
        for name in times:
            print(f"{case} {name:22s} {middle[name]:8.3f} s ({min(times[name]):.3f}-{max(times[name]):.3f}, {len(times[name])} rounds)  x{middle[fastest] / middle[name]:.2f}"
                  + (f"  floor {floor(sizes, name, speed):.3f} s = {100 * floor(sizes, name, speed) / middle[name]:.0f} %" if name not in names else "")
                  + f"  cod {scores[name][0]:.5f} r {scores[name][1]:.5f}  peak {memory[name]} MB", flush=True)

if __name__ == "__main__":
    main()
