"""Confidence limits, tests and trends worked out with scipy, statsmodels and numpy; nothing of ours is used."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

Array = npt.NDArray[np.float64]
Rate = Literal["byar_exact", "byar"]
CONFIDENCES = {"95": 0.95, "998": 0.998}


def wilson(x: Array, n: Array, confidence: float) -> tuple[Array, Array]:
    """Limits of the proportion x / n."""
    low, high = proportion_confint(x, n, alpha=1 - confidence, method="wilson")
    return np.asarray(low), np.asarray(high)


def exact(x: Array, confidence: float) -> tuple[Array, Array]:
    """Limits of a Poisson count by quantiles of the chi-square distribution."""
    tail = (1 - confidence) / 2
    low = np.where(x > 0, stats.chi2.ppf(tail, np.maximum(2 * x, 1)) / 2, 0.0)
    return low, stats.chi2.ppf(1 - tail, 2 * x + 2) / 2


def byar(x: Array, confidence: float) -> tuple[Array, Array]:
    """Byar's approximation (Breslow and Day 1987, page 69), written for one count and its successor."""
    z = stats.norm.ppf(1 - (1 - confidence) / 2)
    safe = np.maximum(x, 1.0)
    low = np.where(x > 0, safe * (1 - 1 / (9 * safe) - z / (3 * np.sqrt(safe))) ** 3, 0.0)
    after = x + 1
    return np.maximum(low, 0.0), after * (1 - 1 / (9 * after) + z / (3 * np.sqrt(after))) ** 3


def poisson(x: Array, confidence: float, method: Rate) -> tuple[Array, Array]:
    """Limits of a count as the indicator's method has it."""
    approximate = byar(x, confidence)
    if method == "byar":
        return approximate
    true = exact(np.minimum(x, 10), confidence)
    return np.where(x < 10, true[0], approximate[0]), np.where(x < 10, true[1], approximate[1])


def mover(now: tuple[Array, Array, Array], before: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """Limits of a difference from (value, low, high) of both sides (Zou and Donner 2008)."""
    (v1, l1, u1), (v0, l0, u0) = now, before
    return v1 - v0 - np.hypot(v1 - l1, u0 - v0), v1 - v0 + np.hypot(u1 - v1, v0 - l0)


def trend_of_proportions(x: Array, n: Array) -> tuple[Array, Array]:
    """Cochran-Armitage test and direction of windows of five years (last axis); counts strictly between 0 and n.

    Returns:
        chi-square with one degree of freedom; sign that all six slopes of the logits share, 0 if they do not.
    """
    t = np.arange(5, dtype=np.longdouble)
    x, n = x.astype(np.longdouble), n.astype(np.longdouble)
    p = x.sum(axis=-1, keepdims=True) / n.sum(axis=-1, keepdims=True)
    mean_t = (n * t).sum(axis=-1, keepdims=True) / n.sum(axis=-1, keepdims=True)
    score = ((t - mean_t) * (x - n * p)).sum(axis=-1)
    variance = (p * (1 - p))[..., 0] * (n * (t - mean_t) ** 2).sum(axis=-1)
    logit = np.log(x) - np.log(n - x)
    return (score**2 / variance).astype(float), common_sign(logit, np.ones_like(logit))


def trend_of_rates(value: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """The same for rates: straight line weighted by the inverse variance that the 95 % limits tell."""
    t = np.arange(5, dtype=np.longdouble)
    w = ((2 * 1.96) / (high - low).astype(np.longdouble)) ** 2
    y = value.astype(np.longdouble)
    mean_t = (w * t).sum(axis=-1, keepdims=True) / w.sum(axis=-1, keepdims=True)
    spread = (w * (t - mean_t) ** 2).sum(axis=-1)
    slope = (w * (t - mean_t) * y).sum(axis=-1) / spread
    return (slope**2 * spread).astype(float), common_sign(y, w)


def common_sign(y: npt.NDArray[np.longdouble], w: npt.NDArray[np.longdouble]) -> Array:
    """1 or -1 if the slope over all five years and those without one of them have this sign, 0 otherwise."""
    signs = []
    for left_out in (None, 0, 1, 2, 3, 4):
        pairs = [(i, j) for i in range(5) for j in range(i + 1, 5) if left_out not in (i, j)]
        # The slope as a sum over pairs of years is exactly 0 where all values are equal.
        slope = sum(w[..., i] * w[..., j] * (j - i) * (y[..., j] - y[..., i]) for i, j in pairs)
        signs.append(np.sign(slope))
    together = np.array(signs, dtype=float)
    return np.where((together == together[0]).all(axis=0), together[0], 0.0)


CRITICAL = float(stats.chi2.ppf(0.998, 1))
"""9.5495."""


def label(low: Array, high: Array, benchmark: Array) -> npt.NDArray[np.int_]:
    """1 above the benchmark, -1 below it, 0 if the limits hold it; on nine digits, like the table says."""
    above = np.round(low, 9) > np.round(benchmark, 9)
    return above.astype(int) - (np.round(high, 9) < np.round(benchmark, 9)).astype(int)
