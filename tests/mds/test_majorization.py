from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from problems import TRANSFORMS as ALL_TRANSFORMS
from problems import (
    Four,
    assert_same,
    euclidean,
    noisy_distances,
    plain_smacof,
    symmetric,
    tied_distances,
)

from deepmds_jax import mds
from deepmds_jax.mds import majorization, solver

TRANSFORMS = pytest.mark.parametrize("transform", ["ordinal", "ratio"])
EVERY_TRANSFORM = pytest.mark.parametrize("name", ALL_TRANSFORMS)
@EVERY_TRANSFORM
@pytest.mark.parametrize("acceleration", ["anderson", "none"])
def test_stress_never_rises(acceleration, name, x64):
    classical = np.asarray(mds.classical(Four.dissimilarities, 2))
    for init in (Four.random, classical):
        stress = Four.trace(40, init=init, acceleration=acceleration, **ALL_TRANSFORMS[name])
        assert (np.diff(stress, axis=0) <= 1e-14).all()
        assert (stress[-1] < 0.999 * stress[0]).all()


def test_none_is_the_textbooks_loop(x64):
    result = Four.fit(transform="ratio", acceleration="none", max_iters=5, tolerance=0.0)
    for i in range(4):
        d, w = Four.dissimilarities[i], Four.weights[i]
        points = plain_smacof(d, w, Four.random[i], 5)
        # The textbook's size wavers by the slope: compare the shapes, in its orientation.
        expected, found = (x / np.linalg.norm(x) for x in (points, result.embedding[i]))
        # V^+ is that of conjugate gradients where the weights differ.
        np.testing.assert_allclose(found, expected, atol=1e-13 if i < 2 else 1e-4)


@EVERY_TRANSFORM
def test_acceleration_reaches_the_same_minimum_sooner(name, x64):
    d = np.stack([noisy_distances(seed, 10, 2, noise=0.1) for seed in range(4)])
    init = np.asarray(mds.classical(d, 2))
    plain, accelerated = (
        Four.fit(d, np.ones_like(d), init, acceleration=a, tolerance=1e-6, **ALL_TRANSFORMS[name])
        for a in ("none", "anderson")
    )
    assert plain.converged.all() and accelerated.converged.all()
    np.testing.assert_allclose(accelerated.stress, plain.stress, rtol=1e-6)
    assert 2 * accelerated.num_iters.sum() < plain.num_iters.sum()


@pytest.mark.parametrize("acceleration", ["anderson", "none"])
def test_negative_disparities(acceleration, x64):
    """Close pairs with too large dissimilarities: the best line is negative at the smallest."""
    rng = np.random.default_rng(0)
    points = np.repeat(3 * rng.standard_normal((4, 5, 2)), 2, axis=1)
    points += 0.02 * rng.standard_normal(points.shape)
    dissimilarities = np.stack([euclidean(x) ** 0.5 for x in points])
    weights = np.ones_like(dissimilarities)
    for init in (points, Four.random):
        solve = partial(Four.fit, dissimilarities, weights, init, transform="interval",
                        acceleration=acceleration)
        stress = np.array([solve(max_iters=i, tolerance=0.0).stress for i in range(40)])
        # A pair that closes up has no exact majorizer: its pull grows without bound.
        assert (np.diff(stress, axis=0) <= 1e-6).all()
        result = solve(max_iters=300)
        assert (result.disparities.min(axis=(1, 2)) < 0).any()
        for values in (result.embedding, result.stress, result.disparities):
            assert np.isfinite(values).all()


def stress_of_three(dissimilarities, weights, line, **options):
    """() stress-1 of three points on a line, where no iteration, and nothing to speed it up, is."""
    return mds.smacof(dissimilarities, 1, weights=weights, init=np.reshape(line, (3, 1)),
                      max_iters=0, acceleration="none", **options).stress


@pytest.mark.parametrize(
    ("name", "dissimilarities", "square"),
    [
        # Distances 1 (twice), 3, 2; sum of squares 15; slope 7/4, residuals 3/4, 3/4, 5/4, 1/4.
        ("ratio", [1, 1, 1], 2.75 / 15),
        # Slope 7/11 through the mean 7/4 of both: 11/4 - (7/4)^2 / (11/4) = 18/11 is left.
        ("interval", [1, 2, 3], 18 / 11 / 15),
        # In order 3, 1, 1, 2: the first three are pooled to 5/3.
        ("primary", [2, 1, 3], 24 / 9 / 15),
        # 1, 1, 3 are tied, with mean 5/3; then 2.
        ("secondary", [1, 1, 3], 24 / 9 / 15),
    ],
)
def test_weight_two_is_a_pair_counted_twice(name, dissimilarities, square, x64):
    matrices = np.zeros((2, 3, 3))
    matrices[:, *np.triu_indices(3, 1)] = dissimilarities, [2, 1, 1]
    result = stress_of_three(symmetric(matrices[0]), symmetric(matrices[1]), [0, 1, 3],
                             **ALL_TRANSFORMS[name])
    np.testing.assert_allclose(result, square**0.5, rtol=1e-12)


@EVERY_TRANSFORM
def test_equal_weights_are_none(name, x64):
    options = {"acceleration": "none"} | ALL_TRANSFORMS[name]  # the least to compile
    weighted = partial(Four.fit, weights=np.full((10, 10), 7.0), **options)
    without = partial(mds.smacof, Four.dissimilarities, 2, init=Four.random, **options)
    np.testing.assert_allclose(weighted().stress, without().stress, rtol=1e-6)
    first = [solve(max_iters=5).embedding for solve in (weighted, without)]
    np.testing.assert_allclose(*first, atol=1e-9)


@EVERY_TRANSFORM
def test_weight_zero_is_a_missing_dissimilarity(name, x64):
    missing = np.where(Four.weights == 0, np.nan, Four.dissimilarities)
    weights = np.where(Four.weights == 0, 1, Four.weights)  # the weight of a NaN does not matter
    by_weight, by_nan = (
        Four.fit(*arguments, **ALL_TRANSFORMS[name])
        for arguments in ((Four.dissimilarities, Four.weights), (missing, weights))
    )
    for one, other in zip(by_weight, by_nan, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_a_batch_in_common(x64):
    common = Four.fit(weights=Four.weights[3], transform="ratio")
    repeated = Four.fit(weights=np.stack(4 * [Four.weights[3]]), transform="ratio")
    np.testing.assert_array_equal(common.embedding, repeated.embedding)


@jax.jit
@jax.vmap
def slope(embedding, disparities, weights):
    """() norm of the gradient of stress-1 at a configuration of norm 1; optimal disparities."""
    scale = jnp.linalg.norm(embedding)
    gradient = jax.grad(lambda x: mds.stress(disparities / scale, mds.distances(x), weights))
    return jnp.linalg.norm(gradient(embedding / scale))


@EVERY_TRANSFORM
def test_weighted_stress_is_stationary(name, x64):
    result = Four.fit(tolerance=1e-8, **ALL_TRANSFORMS[name])
    assert result.converged.all()

    assert (slope(result.embedding, result.disparities, Four.weights) < 1e-7).all()
    assert (slope(result.embedding, result.disparities, np.ones((4, 10, 10)))[2:] > 1e-3).all()


@jax.jit
def solve_eight(dissimilarities, weights, tolerance):
    """Eight problems of 10 points inside jit."""
    return mds.smacof(dissimilarities, 2, transform="ratio", weights=weights, tolerance=tolerance)


def test_recovers_distances_through_missing_and_corrupted_pairs(x64):
    rng = np.random.default_rng(6)
    perfect = np.stack([euclidean(rng.standard_normal((10, 2))) for _ in range(8)])
    given, weights = perfect.copy(), np.ones_like(perfect)
    pairs = np.stack(np.triu_indices(10, 1), axis=1)
    for problem in range(6):
        i, j = rng.permutation(pairs)[:9].T  # 20 %
        given[problem, i, j] = given[problem, j, i] = np.nan
    given[6:, 2, 5] = given[6:, 5, 2] = 100
    weights[6:, 2, 5] = weights[6:, 5, 2] = 0
    result = solve_eight(given, weights, 1e-10)
    assert result.converged.all()
    np.testing.assert_allclose(euclidean(np.asarray(result.embedding)), perfect, atol=1e-9)


def test_bad_values_inside_jit_leave_the_others_alone(x64):
    d = np.stack(8 * [noisy_distances(0, 10)])
    w = np.ones_like(d)
    d[1, :4, 4:] = d[1, 4:, :4] = np.nan
    w[2, :4, 4:] = w[2, 4:, :4] = 0
    d[3, 0, 1] = d[3, 1, 0] = -0.1
    d[4, 0, 1] += 1
    d[5] = 0
    w[6, 0, 1] = 2
    d[7, 3, 4] = d[7, 4, 3] = np.inf
    result = jax.tree.map(np.asarray, solve_eight(d, w, 2e-4))
    status = mds.Status
    assert result.status.tolist() == [
        status.CONVERGED, *2 * [status.DISCONNECTED], *4 * [status.INVALID], status.NON_FINITE
    ]
    for values in result[:3]:
        assert np.isfinite(values[0]).all() and np.isnan(values[1:]).all()
    d[1:], w[1:] = d[0], w[0]
    alone = solve_eight(d, w, 2e-4)
    np.testing.assert_array_equal(np.asarray(alone.embedding)[0], result.embedding[0])


@pytest.mark.parametrize("transform", ["ratio", "ordinal"])
def test_the_best_start_is_kept(transform, x64):
    problem, key = noisy_distances(3, 10), jax.random.key(3)
    batch = np.stack([noisy_distances(0, 10), problem])
    options = {"transform": transform, "acceleration": "none"}  # the least to compile

    def solve(given, key):
        found = mds.smacof(given, 2, key=key, num_starts=4, **options)
        return jax.tree.map(np.asarray, found)

    best = solve(problem, key)
    starts = jax.random.normal(key, (4, 10, 2), float)
    each = Four.fit(np.stack(4 * [problem]), np.ones((10, 10)), starts, **options)
    assert each.stress.max() > 1.01 * each.stress.min()  # or any choice would do
    np.testing.assert_allclose(best.stress, each.stress.min(), rtol=1e-6)
    np.testing.assert_allclose(best.num_iters, each.num_iters[each.stress.argmin()], atol=1)
    together = solve(batch, key)
    for one, many in zip(best, together, strict=True):
        np.testing.assert_array_equal(one, many[1])
    other = solve(batch, jax.random.key(4))
    assert not np.array_equal(other.embedding, together.embedding)


@TRANSFORMS
def test_progress_changes_nothing(transform, x64, capsys):
    problem = noisy_distances(0)
    silent = mds.smacof(problem, 2, transform=transform)
    assert not capsys.readouterr().err
    shown = mds.smacof(problem, 2, transform=transform, progress=True)
    assert f"stress={silent.stress:.6f}" in capsys.readouterr().err
    assert shown.num_iters == silent.num_iters > 10
    assert shown.status == silent.status
    for one, other in zip(shown[:3], silent[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@TRANSFORMS
def test_convergence_means_a_small_gradient(transform, x64):
    problems = np.stack([noisy_distances(seed, 10) for seed in range(4)])
    for tolerance in (1e-3, 1e-5):
        result = Four.fit(problems, np.ones_like(problems), transform=transform,
                          tolerance=tolerance)
        assert result.converged.all()
        slopes = slope(result.embedding, result.disparities, np.ones_like(problems))
        assert ((tolerance / 10 < slopes) & (slopes < tolerance)).all()


@partial(jax.jit, static_argnums=1)
@partial(jax.vmap, in_axes=(0, None))
def solve_six(dissimilarities, transform):
    """Six problems of 12 points inside jit."""
    return mds.smacof(dissimilarities, 2, transform=transform, max_iters=300)


@TRANSFORMS
def test_alone_or_in_a_batch(transform):
    perfect = euclidean(np.random.default_rng(5).standard_normal((12, 2)))
    infinite = noisy_distances(3)
    infinite[2, 5] = infinite[5, 2] = np.inf
    problems = [perfect, noisy_distances(0), infinite, noisy_distances(1, noise=1)]
    problems += [tied_distances(2), np.full((12, 12), np.inf)]
    batch = np.stack(problems).astype(np.float32)
    solve = partial(mds.smacof, num_dims=2, transform=transform, max_iters=300)
    alone = [solve(problem) for problem in batch]
    for result in (solve(batch), solve_six(batch, transform)):
        together = jax.tree.map(np.asarray, result)
        for i in range(len(batch)):
            assert_same(alone[i], jax.tree.map(lambda x, i=i: x[i], together))
    status = list(together.status)
    assert status[2] == status[5] == mds.Status.NON_FINITE
    assert mds.Status.NON_FINITE not in status[:2] + status[3:5]
    for values in (together.embedding, together.stress, together.disparities):
        assert np.isnan(values[2]).all() and np.isnan(values[5]).all()
        assert np.isfinite(values[:2]).all() and np.isfinite(values[3:5]).all()
    assert len(set(together.num_iters.tolist())) >= 3  # each stopped on its own


def test_leading_axes():
    problems = np.stack([noisy_distances(seed) for seed in range(6)]).reshape(3, 2, 12, 12)
    result = mds.smacof(problems, 2, transform="ratio")
    assert result.embedding.shape == (3, 2, 12, 2)
    assert result.disparities.shape == (3, 2, 12, 12)
    assert result.stress.shape == result.num_iters.shape == result.status.shape == (3, 2)
    assert result.num_iters.dtype == result.status.dtype == np.int32
    alone = mds.smacof(problems[1, 0], 2, transform="ratio")
    np.testing.assert_array_equal(np.asarray(result.embedding)[1, 0], alone.embedding)


@TRANSFORMS
def test_relabelling_relabels_the_answer(transform, x64):
    dissimilarities = noisy_distances(0)
    order = np.random.default_rng(1).permutation(12)
    result = mds.smacof(dissimilarities, 2, transform=transform, tolerance=1e-6)
    moved = mds.smacof(dissimilarities[order][:, order], 2, transform=transform, tolerance=1e-6)
    np.testing.assert_allclose(moved.stress, result.stress, rtol=1e-9)
    np.testing.assert_allclose(
        euclidean(np.asarray(moved.embedding)),
        euclidean(np.asarray(result.embedding))[order][:, order],
        atol=1e-4,
    )


@TRANSFORMS
def test_rigid_motion_of_the_start_moves_the_answer(transform, x64):
    dissimilarities = np.stack([noisy_distances(seed, 10) for seed in range(4)])
    mirror = np.array([[0.6, 0.8], [0.8, -0.6]])
    result, moved = (
        Four.fit(dissimilarities, np.ones((10, 10)), init, transform=transform)
        for init in (Four.random, 3 * Four.random @ mirror + [5, -7])
    )
    np.testing.assert_array_equal(moved.num_iters, result.num_iters)
    expected = np.asarray(result.embedding) @ mirror
    np.testing.assert_allclose(moved.embedding, expected, atol=1e-9)


def test_unit_of_the_dissimilarities(x64):
    dissimilarities = noisy_distances(0)
    ratio = mds.smacof(dissimilarities, 2, transform="ratio")
    scaled = mds.smacof(1000 * dissimilarities, 2, transform="ratio")
    np.testing.assert_allclose(scaled.embedding, 1000 * np.asarray(ratio.embedding), rtol=1e-9)
    # Any increasing function of the dissimilarities has the same ordinal solution.
    ordinal, curved = Four.fit(), Four.fit(np.exp(Four.dissimilarities))
    np.testing.assert_array_equal(curved.embedding, ordinal.embedding)


def test_scale_of_the_embedding(x64):
    dissimilarities = noisy_distances(0)
    ordinal = mds.smacof(dissimilarities, 2)
    ratio = mds.smacof(dissimilarities, 2, transform="ratio")
    pairs = np.triu_indices(12, 1)
    of_ordinal, of_ratio = (euclidean(np.asarray(x.embedding)) for x in (ordinal, ratio))
    np.testing.assert_allclose(np.mean(of_ordinal[pairs] ** 2), 1)
    raw = [
        np.sum((dissimilarities - scale * of_ratio) ** 2) for scale in (0.999, 1, 1.001)
    ]
    assert raw[1] < min(raw[0], raw[2])
    for result in (ordinal, ratio):
        np.testing.assert_allclose(np.mean(result.embedding, axis=0), 0, atol=1e-14)


def test_ties_may_be_broken(x64):
    """Points 0, 1, 3 on a line: the pairs (0, 1), (0, 2), (1, 2) are 1, 3, 2 apart."""
    stress = partial(stress_of_three, weights=np.ones((3, 3)), line=[0, 1, 3])
    # (0, 1) and (1, 2) are tied: 1, 2, 3 is in order, whichever of the two is listed first.
    np.testing.assert_allclose(stress([[0, 1, 2], [1, 0, 1], [2, 1, 0]]), 0, atol=1e-15)
    # (0, 1) and (0, 2) are tied: 1, 3, 2 is fitted by 1, 2.5, 2.5.
    untied = stress([[0, 1, 1], [1, 0, 2], [1, 2, 0]])
    np.testing.assert_allclose(untied, (2 * 0.5**2 / (1 + 9 + 4)) ** 0.5)


def test_ratio_by_hand():
    triangle = [[0, 3, 4], [3, 0, 5], [4, 5, 0]]
    result = mds.smacof(triangle, 2, transform="ratio")
    assert result.embedding.dtype == np.float32
    np.testing.assert_allclose(euclidean(np.asarray(result.embedding)), triangle, atol=1e-5)
    # Points 0, 1, 2 on a line, all dissimilarities 1: slope 4/3, residuals 1/3, 1/3, -2/3.
    with jax.enable_x64(True):
        line = stress_of_three(1 - np.eye(3), np.ones((3, 3)), [0, 1, 2], transform="ratio")
    np.testing.assert_allclose(line, (6 / 9 / 6) ** 0.5, rtol=1e-6)


def test_all_zero_inside_jit():
    result = solve_six(np.zeros((6, 12, 12), np.float32), "ordinal")
    assert (result.status == mds.Status.INVALID).all()
    assert np.isnan(result.embedding).all()
    assert not result.converged.any()


def test_no_retrace_for_equal_shapes(monkeypatch):
    chex.clear_trace_counter()
    once = chex.assert_max_traces(majorization._smacof.__wrapped__, n=1)
    program = jax.jit(once, static_argnames="options")
    monkeypatch.setattr(majorization, "_smacof_on_cpu", lambda: program)
    # What has the least to compile.
    solve = partial(mds.smacof, num_dims=2, transform="interval", acceleration="none")
    first = solve(noisy_distances(0))
    second = solve(noisy_distances(1), max_iters=3, tolerance=1e-6)
    assert second.num_iters == 3 < first.num_iters


@pytest.mark.parametrize("name", ["tolerance", "max_iters"])
def test_limits_that_are_traced_for_a_batch_that_is_not(name):
    problems = np.stack([noisy_distances(seed) for seed in range(6)]).astype(np.float32)
    limit = {"tolerance": 1e-3, "max_iters": 9}[name]
    solve = partial(mds.smacof, problems, 2, transform="ratio")
    found = jax.jit(lambda limit: solve(**{name: limit}))(limit)
    assert_same(found, solve(**{name: limit}))


BAD_INPUT = {
    "vector": ({"dissimilarities": np.ones(3)}, r"dissimilarities: .*\(3,\)"),
    "not square": ({"dissimilarities": np.ones((3, 4))}, r"dissimilarities: .*\(3, 4\)"),
    "many dimensions": ({"num_dims": 12}, "num_dims: expected 1 to 11 for 12 points, got 12"),
    "no dimensions": ({"num_dims": 0}, "num_dims: .* got 0"),
    "transform": ({"transform": "cubic"}, "transform: .*ratio.*ordinal.* got 'cubic'"),
    "init": ({"init": np.ones((12, 3))}, r"init: expected shape \(12, 2\), got \(12, 3\)"),
    "ties": ({"ties": "none"}, "ties: .*primary.*secondary.* got 'none'"),
    "acceleration": ({"acceleration": "aitken"}, "acceleration: .*anderson.* got 'aitken'"),
    "start": ({"init": np.ones((12, 2)), "key": jax.random.key(0)}, "key: .*init, got both"),
    "starts": ({"num_starts": 2}, "key: expected one for 2 random starts, got none"),
    "no starts": ({"num_starts": 0, "key": jax.random.key(0)}, "num_starts: .* got 0"),
    "steps": ({"max_iters": -1}, "max_iters: .* got -1"),
    "tolerance": ({"tolerance": -1.0}, "tolerance: .* got -1"),
    "weights": ({"weights": np.ones((3, 3))}, r"weights: expected shape \(12, 12\).* \(3, 3\)"),
    "progress of a batch": (
        {"dissimilarities": np.ones((2, 12, 12)), "progress": True},
        "progress: expected one problem",
    ),
    "progress of starts": (
        {"key": jax.random.key(0), "num_starts": 2, "progress": True},
        "progress: expected one problem and one start",
    ),
    "negative": ({"dissimilarities": np.eye(12) - 1}, "dissimilarities: expected none < 0, got -1"),
    "asymmetric": ({"dissimilarities": np.triu(np.ones((12, 12)))}, "expected symmetric, .* 1"),
    "zero": ({"dissimilarities": np.zeros((12, 12))}, "dissimilarities: expected some > 0"),
    "disconnected": ({"dissimilarities": np.where(np.kron(np.eye(2), np.ones((6, 6))), 1, np.nan)},
                     "dissimilarities: .* to connect all points, got 6 of 12 without"),
    "disconnected by weights": ({"weights": np.kron(np.eye(2), np.ones((6, 6)))},
                                "dissimilarities: .* to connect all points, got 6 of 12 without"),
    "negative weight": ({"weights": np.eye(12) - 1}, "weights: expected none < 0, got -1"),
    "asymmetric weights": ({"weights": np.triu(np.ones((12, 12))) + 1},
                           "weights: expected symmetric"),
    "infinite weights": ({"weights": np.full((12, 12), np.inf)}, "weights: expected finite"),
}
VALUES = [*BAD_INPUT][[*BAD_INPUT].index("negative"):]  # unknown while tracing


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(name):
    change, message = BAD_INPUT[name]
    usual = {"dissimilarities": noisy_distances(0), "num_dims": 2, "transform": "ratio"}
    arguments = usual | change
    with pytest.raises(ValueError, match=message):
        mds.smacof(**arguments)
    if name not in VALUES:
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


@TRANSFORMS
def test_as_accelerators_run_it(transform, x64):
    """There the batch is one vmap: problems that have stopped wait unchanged for the others."""
    problems = np.stack([noisy_distances(0), np.full((12, 12), np.inf), tied_distances(1)])
    options = solver.Options(2, transform, "primary", "anderson", on_cpu=False)
    solve = partial(solver._minimize, options)
    waiting = jax.jit(jax.vmap(solve, in_axes=(0, None, None, None, None)))(
        problems, None, None, 3000, 1e-4)
    alone = [mds.smacof(d, 2, transform=transform, tolerance=1e-4) for d in problems]
    expected = jax.tree.map(lambda *x: np.stack(x), *alone)
    np.testing.assert_array_equal(waiting.status, expected.status)
    np.testing.assert_array_equal(waiting.num_iters, expected.num_iters)
    # Sums have another order there, and iterations that stop at 1e-4 keep the difference.
    np.testing.assert_allclose(waiting.embedding, expected.embedding, atol=1e-7)


@pytest.mark.every_platform
@TRANSFORMS
def test_no_problems_at_all_as_any_device_traces_them(transform):
    solve = partial(mds.smacof, num_dims=2, transform=transform)
    found = jax.eval_shape(solve, jax.ShapeDtypeStruct((0, 5, 5), jnp.float32))
    assert found.embedding.shape == (0, 5, 2) and found.stress.shape == (0,)


@pytest.mark.every_platform
def test_outside_jit_only_the_device_at_hand_is_traced(monkeypatch):
    """What others would run takes several times as long to trace."""
    traced = []
    minimize = solver._minimize

    def note(options, *problem):
        traced.append(options.on_cpu)
        return minimize(options, *problem)

    monkeypatch.setattr(solver, "_minimize", note)
    problems = np.stack([noisy_distances(seed, 6) for seed in range(2)])
    # Which devices are traced depends on no option: these have the least to trace.
    solve = partial(mds.smacof, num_dims=2, transform="interval", acceleration="none")
    solve(problems)
    assert set(traced) == {jax.default_backend() == "cpu"}
    jax.eval_shape(solve, problems)
    assert set(traced) == {True, False}


SMACOF = jax.jit(mds.smacof, static_argnames="transform")  # one trace for all platforms


@pytest.mark.every_platform
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize(("transform", "n"), [("ordinal", 5), ("ratio", 513)])
def test_exports_without_custom_calls(platform, transform, n):
    """No LAPACK or cuSOLVER inside: every operation exists wherever StableHLO does."""
    argument = jax.ShapeDtypeStruct((2, n, n), jnp.float32)
    module = export.export(SMACOF, platforms=[platform])(
        argument, transform=transform).mlir_module()
    assert "stablehlo.while" in module
    assert "stablehlo.custom_call" not in module
