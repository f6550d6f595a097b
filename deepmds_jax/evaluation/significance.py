"""Whether one method is better than another: Wilcoxon's signed-rank test, pair by pair.

The samples are drawn from the same test faces and overlap, so a small p says that the order of the
methods does not hang on which of these faces are looked at, as in the paper; it does not say so of
other data.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepmds_jax.evaluation.metrics import CRITERIA, Metrics
from deepmds_jax.evaluation.protocol import sample_means
from deepmds_jax.extras import require

_PAPER = ("mse", "depthcorr")  # pooled to the paper's 20 values
# The share of the trace has the p of the trace.
_COMPARED = [criterion for criterion in CRITERIA if criterion.field != "depthcorr_share"]


def compare(results: Mapping[str, Metrics], samples: np.ndarray) -> list[dict[str, Any]]:
    """Tests every pair of methods by every criterion, on the sample means.

    Two methods are compared on the faces that both gave a finite prediction for. Ten pairs cannot
    have an exact p below 2 / 2^10 = 1.95e-03, so with more than 25 pairs of methods Holm's
    correction leaves none below 0.05.

    Args:
      results: from `protocol.evaluate`.
      samples: (S, size) places from `protocol.draw_samples`.

    Returns:
      For each criterion a row per pair: "criterion", "method a", "method b", "better" (the title
      of the better one by the mean of the sample means; None if they are equal), "p exact",
      "p Holm" (corrected over the pairs of this criterion) and "p of 20 values" (the paper's: of
      the criterion's row and of `_PAPER` pooled, so the same in the rows of MSE and DepthCorr;
      None in others). p is two-sided; None where no sample has a face that both predicted.

    Raises:
      ImportError: scipy is not installed.
    """
    require("scipy.stats", extra="files")  # before any work
    pairs = list(itertools.combinations(results, 2))
    advantages = {pair: _advantages(*map(results.get, pair), samples) for pair in pairs}
    pooled = {
        pair: wilcoxon_normal(np.concatenate([found[field] for field in _PAPER]))
        for pair, found in advantages.items()
    }
    rows = []
    for criterion in _COMPARED:
        exact = [wilcoxon_exact(advantages[pair][criterion.field]) for pair in pairs]
        for pair, p, corrected in zip(pairs, exact, holm(exact), strict=True):
            values = advantages[pair][criterion.field]
            sign = np.sign(np.mean(values)) if values.size else 0
            rows.append({
                "criterion": criterion.title,
                "method a": pair[0],
                "method b": pair[1],
                "better": {1: pair[0], -1: pair[1]}.get(sign),
                "p exact": p,
                "p Holm": corrected,
                "p of 20 values": pooled[pair] if criterion.field in _PAPER else None,
            })
    return rows


def wilcoxon_exact(differences: np.ndarray) -> float | None:
    """Two-sided exact p of Wilcoxon's signed-rank test of paired differences (S,).

    Zeros are dropped, as Wilcoxon did; ties share their ranks, and the distribution is that of all
    2^S signs, which stays exact with ties. All zero gives 1, no difference at all None.

    Source: Wilcoxon (1945), Biometrics Bulletin 1(6):80; scipy.stats.wilcoxon.
    """
    if not differences.size:
        return None
    stats = require("scipy.stats", extra="files")
    if not differences.any():
        return 1.0
    every_sign = stats.PermutationMethod(n_resamples=2**differences.size)
    return float(stats.wilcoxon(differences, method=every_sign).pvalue)


def wilcoxon_normal(differences: np.ndarray) -> float | None:
    """Two-sided p by the normal approximation, without continuity correction.

    The paper's p = 8.8e-05 is what 20 differences of one sign have: those of MSE and of DepthCorr
    in ten samples, pooled as they are. Where their signs differ, DepthCorr, being the larger
    number, has the larger ranks.

    Source: MATLAB's signrank (method "approximate"), which the paper's number agrees with.
    """
    if not differences.size:
        return None
    stats = require("scipy.stats", extra="files")
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, method="approx", correction=False).pvalue)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of the p of several tests, in their order; None stays None.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6(2):65.
    """
    order = sorted((i for i, value in enumerate(p) if value is not None), key=lambda i: p[i])
    corrected: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def _advantages(a: Metrics, b: Metrics, samples: np.ndarray) -> dict[str, np.ndarray]:
    """By field, how much better than b the sample means of a are: positive is better."""
    both = np.isfinite(a.mse) & np.isfinite(b.mse)
    # A face that one of them failed on leaves the means of both; landmarks one by one are not used.
    means = [
        sample_means(
            x._replace(mse=np.where(both, x.mse, np.nan), landmark_errors=x.landmark_errors[:, :0]),
            samples,
        )
        for x in (a, b)
    ]
    found = {}
    for criterion in _COMPARED:
        first, second = (getattr(mean, criterion.field) for mean in means)
        difference = criterion.better * (first - second)
        found[criterion.field] = difference[np.isfinite(difference)]
    return found
