"""Golden numbers for tests/inference.rs, by scipy and statsmodels: `python make_inference.py > inference.json`.

The versions are written into the file; random data are stored with the results, so nothing has to be drawn again.
"""

import itertools
import json
import sys

import numpy as np
import scipy
import statsmodels
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

rng = np.random.default_rng(20261121)
out = {"versions": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__}}


def t_of(x, axis=0):
    return stats.ttest_1samp(x, 0.0, axis=axis).statistic


# Paired sign flips, exact: scipy enumerates all 2^n sign patterns of paired samples.
cases = []
for n, shift in [(5, 0.4), (8, 0.5), (11, 0.0), (14, 0.6)]:
    d = rng.normal(shift, 1.0, n)
    found = stats.permutation_test((d,), t_of, permutation_type="samples", n_resamples=np.inf, alternative="two-sided")
    cases.append({"d": d.tolist(), "t": float(t_of(d)), "p": float(found.pvalue)})
out["sign_flip"] = cases

# Largest |t| over a family, all patterns, by brute force with scipy's t.
d = rng.normal(0.0, 1.0, (9, 6)) + np.array([0.0, 0.3, 0.6, 0.9, 1.2, 0.0])
d[:, 5] = 0.7 * d[:, 4] + 0.3 * rng.normal(size=9)
t = t_of(d)
largest = []
for signs in itertools.product([1, -1], repeat=9):
    largest.append(np.abs(t_of(d * np.array(signs)[:, None])).max())
largest = np.array(largest)
p_fwe = [float((largest >= abs(x) * (1 - 1e-12)).mean()) for x in t]
out["max_t"] = {"d": d.tolist(), "t": t.tolist(), "p_fwe": p_fwe}

# Benjamini–Hochberg.
p = np.concatenate([rng.uniform(size=30), rng.uniform(0, 0.01, 8), [0.02, 0.02, 1.0]])
out["bh"] = {"p": p.tolist(), "q": multipletests(p, method="fdr_bh")[1].tolist()}

# Two one-sided tests, and the t interval they go with.
cases = []
for n, mean, sd, margin in [(6, 0.001, 0.01, 0.02), (14, 0.004, 0.01, 0.01), (30, -0.02, 0.05, 0.03), (3, 0.0, 0.001, 0.01)]:
    d = rng.normal(mean, sd, n)
    found = ttost_paired(d, np.zeros(n), -margin, margin)
    cases.append({"d": d.tolist(), "margin": margin, "p": float(found[0])})
out["tost"] = cases

# Smallest detectable effect, in standard deviations.
cases = []
for n in [3, 4, 5, 8, 14, 25, 40, 200]:
    effect = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8, alternative="two-sided")
    cases.append({"n": n, "effect": float(effect)})
# For two values neither statsmodels nor scipy's noncentral t converges: the integral over the standard deviation instead.
from scipy.integrate import quad
from scipy.optimize import brentq

critical = stats.t.ppf(0.975, 1)


def power(shift):
    found = lambda s: (stats.norm.cdf(shift - critical * s) + stats.norm.cdf(-shift - critical * s)) * stats.chi.pdf(s, 1)
    return quad(found, 0, 10, points=[0.1, 0.5, 1, 2, 4], epsabs=1e-12, limit=500)[0]


cases.append({"n": 2, "effect": float(brentq(lambda s: power(s) - 0.8, 1, 200, xtol=1e-10) / np.sqrt(2))})
out["mde"] = cases

# BCa from given replicates: scipy's interval of a stored bootstrap distribution.
cases = []
for sample in [rng.normal(0.1, 0.2, 8), rng.exponential(1.0, 14), rng.lognormal(0.0, 0.7, 30)]:
    first = stats.bootstrap((sample,), np.mean, n_resamples=999, method="BCa", rng=rng)
    again = stats.bootstrap((sample,), np.mean, n_resamples=0, bootstrap_result=first, method="BCa")
    jackknife = [float(np.delete(sample, i).mean()) for i in range(len(sample))]
    cases.append({
        "value": float(sample.mean()),
        "replicates": first.bootstrap_distribution.tolist(),
        "jackknife": jackknife,
        "low": float(again.confidence_interval.low),
        "high": float(again.confidence_interval.high),
    })
out["bca"] = cases

# Two groups without covariates, exact: scipy enumerates all ways to deal the labels. Its two-sided p doubles the smaller
# tail; here p counts |t|, which its null distribution gives as well.
cases = []
for n, m, shift in [(5, 4, 1.0), (7, 6, 0.3)]:
    a, b = rng.normal(0, 1, n), rng.normal(shift, 1, m)
    statistic = lambda x, y, axis=-1: stats.ttest_ind(y, x, axis=axis).statistic
    found = stats.permutation_test((a, b), statistic, permutation_type="independent", n_resamples=np.inf)
    test = stats.ttest_ind(b, a)
    p = np.mean(np.abs(found.null_distribution) >= abs(test.statistic) * (1 - 1e-12))
    interval = test.confidence_interval(0.95)
    cases.append({
        "a": a.tolist(), "b": b.tolist(), "t": float(test.statistic), "p": float(p),
        "low": float(interval.low), "high": float(interval.high),
    })
out["two_groups"] = cases

# Freedman–Lane with given permutations: every refit by statsmodels.
n, second = 13, np.array([0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1], bool)
covariates = np.column_stack([rng.normal(40, 10, n), rng.integers(0, 2, n)])
y = np.column_stack([
    0.02 * covariates[:, 0] + 0.5 * second + rng.normal(0, 0.4, n),
    rng.normal(0, 1, n),
    0.8 * second + 0.6 * covariates[:, 1] + rng.normal(0, 0.5, n),
])
nuisance = sm.add_constant(covariates)
design = np.column_stack([second.astype(float), nuisance])
orders = [rng.permutation(n).tolist() for _ in range(199)]


def label(values):
    fit = sm.OLS(values, design).fit()
    return fit.params[0], fit.tvalues[0], fit.conf_int()[0]


observed = [label(y[:, c]) for c in range(3)]
permuted = np.zeros((len(orders), 3))
for c in range(3):
    reduced = sm.OLS(y[:, c], nuisance).fit()
    for i, order in enumerate(orders):
        permuted[i, c] = label(reduced.fittedvalues + reduced.resid[order])[1]
m = len(orders)
out["freedman_lane"] = {
    "y": y.tolist(), "second": second.tolist(), "covariates": covariates.tolist(), "orders": orders,
    "estimate": [float(o[0]) for o in observed],
    "t": [float(o[1]) for o in observed],
    "low": [float(o[2][0]) for o in observed], "high": [float(o[2][1]) for o in observed],
    "p": [float((np.sum(np.abs(permuted[:, c]) >= abs(observed[c][1])) + 1) / (m + 1)) for c in range(3)],
    "p_fwe": [float((np.sum(np.abs(permuted).max(1) >= abs(observed[c][1])) + 1) / (m + 1)) for c in range(3)],
}

# Scores taken apart by stimulus group, and resampled: y and predictions of three folds, two groups or more in each.
rows, groups = 36, np.repeat(np.arange(9), 4)
fold = np.repeat([0, 1, 2], 12)
truth = rng.normal(2.0, 1.0, rows)
models = {"a": truth * 0.5 + rng.normal(1, 1, rows), "b": truth * 0.3 + rng.normal(1.4, 1, rows)}
train_mean = np.array([truth[fold != f].mean() for f in range(3)])
weights = rng.multinomial(9, np.ones(9) / 9, size=40)


def cod(pred, w):
    per_row = w[groups]
    return 1 - np.sum(per_row * (truth - pred) ** 2) / np.sum(per_row * (truth - train_mean[fold]) ** 2)


def r(pred):
    return np.mean([stats.pearsonr(truth[fold == f], pred[fold == f])[0] for f in range(3)])


def test_mean(pred):
    return np.mean([
        1 - np.sum((truth[fold == f] - pred[fold == f]) ** 2) / np.sum((truth[fold == f] - truth[fold == f].mean()) ** 2)
        for f in range(3)
    ])


# Swapping the two predictions of a group, as cod sees it: all 2^9 patterns, no shortcut.
one = np.ones(9)
difference = cod(models["b"], one) - cod(models["a"], one)
group_difference = np.array([
    np.sum((truth - models["a"])[groups == g] ** 2) - np.sum((truth - models["b"])[groups == g] ** 2) for g in range(9)
])
swapped = []
for pattern in itertools.product([False, True], repeat=9):
    swap = np.array(pattern)[groups]
    a, b = np.where(swap, models["b"], models["a"]), np.where(swap, models["a"], models["b"])
    swapped.append(cod(b, one) - cod(a, one))
out["blocks"] = {
    "truth": truth.tolist(), "a": models["a"].tolist(), "b": models["b"].tolist(), "fold": fold.tolist(),
    "groups": groups.tolist(), "train_mean": train_mean.tolist(),
    "cod": [cod(models["a"], one), cod(models["b"], one)],
    "r": [float(r(models["a"])), float(r(models["b"]))],
    "cod_test_mean": [float(test_mean(models["a"])), float(test_mean(models["b"]))],
    "weights": weights.tolist(),
    "resampled": [[cod(models["a"], w), cod(models["b"], w)] for w in weights],
    "difference": difference,
    "p": float(np.mean(np.abs(swapped) >= abs(difference) * (1 - 1e-12))),
}
json.dump(out, sys.stdout, indent=None)
print()
