"""Banded ridge with random search: `brainscore fit --bands` against himalaya's GroupRidgeCV, in turns, same arrays, draws and alphas.

    cargo build --release
    python benches/banded_vs_himalaya.py [--repeat 3] [--draws 20]

Both: 5 outer folds, inner folds = the other outer folds, one weighting and alpha per target. himalaya in float32 on torch, its z-scores per
outer fold; ours in the default precision, z-scored per inner fold, scores, split and unique variance of both bands included. Needs numpy,
himalaya, scikit-learn, torch.
"""
import argparse, json, os, statistics, subprocess, tempfile, time, numpy as np

CASES = {"wide beside narrow": dict(n=1000, p=(768, 5), t=1024), "two wide bands": dict(n=1000, p=(400, 300), t=512), "more features than rows": dict(n=400, p=(1024, 512), t=512)}

def data(case):
    rng = np.random.default_rng(0); n, (p, q), t = case["n"], case["p"], case["t"]
    x = rng.normal(size=(n, p + q)); y = x[:, :p] @ rng.normal(size=(p, t)) / np.sqrt(p) + x[:, p:] @ rng.normal(size=(q, t)) / np.sqrt(q) + rng.normal(size=(n, t))
    return x.astype(np.float32), y.astype(np.float32), np.repeat([0, 1], [p, q]), np.arange(n) * 5 // n

def himalaya(x, y, bands, fold, alphas, draws):
    from himalaya.backend import set_backend; from himalaya.ridge import GroupRidgeCV; from sklearn.model_selection import PredefinedSplit
    B = set_backend("torch"); sse = ref = 0
    for k in range(5):
        te, tr = fold == k, fold != k; m, s = x[tr].mean(0), x[tr].std(0); a, b = (x[tr] - m) / s, (x[te] - m) / s; ym = y[tr].mean(0)
        model = GroupRidgeCV(groups=bands, solver_params=dict(n_iter=draws, alphas=alphas, progress_bar=False, warn=False), cv=PredefinedSplit(fold[tr]), random_state=0, fit_intercept=False)
        p = B.to_numpy(model.fit(B.asarray(a), B.asarray(y[tr] - ym)).predict(B.asarray(b))) + ym
        sse = sse + ((y[te] - p) ** 2).sum(0); ref = ref + ((y[te] - ym) ** 2).sum(0)
    return float((1 - sse / ref).mean())

def main():
    p = argparse.ArgumentParser(); p.add_argument("--repeat", type=int, default=3); p.add_argument("--draws", type=int, default=20)
    p.add_argument("--binary", default="target/release/brainscore"); a = p.parse_args(); alphas = np.logspace(-1, 7, 17)
    for name, case in CASES.items():
        x, y, bands, fold = data(case); times = {"brainscore": [], "himalaya": []}
        with tempfile.TemporaryDirectory() as d:
            for n, v in dict(x=x, y=y, bands=bands, fold=fold, alphas=alphas).items(): np.save(f"{d}/{n}.npy", v)
            for i in range(a.repeat):
                command = [a.binary, "fit", "--x", f"{d}/x.npy", "--y", f"{d}/y.npy", "--folds", f"{d}/fold.npy", "--alphas", f"{d}/alphas.npy", "--bands", f"{d}/bands.npy", "--draws", str(a.draws), "--threads", "2", "--out", f"{d}/out{i}", "--json"]
                found = json.loads(subprocess.run(command, check=True, text=True, capture_output=True).stdout)
                times["brainscore"].append(found["fit_seconds"]); ours = found["feature_spaces"][0]["mean_cod"]
                t0 = time.perf_counter(); theirs = himalaya(x, y, bands, fold, alphas, a.draws); times["himalaya"].append(time.perf_counter() - t0)
        m = {k: statistics.median(v) for k, v in times.items()}
        print(f"{name}: n={case['n']} p={case['p']} t={case['t']} draws={a.draws}  brainscore {m['brainscore']:.2f} s  himalaya {m['himalaya']:.2f} s  x{m['himalaya'] / m['brainscore']:.1f}  mean cod {ours:.4f} / {theirs:.4f}", flush=True)

if __name__ == "__main__": main()
