"""Golden numbers of the two-way bootstrap, by plain resampling in numpy: `python make_two_way.py > two_way.json`.

gains and shares are (subjects, groups); a draw takes subjects and groups with replacement, a subject's value is the sum of its gains over
the sum of its shares, the statistic the mean over the subjects drawn. 400,000 draws: the ends of the interval are certain to about 0.3 %
of its width.
"""
import json, sys, numpy as np

rng = np.random.default_rng(20261121)
cases = []
for n, g, spread in [(8, 30, 0.0), (12, 20, 0.5), (20, 12, 1.0)]:
    shares = rng.gamma(4.0, 1.0, (n, g))
    gains = shares * (0.1 + 0.05 * rng.normal(size=(n, 1)) + 0.05 * rng.normal(size=(1, g))) + 0.1 * rng.normal(size=(n, g)) * (1 + spread)
    values = []
    for _ in range(40):
        subjects = rng.multinomial(n, np.full(n, 1 / n), size=10_000)
        groups = rng.multinomial(g, np.full(g, 1 / g), size=10_000)
        ratio = (groups @ gains.T) / (groups @ shares.T)
        values.append((ratio * subjects).sum(1) / n)
    low, high = np.quantile(np.concatenate(values), [0.025, 0.975])
    cases.append({"gains": gains.tolist(), "shares": shares.tolist(), "low": low, "high": high})
json.dump({"versions": {"numpy": np.__version__}, "cases": cases}, sys.stdout)
