"""How the time of the ridge engine grows with rows, features, targets, layers and subjects.

    cargo build --release --examples
    python benches/ridge_scaling.py [--repeat 3] [--precision mixed]

Each size in turn is multiplied by 1, 2, 4 (and 8) around a base; the exponent is the slope of log time over log size between the
last two points (what dominates when it is large) and over all of them. Needs numpy.
"""
import argparse, os, re, statistics, subprocess, tempfile, numpy as np

BASE = dict(rows=400, features=256, targets=512, layers=2, subjects=2)
STEPS = dict(rows=[1, 2, 4, 8], features=[1, 2, 4, 8], targets=[1, 4, 16, 64], layers=[1, 2, 4, 8], subjects=[1, 2, 4, 8])

def arrays(folder, s):
    rng = np.random.default_rng(0)
    for i in range(s["layers"]): np.save(f"{folder}/x_{i}.npy", rng.normal(size=(s["rows"], s["features"])).astype(np.float32))
    for i in range(s["subjects"]): np.save(f"{folder}/y_{i}.npy", rng.normal(size=(s["rows"], s["targets"])).astype(np.float32))
    np.save(f"{folder}/fold.npy", np.arange(s["rows"]) * 5 // s["rows"]); np.save(f"{folder}/alphas.npy", np.logspace(-1, 7, 17))

def seconds(binary, precision, s, repeat):
    with tempfile.TemporaryDirectory() as folder:
        arrays(folder, s); times = []
        xs, ys = [f"{folder}/x_{i}.npy" for i in range(s["layers"])], [f"{folder}/y_{i}.npy" for i in range(s["subjects"])]
        for _ in range(repeat):
            out = subprocess.run([binary, precision, f"{folder}/fold.npy", f"{folder}/alphas.npy", *xs, "--", *ys], check=True, text=True, capture_output=True).stdout
            times.append(float(re.search(r"([\d.]+) s, cod", out)[1]))
    return statistics.median(times)

def main():
    p = argparse.ArgumentParser(); p.add_argument("--repeat", type=int, default=3); p.add_argument("--precision", default="mixed")
    p.add_argument("--binary", default="target/release/examples/fit_arrays"); a = p.parse_args()
    print("base", BASE, a.precision)
    for name, steps in STEPS.items():
        sizes = [BASE[name] * k for k in steps]
        times = [seconds(a.binary, a.precision, dict(BASE, **{name: n}), a.repeat) for n in sizes]
        slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]; last = np.log(times[-1] / times[-2]) / np.log(sizes[-1] / sizes[-2])
        print(f"{name:9s} " + "  ".join(f"{n}: {t:.3f} s" for n, t in zip(sizes, times)) + f"   exponent {slope:.2f}, last step {last:.2f}", flush=True)

if __name__ == "__main__": main()
