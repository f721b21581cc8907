#!/usr/bin/env python3
"""Recomputes one layer of one subject of this run in scikit-learn, and compares.

Written by brainscore «VERSION» for this run. It reads check/ (features, responses, folds) and scores.csv beside it and
uses nothing of brainscore's. Needs NumPy and scikit-learn:

    python check_in_python.py

Exit status 0 when every score agrees within TOLERANCE, 1 when one does not. What is done, step by step:

1. Every outer fold is held out once. Features are z-scored with mean and standard deviation of the training rows«PCA».
2. Inner folds are the other outer folds, one left out at a time. Each target takes the alpha with the smallest squared
   error summed over them; of equal ones the larger.
3. Ridge, |y - mean - Xw|^2 + alpha |w|^2, is fitted on all training rows and predicts the rows that were held out.
4. cod = 1 - sum of squared errors / sum of squares about the training mean, both over all folds; cod_test_mean =
   scikit-learn's r2_score per fold, averaged; r = Pearson correlation per fold, averaged.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

CHECKPOINT = «CHECKPOINT»
LAYER = «LAYER»
SUBJECT = «SUBJECT»
# The columns of check/Y.npy«SOME».
TARGETS = «TARGETS»
ALPHAS = «ALPHAS»
TOLERANCE = «TOLERANCE»
# Principal components that every fit is confined to; None for all.
COMPONENTS = «COMPONENTS»
SCORES = ("cod", "cod_test_mean", "r")

here = Path(__file__).resolve().parent


def same(cell, name):
    """Whether a cell of a table holds this name; a leading apostrophe keeps spreadsheets from computing it."""
    return cell in (name, "'" + name)


def read_folds():
    """The fold of each row, and for each fold which rows train when it is held out."""
    with open(here / "check" / "folds.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    fold = np.array([int(row["fold"]) for row in rows])
    trains = [np.array([row[f"trains_without_{k}"] == "1" for row in rows]) for k in range(fold.max() + 1)]
    return fold, trains


def read_scores():
    """What the run says, by target."""
    with open(here / "scores.csv", newline="", encoding="utf-8") as file:
        return {
            row["target"]: row
            for row in csv.DictReader(file)
            if row["layer"] == str(LAYER) and same(row["checkpoint"], CHECKPOINT) and same(row["subject"], SUBJECT)
        }


def predictions(x, y, train, test):
    """Predictions for the rows `test` with every alpha: (alphas, rows, targets); and the mean of the training rows."""
    scaler = StandardScaler().fit(x[train])
    seen, new = scaler.transform(x[train]), scaler.transform(x[test])
    if COMPONENTS is not None:
        pca = PCA(n_components=min(COMPONENTS, *seen.shape), svd_solver="full").fit(seen)
        seen, new = pca.transform(seen), pca.transform(new)
    fits = (Ridge(alpha=alpha, solver="cholesky").fit(seen, y[train]) for alpha in ALPHAS)
    return np.array([fit.predict(new).reshape(test.sum(), -1) for fit in fits]), y[train].mean(0)


def main():
    start = time.time()
    x = np.load(here / "check" / "X.npy").astype(np.float64)
    y = np.load(here / "check" / "Y.npy").astype(np.float64)
    # With subjects left out, models are fitted on what the other subjects responded.
    others = here / "check" / "Y_train.npy"
    y_train = np.load(others).astype(np.float64) if others.exists() else y
    fold, trains = read_folds()
    folds = range(fold.max() + 1)

    error = np.zeros((len(folds), len(ALPHAS), y.shape[1]))
    for k in folds:
        for j in range(k):
            without_both = trains[k] & trains[j]
            for outer, inner in ((k, j), (j, k)):
                test = fold == inner
                predicted, _ = predictions(x, y_train, without_both, test)
                error[outer] += ((predicted - y_train[test]) ** 2).sum(1)

    predicted, sse, sst = np.zeros_like(y), np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for k in folds:
        test = fold == k
        every, mean = predictions(x, y_train, trains[k], test)
        # The last of the smallest: the larger alpha.
        best = len(ALPHAS) - 1 - np.argmin(error[k][::-1], axis=0)
        predicted[test] = np.take_along_axis(every, best[None, None, :], 0)[0]
        sse += ((y[test] - predicted[test]) ** 2).sum(0)
        sst += ((y[test] - mean) ** 2).sum(0)

    said = read_scores()
    largest, compared, undefined = {}, 0, 0
    for t, target in enumerate(TARGETS):
        row = next((row for name, row in said.items() if same(name, target)), None)
        if row is None:
            sys.exit(f"scores.csv has no row of target {target!r}")
        mine = {
            "cod": lambda: 1 - sse[t] / sst[t],
            "cod_test_mean": lambda: np.mean([r2_score(y[fold == k, t], predicted[fold == k, t]) for k in folds]),
            "r": lambda: np.mean([np.corrcoef(y[fold == k, t], predicted[fold == k, t])[0, 1] for k in folds]),
        }
        for score in SCORES:
            if row[score] == "":
                undefined += 1
                continue
            compared += 1
            # A difference that is no number is no agreement.
            difference = float(np.nan_to_num(abs(mine[score]() - float(row[score])), nan=np.inf))
            if difference >= largest.get(score, (-1.0,))[0]:
                largest[score] = (difference, target)

    # repr: a name must not steer a terminal.
    print(f"{CHECKPOINT!r}, layer {LAYER}, subject {SUBJECT!r}: {len(y)} rows, {x.shape[1]} features, {len(TARGETS)} targets")
    for score, (difference, target) in largest.items():
        print(f"  {score}: largest difference {difference:.2e} ({target!r})")
    print(f"  {compared} scores compared, {undefined} undefined in scores.csv, {time.time() - start:.1f} s")
    agrees = compared > 0 and all(difference <= TOLERANCE for difference, _ in largest.values())
    print("AGREES" if agrees else f"DISAGREES by more than {TOLERANCE:g}")
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
