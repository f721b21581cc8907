"""components.json: nested ridge on principal components by scikit-learn, for tests/ridge.rs.

    python make_components.py > components.json

StandardScaler, PCA (full SVD) and Ridge are fitted on training rows only; alpha per target by smallest squared error summed
over the inner folds (the other outer folds, one left out at a time), the larger one on ties. Needs numpy and scikit-learn.
"""
import json, numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

def value(rows, columns, by): i, j = np.indices((rows, columns)); return (i * 37 + j * 101 + i * j * 13 + by * 11) % 97 / 48.5 - 1
def problem(n, p, t):
    x = value(n, 9, 1) / (1 + np.arange(9)) @ value(9, p, 2) + 0.2 * value(n, p, 3)
    return x, x[:, :5] @ value(5, t, 4) + value(n, t, 5)
def predict(x, y, train, test, components, alpha):
    z = StandardScaler().fit(x[train]); pca = PCA(components, svd_solver="full").fit(z.transform(x[train]))
    f = lambda rows: pca.transform(z.transform(x[rows]))
    return Ridge(alpha=alpha, solver="cholesky").fit(f(train), y[train]).predict(f(test)).reshape(len(test), -1)
def nested(n, p, t, k, components, alphas):
    x, y = problem(n, p, t); fold = np.arange(n) * k // n; out = np.zeros_like(y); chosen = np.zeros((k, t))
    for o in range(k):
        sse = np.zeros((len(alphas), t))
        for i in (i for i in range(k) if i != o):
            train, test = np.flatnonzero((fold != o) & (fold != i)), np.flatnonzero(fold == i)
            for a, alpha in enumerate(alphas): sse[a] += ((predict(x, y, train, test, components, alpha) - y[test]) ** 2).sum(0)
        train, test = np.flatnonzero(fold != o), np.flatnonzero(fold == o)
        for j in range(t):
            best = max(a for a in range(len(alphas)) if sse[a, j] <= sse[:, j].min() * (1 + 1e-12)); chosen[o, j] = alphas[best]
            out[test, j] = predict(x, y[:, [j]], train, test, components, alphas[best])[:, 0]
    return dict(n=n, p=p, t=t, k=k, components=components, alphas=alphas, chosen=chosen.tolist(), predicted=np.round(out, 12).tolist())

alphas = [0.1, 1.0, 10.0, 100.0, 1000.0]
print(json.dumps([nested(60, 12, 3, 4, 5, alphas), nested(30, 80, 3, 3, 4, alphas), nested(40, 20, 30, 4, 6, alphas)]))
