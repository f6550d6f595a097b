"""Whether one method is better than another: Wilcoxon's signed-rank test for every pair.

The samples overlap and come from one set of test faces. So, as in the paper, a small p means that
the order of two methods does not depend on which of these faces are sampled; it says nothing about
other data.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepmds_jax.evaluation.metrics import CRITERIA, Metrics
from deepmds_jax.evaluation.protocol import sample_means
from deepmds_jax.extras import require

_PAPER = ("mse", "depthcorr")  # the criteria that the paper pools into 20 values
# The share of the trace is left out: its p is that of the trace.
_COMPARED = [criterion for criterion in CRITERIA if criterion.field != "depthcorr_share"]


def compare(results: Mapping[str, Metrics], samples: np.ndarray) -> list[dict[str, Any]]:
    """Tests every pair of methods by every criterion, on the sample means.

    Two methods are compared on the faces for which both have a finite prediction. The exact p of
    ten samples is at least 2 / 2^10 = 1.95e-03, so with more than 25 pairs of methods no p stays
    below 0.05 after Holm's correction.

    Args:
      results: by title, from `protocol.evaluate`.
      samples: (S, size) indices from `protocol.draw_samples`.

    Returns:
      For each criterion a row per pair: "criterion", "method a", "method b", "better" (the title
      of the method with the better mean over the samples; None if they are equal), "p exact",
      "p Holm" (corrected for the number of pairs, per criterion) and "p of 20 values" (the paper's
      test, which pools MSE and DepthCorr: the same in the rows of both, None in the others). All p
      are two-sided, and None where no sample has a face that both methods predicted.

    Raises:
      ImportError: scipy is not installed.
    """
    require("scipy.stats", extra="files")  # before any work
    pairs = list(itertools.combinations(results, 2))
    advantages = {(a, b): _advantages(results[a], results[b], samples) for a, b in pairs}
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

    Zeros are dropped, as Wilcoxon did. Ties share their ranks, and the null distribution is
    enumerated over all 2^S signs, so p is exact with ties, too. The result is 1 if all differences
    are zero, and None if there are none.

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

    The paper's p = 8.8e-05 is the p of 20 differences of one sign: those of MSE and DepthCorr in
    ten samples, pooled without scaling. Where the signs of the two criteria differ, DepthCorr
    decides, because its numbers and therefore its ranks are larger.

    Source: MATLAB's signrank (method "approximate"), which gives the paper's number.
    """
    if not differences.size:
        return None
    stats = require("scipy.stats", extra="files")
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, method="approx", correction=False).pvalue)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of the p of several tests, in the given order; None stays None.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6(2):65.
    """
    tested = sorted((value, i) for i, value in enumerate(p) if value is not None)
    corrected: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * value))
        corrected[i] = largest
    return corrected


def _advantages(a: Metrics, b: Metrics, samples: np.ndarray) -> dict[str, np.ndarray]:
    """By field, by how much the sample means of a are better than those of b (positive: better)."""
    both = np.isfinite(a.mse) & np.isfinite(b.mse)
    # A face that either method failed on is left out of the means of both. The errors of single
    # landmarks are not tested, so they are dropped here.
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
