"""Jackknife, bootstrap and permutation test beside loops, simulations and known distributions."""

import jax
import numpy as np
import pytest
import scipy.linalg
from problems import euclidean, symmetric

from deepmds_jax import mds

N, K, JUDGES, SAMPLES = 10, 2, 12, 12
RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((N, K)).astype(np.float32)
TRUE = euclidean(POINTS)


def draw(count):
    """(count, JUDGES, N, N) noisy distances: one matrix per judge."""
    noise = symmetric(0.4 * RNG.standard_normal((count, JUDGES, N, N)))
    return np.abs(TRUE + noise).astype(np.float32)


DATA = draw(SAMPLES)


def mean(data):
    return data.mean(axis=0)


def rotate_onto(points, reference):
    """Rigidly, reflections allowed; and the configurations' common mean."""
    centred, target = (x - x.mean(axis=0) for x in (points, reference))
    u, _, vt = scipy.linalg.svd(centred.T @ target)
    return centred @ u @ vt + reference.mean(axis=0)


def test_jackknife_is_the_loop():
    given = mean(DATA[0])
    result = jax.device_get(mds.jackknife(given, K, transform="ratio"))
    full = result.embedding
    others = [np.delete(np.arange(N), i) for i in range(N)]
    parts = mds.smacof(np.stack([given[np.ix_(some, some)] for some in others]), K,
                       transform="ratio", init=np.stack([full[some] for some in others]))
    replicates = np.full((N, N, K), np.nan)
    for i, part in enumerate(np.array(parts.embedding)):
        replicates[i, others[i]] = rotate_onto(part, full[others[i]])
    np.testing.assert_allclose(result.replicates, replicates, atol=2e-4)
    for i in range(N):
        values = np.delete(replicates[:, i], i, axis=0)
        expected = (N - 2) ** 2 / (N - 1) * np.cov(values.T)
        np.testing.assert_allclose(result.covariances[i], expected, rtol=0.05, atol=1e-5)
    assert 0.99 < result.stability < 1 and (result.status == mds.Status.CONVERGED).all()
    for unit in (1e-22, 1e22):  # whose squares are out of range
        stability = mds.jackknife(np.float32(unit * given), K, transform="ratio").stability
        np.testing.assert_allclose(stability, result.stability, atol=1e-4)


def test_jackknife_of_the_largest_numbers():
    one = mds.jackknife(TRUE.astype(np.float32), K, transform="ratio")
    unit = np.float32(2.0**127 / TRUE.max())
    large = mds.jackknife(TRUE.astype(np.float32) * unit, K, transform="ratio")
    np.testing.assert_allclose(large.stability, one.stability, rtol=1e-5)
    assert np.isinf(large.covariances).any() and not np.isnan(large.covariances).any()


def test_bootstrap_knows_how_far_points_move():
    """Its covariances are those of new samples, and its regions contain the true points."""
    results = jax.device_get([
        mds.bootstrap(data, mean, jax.random.key(i), K, num_replicates=120, transform="ratio")
        for i, data in enumerate(DATA)])
    found = np.mean([r.covariances for r in results], axis=0)
    new = mds.smacof(draw(60).mean(axis=1), K, transform="ratio")
    moved = np.stack([rotate_onto(x, POINTS) for x in np.array(new.embedding)])
    true = np.stack([np.cov(moved[:, i].T) for i in range(N)])
    sizes = [np.trace(x, axis1=1, axis2=2) for x in (found, true)]
    np.testing.assert_allclose(np.mean(sizes[0]), np.mean(sizes[1]), rtol=0.2)
    inside = []
    for r in results:
        errors = r.embedding - rotate_onto(POINTS, r.embedding)
        squares = np.einsum("ni,nij,nj->n", errors, np.linalg.inv(r.covariances), errors)
        inside.append(squares < 5.991)  # 95 % of chi-square with two degrees of freedom
    assert 0.85 < np.mean(inside) <= 1


def test_permutations_leave_no_structure():
    options = {"num_permutations": 60, "transform": "ratio"}
    given = mean(DATA[0])
    result = jax.device_get(mds.permutation_test(given, jax.random.key(0), K, **options))
    assert result.p_value == np.float32(1 / 61) and result.permuted.shape == (60,)
    assert result.permuted.min() > 2 * result.stress
    noise = symmetric(RNG.uniform(1, 2, (16, N, N))).astype(np.float32)
    values = [float(mds.permutation_test(d, jax.random.key(i), K, **options).p_value)
              for i, d in enumerate(noise)]
    assert 0.3 < np.mean(values) < 0.7 and np.ptp(values) > 0.5


def test_perfect_fits_are_no_evidence_and_failed_ones_neither():
    perfect = mds.permutation_test(TRUE[:4, :4], jax.random.key(0), 3, transform="interval",
                                   num_permutations=19)
    assert np.max(perfect.permuted) < 1e-5 and perfect.p_value == 1
    # Points in a row, of which only the distances between neighbours are known: it is too long.
    steps = np.abs(np.arange(N)[:, None] - np.arange(N))
    large = np.where(steps > 1, np.nan, 3e38 * steps).astype(np.float32)
    options = {"num_permutations": 60, "transform": "ratio"}  # as above: one program
    failed = mds.permutation_test(large, jax.random.key(0), K, **options)
    assert np.isnan(failed.stress) and np.isnan(failed.p_value)
    largest = np.float32(3e38 / TRUE.max()) * TRUE.astype(np.float32)
    found = mds.permutation_test(largest, jax.random.key(0), K, **options)
    assert np.isfinite(found.permuted).all() and found.p_value == np.float32(1 / 61)


def test_missing_pairs_stay_missing():
    """With one size for all known pairs, every permutation is the same problem.

    Its minima lie close together, and rounding chooses among them.
    """
    given = symmetric(np.ones((N, N), np.float32))
    weights = symmetric(RNG.uniform(0.5, 2, (N, N))).astype(np.float32)
    given[1, 5:] = np.nan
    weights[2, 3] = weights[3, 2] = 0
    given[2, 3] = given[3, 2] = 100
    result = mds.permutation_test(given, jax.random.key(0), K, weights=weights,
                                  num_permutations=5, transform="ratio")
    np.testing.assert_allclose(result.permuted, result.stress, rtol=0.05)
    replicated = mds.jackknife(given, K, weights=weights, transform="ratio")
    assert np.isfinite(replicated.covariances).all()


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"dissimilarities: expected one problem, \(n, n\), got"):
        mds.jackknife(DATA[0], K)
    with pytest.raises(ValueError, match="num_dims: expected 1 to 1 for 3 points"):
        mds.jackknife(TRUE[:3, :3], K)
    for given in (mean(DATA[0]), TRUE[:3, :3]):  # before it solves anything
        with pytest.raises(ValueError, match="progress: expected none, for jackknife gives"):
            mds.jackknife(given, K, progress=True)
    with pytest.raises(ValueError, match="num_replicates: expected an integer >= 2, got 1"):
        mds.bootstrap(DATA[0], mean, jax.random.key(0), K, num_replicates=1)
    with pytest.raises(ValueError, match=r"data: expected \(m, ...\) with m at least 2"):
        mds.bootstrap(DATA[0][:1], mean, jax.random.key(0), K)
    with pytest.raises(ValueError, match="num_permutations: expected an integer >= 1, got 0"):
        mds.permutation_test(TRUE, jax.random.key(0), K, num_permutations=0)
