from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from deepmds_jax import mds
from deepmds_jax.mds.smacof import _smacof
from deepmds_jax.mds import solver

TRANSFORMS = pytest.mark.parametrize("transform", ["ordinal", "ratio"])


def noisy_distances(seed, n=12, num_dims=3, noise=0.3):
    """Distances of random points, each multiplied by a random factor near 1."""
    rng = np.random.default_rng(seed)
    distances = np.asarray(mds.distances(rng.standard_normal((n, num_dims))))
    factor = np.triu(np.exp(noise * rng.standard_normal((n, n))), 1)
    return distances * (factor + factor.T)


def tied_distances(seed, n=12):
    return np.ceil(2 * noisy_distances(seed, n))


@pytest.mark.parametrize(
    ("num_dims", "dtype"), [(2, "float64"), (3, "float32")], indirect=["dtype"]
)
@TRANSFORMS
def test_reaches_the_oracles_optimum(oracle, transform, num_dims, dtype):
    dissimilarities = oracle.dissimilarities.astype(dtype)
    result = mds.smacof(dissimilarities, num_dims, transform=transform)
    assert result.embedding.dtype == result.stress.dtype == result.disparities.dtype == dtype
    assert result.status == mds.Status.CONVERGED
    # Where the optimum is zero, what is left is the rounding of the dtype, or that of the file.
    rounding = 8 * np.finfo(dtype).eps + 1e-9
    assert result.stress <= oracle.optimum(num_dims, transform) * (1 + 2e-5) + rounding
    assert result.stress >= oracle.optimum(num_dims, transform) * (1 - 2e-5) - rounding
    again = mds.stress(result.disparities, mds.distances(result.embedding))
    np.testing.assert_allclose(again, result.stress, rtol=1e-4, atol=rounding)


@TRANSFORMS
def test_stress_of_the_oracles_start(transform, load_oracle, x64):
    oracle = load_oracle("eurodist")  # has ties
    start = mds.smacof(
        oracle.dissimilarities, 2, transform=transform, init=oracle.start(2), max_iters=0
    )
    assert start.num_iters == 0
    assert start.status == mds.Status.STEP_LIMIT
    np.testing.assert_allclose(start.stress, oracle.start_stress(2, transform), rtol=1e-8)


@TRANSFORMS
def test_stress_never_rises(transform, x64):
    problems = np.stack([noisy_distances(0), noisy_distances(1, noise=1), tied_distances(2)])
    init = np.random.default_rng(0).standard_normal((3, 12, 2))
    stress = np.array(
        [
            mds.smacof(problems, 2, transform=transform, init=init, max_iters=i).stress
            for i in range(40)
        ]
    )
    assert (np.diff(stress, axis=0) <= 1e-14).all()
    assert (stress[-1] < 0.9 * stress[0]).all()


@TRANSFORMS
def test_convergence_means_a_small_gradient(transform, x64):
    problems = np.stack([noisy_distances(seed) for seed in range(4)])
    for tolerance in (1e-3, 1e-5):
        result = mds.smacof(problems, 2, transform=transform, tolerance=tolerance)
        assert result.converged.all()
        for embedding, disparities in zip(result.embedding, result.disparities, strict=True):
            # The disparities are optimal: their change adds nothing to the gradient.
            unit = embedding / jnp.linalg.norm(embedding)
            scaled = disparities / jnp.linalg.norm(embedding)
            gradient = jax.grad(lambda x, d=scaled: mds.stress(d, mds.distances(x)))(unit)
            assert tolerance / 10 < jnp.linalg.norm(gradient) < tolerance


@TRANSFORMS
def test_alone_or_in_a_batch(transform):
    perfect = mds.distances(np.random.default_rng(5).standard_normal((12, 2)))
    infinite = noisy_distances(3)
    infinite[2, 5] = infinite[5, 2] = np.inf
    problems = [perfect, noisy_distances(0), infinite, noisy_distances(1, noise=1)]
    problems += [tied_distances(2), np.full((12, 12), np.inf)]
    batch = np.stack(problems).astype(np.float32)
    solve = partial(mds.smacof, num_dims=2, transform=transform, max_iters=300)
    for together in (solve(batch), jax.jit(jax.vmap(solve))(batch)):
        for i, problem in enumerate(batch):
            for one, many in zip(solve(problem), together, strict=True):
                np.testing.assert_array_equal(one, many[i])
    status = list(together.status)
    assert status[2] == status[5] == mds.Status.NON_FINITE
    assert mds.Status.NON_FINITE not in status[:2] + status[3:5]
    for values in (together.embedding, together.stress, together.disparities):
        assert np.isnan(values[2]).all() and np.isnan(values[5]).all()
        assert np.isfinite(values[:2]).all() and np.isfinite(values[3:5]).all()
    assert len(set(together.num_iters.tolist())) > 3  # each stopped on its own


def test_leading_axes():
    problems = np.stack([noisy_distances(seed) for seed in range(6)]).reshape(3, 2, 12, 12)
    result = mds.smacof(problems, 2, transform="ratio")
    assert result.embedding.shape == (3, 2, 12, 2)
    assert result.disparities.shape == (3, 2, 12, 12)
    assert result.stress.shape == result.num_iters.shape == result.status.shape == (3, 2)
    assert result.num_iters.dtype == result.status.dtype == np.int32
    alone = mds.smacof(problems[1, 0], 2, transform="ratio")
    np.testing.assert_array_equal(result.embedding[1, 0], alone.embedding)


@TRANSFORMS
def test_as_accelerators_run_it(transform, x64):
    """There the batch is one vmap: problems that have stopped wait for the others unchanged."""
    problems = np.stack([noisy_distances(0), np.full((12, 12), np.inf), tied_distances(1)])
    solve = partial(solver._minimize, solver.Options(2, transform, "primary", "anderson"))
    waiting = jax.jit(jax.vmap(solve, in_axes=(0, None, None, None, None)))(
        problems, None, None, 3000, 1e-4)
    expected = mds.smacof(problems, 2, transform=transform)
    np.testing.assert_array_equal(waiting.status, expected.status)
    np.testing.assert_array_equal(waiting.num_iters, expected.num_iters)
    np.testing.assert_allclose(waiting.embedding, expected.embedding, atol=1e-9)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_exports_without_custom_calls(platform):
    """No LAPACK or cuSOLVER inside: every operation exists wherever StableHLO does."""
    argument = jax.ShapeDtypeStruct((2, 5, 5), jnp.float32)
    module = export.export(jax.jit(mds.smacof), platforms=[platform])(argument).mlir_module()
    assert "stablehlo.while" in module
    assert "stablehlo.custom_call" not in module


@TRANSFORMS
def test_relabelling_relabels_the_answer(transform, x64):
    dissimilarities = noisy_distances(0)
    order = np.random.default_rng(1).permutation(12)
    result = mds.smacof(dissimilarities, 2, transform=transform, tolerance=1e-6)
    moved = mds.smacof(dissimilarities[order][:, order], 2, transform=transform, tolerance=1e-6)
    np.testing.assert_allclose(moved.stress, result.stress, rtol=1e-9)
    np.testing.assert_allclose(
        mds.distances(moved.embedding),
        mds.distances(result.embedding)[order][:, order],
        atol=1e-4,
    )


@TRANSFORMS
def test_rigid_motion_of_the_start_moves_the_answer(transform, x64):
    dissimilarities = noisy_distances(0)
    init = np.random.default_rng(1).standard_normal((12, 2))
    mirror = np.array([[0.6, 0.8], [0.8, -0.6]])
    solve = partial(mds.smacof, dissimilarities, 2, transform=transform)
    result, moved = solve(init=init), solve(init=3 * init @ mirror + [5, -7])
    assert moved.num_iters == result.num_iters
    np.testing.assert_allclose(moved.embedding, result.embedding @ mirror, atol=1e-9)


def test_unit_of_the_dissimilarities(x64):
    dissimilarities = noisy_distances(0)
    ratio = mds.smacof(dissimilarities, 2, transform="ratio")
    scaled = mds.smacof(1000 * dissimilarities, 2, transform="ratio")
    np.testing.assert_allclose(scaled.embedding, 1000 * ratio.embedding, rtol=1e-9)
    # Any increasing function of the dissimilarities has the same ordinal solution.
    init = np.random.default_rng(1).standard_normal((12, 2))
    ordinal = mds.smacof(dissimilarities, 2, init=init)
    curved = mds.smacof(np.exp(dissimilarities), 2, init=init)
    np.testing.assert_array_equal(curved.embedding, ordinal.embedding)


def test_scale_of_the_embedding(x64):
    dissimilarities = noisy_distances(0)
    ordinal = mds.smacof(dissimilarities, 2)
    ratio = mds.smacof(dissimilarities, 2, transform="ratio")
    pairs = np.triu_indices(12, 1)
    np.testing.assert_allclose(np.mean(mds.distances(ordinal.embedding)[pairs] ** 2), 1)
    raw = [
        mds.raw_stress(dissimilarities, scale * mds.distances(ratio.embedding))
        for scale in (0.999, 1, 1.001)
    ]
    assert raw[1] < min(raw[0], raw[2])
    for result in (ordinal, ratio):
        np.testing.assert_allclose(np.mean(result.embedding, axis=0), 0, atol=1e-14)


def test_ties_may_be_broken(x64):
    """Points 0, 1, 3 on a line: the pairs (0, 1), (0, 2), (1, 2) are 1, 3, 2 apart."""
    solve = partial(mds.smacof, num_dims=1, init=[[0.0], [1.0], [3.0]], max_iters=0)
    # (0, 1) and (1, 2) are tied: 1, 2, 3 is in order, whichever of the two is listed first.
    np.testing.assert_allclose(solve([[0, 1, 2], [1, 0, 1], [2, 1, 0]]).stress, 0, atol=1e-15)
    # (0, 1) and (0, 2) are tied: 1, 3, 2 is fitted by 1, 2.5, 2.5.
    untied = solve([[0, 1, 1], [1, 0, 2], [1, 2, 0]])
    np.testing.assert_allclose(untied.stress, (2 * 0.5**2 / (1 + 9 + 4)) ** 0.5)


def test_ratio_by_hand():
    triangle = [[0, 3, 4], [3, 0, 5], [4, 5, 0]]
    result = mds.smacof(triangle, 2, transform="ratio")
    assert result.embedding.dtype == np.float32
    np.testing.assert_allclose(mds.distances(result.embedding), triangle, atol=1e-5)
    # Points 0, 1, 2 on a line, all dissimilarities 1: slope 4/3, residuals 1/3, 1/3, -2/3.
    line = mds.smacof(1 - np.eye(3), 1, transform="ratio", init=[[0], [1], [2]], max_iters=0)
    np.testing.assert_allclose(line.stress, (6 / 9 / 6) ** 0.5, rtol=1e-6)


def test_all_zero_inside_jit():
    solve = jax.jit(lambda d: mds.smacof(d, 2))
    result = solve(np.zeros((4, 4)))
    assert result.status == mds.Status.INVALID
    assert np.isnan(result.embedding).all()
    assert not result.converged


def test_no_retrace_for_equal_shapes():
    mds.smacof(noisy_distances(0, n=7), 2)
    size = _smacof._cache_size()
    mds.smacof(noisy_distances(1, n=7), 2, max_iters=50, tolerance=1e-2)
    assert _smacof._cache_size() == size


BAD_INPUT = {
    "vector": ({"dissimilarities": np.ones(3)}, r"dissimilarities: .*\(3,\)"),
    "not square": ({"dissimilarities": np.ones((3, 4))}, r"dissimilarities: .*\(3, 4\)"),
    "many dimensions": ({"num_dims": 4}, "num_dims: expected 1 to 3 for 4 points, got 4"),
    "no dimensions": ({"num_dims": 0}, "num_dims: .* got 0"),
    "transform": ({"transform": "spline"}, "transform: .*ratio.*ordinal.* got 'spline'"),
    "init": ({"init": np.ones((4, 3))}, r"init: expected shape \(4, 2\), got \(4, 3\)"),
    "negative": ({"dissimilarities": np.eye(4) - 1}, "dissimilarities: expected none < 0, got -1"),
    "asymmetric": ({"dissimilarities": np.triu(np.ones((4, 4)))}, "expected symmetric, .* 1"),
    "zero": ({"dissimilarities": np.zeros((4, 4))}, "dissimilarities: expected some > 0"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(name):
    change, message = BAD_INPUT[name]
    arguments = {"dissimilarities": noisy_distances(0, n=4), "num_dims": 2} | change
    with pytest.raises(ValueError, match=message):
        mds.smacof(**arguments)
    if name not in ("negative", "asymmetric", "zero"):  # those are values, unknown while tracing
        matrix = arguments.pop("dissimilarities")
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(lambda d: mds.smacof(d, **arguments), matrix)


def test_asymmetry_of_rounding_is_averaged(x64):
    dissimilarities = noisy_distances(0)
    skewed = dissimilarities * (1 + 1e-6 * np.triu(np.ones((12, 12))))
    middle = mds.smacof((skewed + skewed.T) / 2, 2)
    np.testing.assert_array_equal(mds.smacof(skewed, 2).embedding, middle.embedding)


def test_the_diagonal_is_ignored(x64):
    dissimilarities = noisy_distances(0)
    filled = dissimilarities - 5 * np.eye(12)
    np.testing.assert_array_equal(
        mds.smacof(filled, 2).embedding, mds.smacof(dissimilarities, 2).embedding
    )
