import itertools

import numpy as np
import pytest
from scipy import stats

from deepmds_jax.evaluation import significance
from deepmds_jax.evaluation.metrics import Metrics
from deepmds_jax.evaluation.protocol import draw_samples, sample_means


def make_metrics(mse):
    """Faces of two landmarks: the larger the error, the worse in all but handedness."""
    mse = np.asarray(mse, np.float32)
    errors = np.stack([mse, mse], axis=-1)
    return Metrics(mse, 2 - mse, 1 - mse / 2, 1 - mse, mse, np.isfinite(mse), errors)


def every_sign(differences):
    """Two-sided p by writing out all signs of the ranks of the absolute differences."""
    differences = differences[differences != 0]
    ranks = stats.rankdata(np.abs(differences))
    signs = np.array(list(itertools.product([0, 1], repeat=len(ranks))))
    sums = signs @ ranks
    observed = np.sum(ranks[differences > 0])
    one_sided = min(np.mean(sums <= observed), np.mean(sums >= observed))
    return min(1, 2 * one_sided)


def test_ten_pairs_cannot_go_below_two_in_1024():
    rng = np.random.default_rng(0)
    least = significance.wilcoxon_exact(rng.uniform(1, 2, 10))
    assert least == 2 / 1024 and least == pytest.approx(1.95e-3, rel=2e-3)
    for _ in range(20):
        assert significance.wilcoxon_exact(rng.normal(1, 1, 10)) >= 2 / 1024


def test_exact_p_by_hand():
    # Ranks 1, 2, 3, the smallest negative: of 8 signs two have a rank sum of at most 1.
    assert significance.wilcoxon_exact(np.array([-1.0, 2, 3])) == 2 * 2 / 8


@pytest.mark.parametrize("seed", range(3))
def test_exact_p_is_scipys_and_that_of_all_signs(seed):
    rng = np.random.default_rng(seed)
    differences = rng.normal(0.4, 1, 10)
    found = significance.wilcoxon_exact(differences)
    assert found == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, rel=1e-12)
    assert found == pytest.approx(every_sign(differences), rel=1e-12)
    tied = np.round(differences)  # ties and zeros
    assert significance.wilcoxon_exact(tied) == pytest.approx(every_sign(tied), rel=1e-12)


def test_the_papers_number():
    twenty = np.random.default_rng(1).uniform(1, 2, 20)
    # W = 0 of mean 20 * 21 / 4 and variance 20 * 21 * 41 / 24: z = -3.92.
    expected = 2 * stats.norm.cdf(-105 / np.sqrt(717.5))
    for sign in (1, -1):
        assert significance.wilcoxon_normal(sign * twenty) == pytest.approx(expected, rel=1e-9)
    assert expected == pytest.approx(8.8e-05, abs=0.1e-05)


def test_no_difference_is_no_evidence():
    for test in (significance.wilcoxon_exact, significance.wilcoxon_normal):
        assert test(np.zeros(10)) == 1
        assert test(np.zeros(0)) is None


def test_holm_by_hand():
    # Sorted: 0.005 * 4 = 0.02; 0.01 * 3 = 0.03; 0.03 * 2 = 0.06; 0.04 * 1, not below 0.06.
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # None is no test: 0.2 * 2, and 0.7 * 1 is above.
    assert significance.holm([0.7, None, 0.2]) == [0.7, None, 0.4]
    assert significance.holm([0.9, 0.8]) == [1, 1]
    assert significance.holm([]) == []


def compared(results, samples):
    rows = significance.compare(results, samples)
    assert all([*row] == ["criterion", "method a", "method b", "better", "p exact", "p Holm",
                          "p of 20 values"] for row in rows)
    return {(row["criterion"], row["method a"], row["method b"]): row for row in rows}


def test_a_method_that_is_always_better():
    rng = np.random.default_rng(2)
    worse = rng.uniform(0.2, 0.3, 5000)
    results = {"worse": make_metrics(worse), "better": make_metrics(0.5 * worse),
               "same": make_metrics(worse)}
    rows = compared(results, draw_samples(0, 5000))
    assert len(rows) == 5 * 3
    for (criterion, a, b), row in rows.items():
        pooled = criterion in ("MSE", "DepthCorr (trace)")
        if criterion == "right-handed" or {a, b} == {"worse", "same"}:
            assert (row["better"], row["p exact"], row["p Holm"]) == (None, 1, 1)
            assert row["p of 20 values"] == (1 if pooled else None)
        else:
            assert row["better"] == "better"
            assert row["p exact"] == 2 / 1024
            assert row["p Holm"] == pytest.approx(3 * 2 / 1024)
            # "Better" has one sign in MSE (less) and DepthCorr (more), so all twenty do.
            expected = pytest.approx(8.857e-05, rel=1e-3) if pooled else None
            assert row["p of 20 values"] == expected


def test_p_are_scipys_of_the_sample_means():
    rng = np.random.default_rng(3)
    a, b = (make_metrics(rng.gamma(2, 0.1, 5000)) for _ in range(2))
    b = b._replace(depthcorr=2 - 0.2 * rng.gamma(2, 0.1, 5000))
    samples = draw_samples(4, 5000)
    rows = compared({"a": a, "b": b}, samples)
    means = [sample_means(x, samples) for x in (a, b)]
    mse, trace = means[1].mse - means[0].mse, means[0].depthcorr - means[1].depthcorr
    for criterion, differences in (("MSE", mse), ("DepthCorr (trace)", trace)):
        row = rows[criterion, "a", "b"]
        expected = stats.wilcoxon(differences, method="exact").pvalue
        assert row["p exact"] == row["p Holm"] == pytest.approx(expected, rel=1e-9)
        assert row["better"] == ("a" if differences.mean() > 0 else "b")
        twenty = stats.wilcoxon(np.concatenate([mse, trace]), method="approx").pvalue
        assert row["p of 20 values"] == pytest.approx(twenty, rel=1e-9)


def test_methods_are_compared_on_the_faces_both_predicted():
    # b fails on the hard faces, and is worse on all others: by its own mean it would win.
    easy, hard = np.full(2500, 0.1), np.full(2500, 0.9)
    a = make_metrics(np.concatenate([easy, hard]))
    b = make_metrics(np.concatenate([easy + 0.05, hard + np.nan]))
    assert np.nanmean(b.mse) < a.mse.mean()
    rows = compared({"a": a, "b": b, "none": make_metrics(np.full(5000, np.nan))},
                    draw_samples(0, 5000))
    for criterion in ("MSE", "DepthCorr (trace)", "NME", "depth correlation"):
        assert rows[criterion, "a", "b"]["better"] == "a"
        assert rows[criterion, "a", "b"]["p Holm"] == 2 / 1024
        empty = rows[criterion, "a", "none"]
        assert empty["better"] is empty["p exact"] is empty["p Holm"] is None
        assert empty["p of 20 values"] is None
