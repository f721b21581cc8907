"""How `brainscore parcellate` grows: wall seconds as volumes and maps grow, one after the other, with fitted exponents.

    python parcellate_growth.py BRAINSCORE WORK [--turns 3]

Makes its runs and atlases in WORK with make_bold.py (91 x 109 x 91, once), then runs each combination cold (atlas factorised anew) and
warm (atlas kept) and prints medians. Needs numpy and nibabel.
"""
import argparse, math, os, shutil, statistics, subprocess, sys, time
p = argparse.ArgumentParser(); p.add_argument("brainscore"); p.add_argument("work"); p.add_argument("--turns", type=int, default=3); a = p.parse_args()
VOLUMES, MAPS = (50, 100, 200, 400), (64, 128, 256, 512, 1024)
maker = os.path.join(os.path.dirname(os.path.abspath(__file__)), "make_bold.py")
for n in VOLUMES:
    if not os.path.exists(f"{a.work}/{n}/bold.nii.gz"): subprocess.run([sys.executable, maker, f"{a.work}/{n}", "--maps", "256", "--volumes", str(n)], check=True)
for n in MAPS:
    if not os.path.exists(f"{a.work}/200/atlas_{n}.nii.gz"): subprocess.run([sys.executable, maker, f"{a.work}/200", "--maps", str(n), "--only-atlas"], check=True)
def seconds(volumes, maps):
    folder, out, cache = f"{a.work}/{volumes}", f"{a.work}/out", f"{a.work}/cache"; seen = {"cold": [], "warm": []}
    for turn in range(a.turns + 1):
        shutil.rmtree(cache, ignore_errors=True)
        for name in seen:
            shutil.rmtree(out, ignore_errors=True); start = time.perf_counter()
            subprocess.run([a.brainscore, "parcellate", f"{folder}/bold.nii.gz", "--atlas", f"{folder}/atlas_{maps}.nii.gz", "--mask", f"{folder}/mask.nii.gz", "--out", out, "--cache", cache], check=True, capture_output=True)
            seen[name].append(time.perf_counter() - start)
    return {k: statistics.median(v[1:]) for k, v in seen.items()}
def exponent(x, y):
    x, y = [math.log(v) for v in x], [math.log(v) for v in y]; m, n = sum(x) / len(x), sum(y) / len(y)
    return sum((u - m) * (v - n) for u, v in zip(x, y)) / sum((u - m) ** 2 for u in x)
for axis, sizes, of in (("volumes", VOLUMES, lambda n: (n, 256)), ("maps", MAPS, lambda n: (200, n))):
    found = [seconds(*of(n)) for n in sizes]
    for name in ("cold", "warm"):
        print(axis, name, " ".join(f"{n}: {f[name]:.2f} s" for n, f in zip(sizes, found)), f"exponent {exponent(sizes, [f[name] for f in found]):.2f}", flush=True)
