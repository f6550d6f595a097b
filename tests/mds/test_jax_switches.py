"""JAX' own switches for careful programs change nothing here."""

import gc
from contextlib import ExitStack

import jax
import numpy as np
import pytest
from problems import noisy_distances

from deepmds_jax import mds

D = np.stack([noisy_distances(seed) for seed in range(2)]).astype(np.float32)
WEIGHTS = 1 + np.eye(12, dtype=np.float32)[::-1]  # symmetric, and zero nowhere


@pytest.fixture(autouse=True)
def switches():
    with ExitStack() as stack:
        for switch in (jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"),
                       jax.debug_nans(True)):
            stack.enter_context(switch)
        yield


@pytest.fixture
def no_leaks():
    """Traces all anew at every step: a derivative would take a minute.

    Each trace collects garbage, and looks for what still holds it. Older objects are not gone
    through: what a leak leaves behind is new.
    """
    gc.collect()
    gc.freeze()
    with jax.checking_leaks():
        yield
    gc.unfreeze()


@pytest.mark.every_platform
@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("transform", ["ratio", "interval", "ordinal"])
def test_smacof(transform):
    result = mds.smacof(D, 2, transform=transform, weights=WEIGHTS)
    assert result.converged.all()
    anchors, trust = np.asarray(result.embedding), np.ones((2, 12, 2), np.float32)
    assert np.isfinite(mds.smacof_anchored(D, anchors, trust).embedding).all()


@pytest.mark.every_platform
def test_derivatives():
    def total(d):
        # That of a solution does not depend on how it is reached; `test_smacof` accelerates.
        found = mds.smacof(d, 2, transform="ratio", acceleration="none", weights=WEIGHTS)
        return found.stress.sum()

    assert np.isfinite(jax.jit(jax.grad(total))(D)).all()


@pytest.mark.every_platform
@pytest.mark.usefixtures("no_leaks")
def test_the_rest():
    points = np.asarray(mds.classical(D, 2))
    distances = mds.distances(points)
    weights = np.stack([WEIGHTS, WEIGHTS])
    for measure in (mds.stress, mds.stress_2, mds.normalized_stress, mds.stress_per_point):
        assert np.isfinite(measure(D, distances, weights)).all()
    assert np.isfinite(mds.additive_constant(D)).all()
    assert np.isfinite(mds.place(points[0], D[0])).all()
    assert (np.diff(mds.isotonic_regression(D[0], weights[0])) >= 0).all()
    assert np.isfinite(mds.compare_configurations(points[0], points[1]).correlation)
    assert np.isfinite(mds.classical_detailed(D, 2).share).all()
    assert np.isfinite(mds.to_principal_axes(points)).all()
    assert np.isfinite(mds.fit_vectors(points, D).r_squared).all()
    for way in ("reverse", "gower", "gravity"):
        assert np.isfinite(mds.similarity_to_dissimilarity(9 - D + 99 * np.eye(12, dtype="f"), way)
                           ).all()
    few = {"transform": "ratio", "acceleration": "none", "max_iters": 9}  # the least to trace
    assert np.isfinite(mds.smacof_dims(D, (1, 2), **few).stress).all()
    rounds = {"key": jax.random.key(0), "starts_per_round": 2, "max_rounds": 2}
    assert np.isfinite(mds.smacof_until_repeated(D, 2, **rounds, **few).best.stress).all()


def problems(count, n):
    return np.stack([noisy_distances(seed, n) for seed in range(count)]).astype(np.float32)


def test_models():
    """In the shapes of the models' own tests, whose programs serve here too.

    Traced for a CPU: on others the same is traced, but for what `test_smacof` has.
    """
    assert mds.smacof(D, 2, transform="spline", weights=WEIGHTS).converged.all()
    assert mds.smacof_robust(problems(20, 20), 2).converged.all()
    subjects = problems(24, 12).reshape(4, 6, 12, 12)
    found = mds.individual_differences(subjects, 2, transform="spline", weights=WEIGHTS)
    assert np.isfinite(found.group).all()
    assert np.isfinite(mds.individual_differences(subjects, 2, model="idioscal").group).all()
    preferences, weights = problems(6, 30)[:, :20, 20:], np.full((20, 10), 2, np.float32)
    for transform in ("ratio", "interval", "ordinal"):
        result = mds.unfold(preferences, 2, transform=transform, weights=weights, max_iters=20)
        assert np.isfinite(result.rows).all()
    judges, key = problems(12, 10), jax.random.key(0)
    with jax.debug_nans(False):  # NaN stands for the point that a replicate lacks
        assert np.isfinite(mds.jackknife(judges[0], 2, transform="ratio").covariances).all()
    boot = mds.bootstrap(judges, lambda d: d.mean(axis=0), key, 2, num_replicates=60,
                         transform="ratio")
    assert np.isfinite(boot.covariances).all()
    test = mds.permutation_test(judges[0], key, 2, num_permutations=60, transform="ratio")
    assert test.p_value == np.float32(1 / 61)
