"""Scaling with anchors against a NumPy loss and a SciPy minimiser, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from problems import euclidean, symmetric
from scipy.spatial.transform import Rotation

from deepmds_jax import mds

N, K = 9, 3
EXACT = {"tolerance": 1e-12, "max_iters": 3000}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def problem(seed):
    """Distances, anchors, their weights and those of the distances, which agree only roughly.

    Some distances are missing, as NaN and as weight 0, and some coordinates have no anchor.
    """
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(N, K))
    distances = euclidean(points) * symmetric(np.exp(0.3 * rng.normal(size=(N, N))))
    weights = symmetric(rng.uniform(0.2, 3, (N, N)))
    distances[1, 4] = distances[4, 1] = np.nan
    weights[2, 7] = weights[7, 2] = 0
    anchors = points + 0.4 * rng.normal(size=(N, K))
    anchor_weights = rng.uniform(0.1, 4, (N, K)) * (rng.random((N, K)) < 0.7)
    return distances, anchors, anchor_weights, weights


def loss(points, distances, anchors, anchor_weights, weights):
    """The sum over known pairs, each once, and over coordinates."""
    pairs = np.triu(np.isfinite(distances) & (weights > 0), 1)
    apart = euclidean(points)[pairs]
    sum_of_pairs = np.sum(weights[pairs] * (distances[pairs] - apart) ** 2)
    return sum_of_pairs + np.sum(anchor_weights * (points - anchors) ** 2)


def solve(distances, anchors, anchor_weights, weights, **options):
    return mds.smacof_anchored(distances, anchors, anchor_weights, weights=weights, **options)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_minimum_is_that_of_bfgs(seed):
    given = problem(seed)
    found = solve(*given, **EXACT)
    assert found.status == mds.Status.CONVERGED

    def flat(x):
        return loss(x.reshape(N, K), *given)

    # From the solution, so that both are in the same valley, and from a little beside it.
    rng = np.random.default_rng(seed)
    start = np.asarray(found.embedding).ravel() + 0.05 * rng.normal(size=N * K)
    best = scipy.optimize.minimize(flat, start, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(flat(np.asarray(found.embedding)), best.fun, rtol=1e-9)
    np.testing.assert_allclose(found.embedding, best.x.reshape(N, K), atol=1e-4)


def test_more_iterations_never_raise_the_loss():
    given = problem(3)
    start = given[1] + np.random.default_rng(0).normal(size=(N, K))
    losses = [loss(start, *given)]
    for max_iters in (1, 2, 5, 100):
        result = solve(*given, init=start, max_iters=max_iters, tolerance=1e-12)
        losses.append(loss(np.asarray(result.embedding), *given))
        assert result.num_iters <= max_iters
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()
    assert losses[-1] < 0.5 * losses[0]


def test_the_stress_is_that_of_the_distances_alone():
    given = problem(0)
    result = solve(*given)
    known = np.isfinite(given[0])
    apart = euclidean(np.asarray(result.embedding))
    misfit = np.sum(np.where(known, given[3] * (np.where(known, given[0], 0) - apart) ** 2, 0))
    size = np.sum(np.where(known, given[3] * apart**2, 0))
    np.testing.assert_allclose(result.stress, np.sqrt(misfit / size), rtol=1e-10)


@jax.jit
def derivatives(given, changes, cotangent):
    """Forward along the changes, and the gradients of the product with the cotangent."""
    def solution(*given):
        return solve(*given, tolerance=1e-10, max_iters=2000).embedding

    _, forward = jax.jvp(solution, given, changes)
    _, transposed = jax.vjp(solution, *given)
    return forward, transposed(cotangent)


@pytest.mark.parametrize("argument", range(4))
def test_derivatives_are_the_solutions(argument):
    given = problem(4)
    rng = np.random.default_rng(argument)
    change = rng.normal(size=given[argument].shape)
    if argument in (0, 3):
        change = symmetric(change)
    change *= np.nan_to_num(given[argument]) != 0  # missing or unweighted entries stay so
    cotangent = rng.normal(size=(N, K))
    changes = [np.zeros_like(x) for x in given]
    changes[argument] = change

    def solution(step):
        moved = [x + step * change for x, change in zip(given, changes, strict=True)]
        return np.asarray(solve(*moved, tolerance=1e-10, max_iters=2000).embedding)

    step = 1e-5
    difference = (solution(step) - solution(-step)) / (2 * step)
    forward, gradients = jax.device_get(derivatives(given, tuple(changes), cotangent))
    np.testing.assert_allclose(forward, difference, atol=1e-6 * np.abs(difference).max())
    assert np.isfinite(gradients[argument]).all()
    np.testing.assert_allclose(np.sum(gradients[argument] * change),
                               np.sum(difference * cotangent), rtol=1e-5)
    assert np.abs(difference).max() > 1e-2


def test_the_start_has_no_derivative():
    given = problem(4)
    gradient = jax.jit(jax.grad(lambda start: jnp.sum(solve(*given, init=start).embedding)))
    np.testing.assert_array_equal(gradient(given[1]), 0)


def test_heavy_anchors_hold_and_no_distances_count():
    distances, anchors, _, weights = problem(5)
    held = solve(distances, anchors, np.full((N, K), 1e9), weights, **EXACT)
    np.testing.assert_allclose(held.embedding, anchors, atol=1e-7)


def test_without_anchors_but_three_it_is_smacof_in_their_frame():
    points = np.random.default_rng(6).normal(size=(N, K))
    anchor_weights = np.zeros((N, K))
    anchor_weights[:4] = 1
    anchors = np.where(anchor_weights > 0, points, 0)
    start = points + 0.3 * np.random.default_rng(7).normal(size=(N, K))
    found = mds.smacof_anchored(euclidean(points), anchors, anchor_weights, init=start, **EXACT)
    np.testing.assert_allclose(found.embedding, points, atol=1e-6)
    assert found.stress < 1e-7


def test_the_result_goes_with_the_anchors():
    distances, anchors, anchor_weights, weights = problem(8)
    result = np.array(solve(distances, anchors, anchor_weights, weights, **EXACT).embedding)
    shift = np.array([3.0, -20.0, 7.0])
    moved = solve(distances, anchors + shift, anchor_weights, weights, **EXACT).embedding
    np.testing.assert_allclose(moved, result + shift, atol=1e-8)
    turn = Rotation.from_euler("xyz", [50, 20, -70], degrees=True).as_matrix()
    alike = anchor_weights[:, :1] * np.ones((1, K))  # the same for all axes
    plain = np.array(solve(distances, anchors, alike, weights, **EXACT).embedding)
    turned = solve(distances, anchors @ turn.T, alike, weights, **EXACT).embedding
    np.testing.assert_allclose(turned, plain @ turn.T, atol=1e-8)
    larger = solve(2 * distances, 2 * anchors, alike, weights, **EXACT).embedding
    np.testing.assert_allclose(larger, 2 * plain, atol=1e-8)


def test_any_batch_shape_and_shared_weights():
    shared = problem(0)[3]
    problems = [problem(seed)[:3] for seed in range(6)]
    distances, anchors, anchor_weights = (np.stack(x) for x in zip(*problems, strict=True))
    shaped = [x.reshape(2, 3, *x.shape[1:]) for x in (distances, anchors, anchor_weights)]
    solver = jax.jit(lambda *args: solve(*args, shared, tolerance=1e-6))
    batch = jax.device_get(solver(*shaped))
    assert batch.embedding.shape == (2, 3, N, K)
    assert batch.status.shape == batch.stress.shape == (2, 3)
    for i, alone in enumerate(problems):
        single = solve(*alone, shared, tolerance=1e-6)
        np.testing.assert_allclose(batch.embedding.reshape(6, N, K)[i], single.embedding,
                                   atol=1e-10)
        assert batch.num_iters.ravel()[i] == single.num_iters


def test_statuses_and_nan_that_stays_in_its_problem():
    names = ("distances", "anchors", "anchor_weights", "weights", "start")
    clean = [np.stack(x) for x in zip(*[(*problem(s), problem(s)[1]) for s in range(8)],
                                      strict=True)]
    heavy = np.unravel_index(np.argmax(clean[2][0]), (N, K))  # an anchor that counts
    wrong = [  # problem, argument, where, value, status
        (1, "distances", (0, 2), -1, mds.Status.INVALID),
        (2, "anchor_weights", heavy, -1e-3, mds.Status.INVALID),
        (3, "anchors", heavy, np.nan, mds.Status.NON_FINITE),
        (4, "distances", (0, 2), np.inf, mds.Status.NON_FINITE),
        (5, "weights", (0, 2), np.inf, mds.Status.NON_FINITE),
        (6, "anchor_weights", heavy, np.nan, mds.Status.NON_FINITE),
    ]
    given = [x.copy() for x in clean]
    given[1][3] = given[1][0]
    given[2][3] = given[2][0]
    for place, name, where, value, _ in wrong:
        array = given[names.index(name)][place]
        array[where] = value
        if name in ("distances", "weights"):
            array[where[::-1]] = value
    given[0][7, 0, 2] *= 1.5  # asymmetric
    solver = jax.jit(lambda *args: solve(*args[:4], init=args[4], max_iters=1000))
    result, expected = jax.device_get([solver(*given), solver(*clean)])
    assert (result.status[0], result.status[7]) == (mds.Status.CONVERGED, mds.Status.INVALID)
    for place, name, _, value, status in wrong:
        assert result.status[place] == status, (name, value)
    assert np.isnan(result.embedding[1:]).all()
    np.testing.assert_allclose(result.embedding[0], expected.embedding[0], atol=1e-12)


def test_a_solver_that_is_stopped_says_so():
    short = solve(*problem(0), max_iters=1, tolerance=1e-9)
    assert (short.status, short.num_iters) == (mds.Status.STEP_LIMIT, 1)
    assert np.isfinite(short.embedding).all()


def test_nothing_to_fit_is_invalid():
    zero = solve(np.zeros((N, N)), *problem(0)[1:])
    assert zero.status == mds.Status.INVALID


@pytest.mark.parametrize(("name", "shapes"), [
    ("anchors", [(N, N), (N + 1, K), (N, K), (N, N)]),
    ("anchors", [(2, N, N), (N, K), (N, K), (N, N)]),
    ("anchor_weights", [(N, N), (N, K), (N, 1), (N, N)]),
    ("weights", [(N, N), (N, K), (N, K), (N, K)]),
    ("dissimilarities", [(N, K), (N, K), (N, K), (N, N)]),
])
def test_wrong_shapes_are_named(name, shapes):
    with pytest.raises(ValueError, match=f"^{name}: expected shape"):
        solve(*map(np.ones, shapes))


def test_a_wrong_start_is_named():
    with pytest.raises(ValueError, match=r"^init: expected shape \(9, 3\), got \(9, 2\)"):
        solve(*problem(0), init=np.ones((N, 2)))


def test_single_precision_stays_and_comes_near():
    given = [np.float32(x) for x in problem(1)]
    result = solve(*given, tolerance=1e-6, max_iters=1000)
    assert result.embedding.dtype == np.float32
    exact = solve(*problem(1), **EXACT)
    np.testing.assert_allclose(result.embedding, exact.embedding, atol=1e-2)


def test_a_point_of_which_nothing_is_known_stays_where_it_is_and_moves_no_other():
    distances, anchors, anchor_weights, weights = problem(0)
    alone = solve(distances, anchors, anchor_weights, weights, **EXACT)
    with_one = jax.device_get(solve(
        np.pad(distances, (0, 1), constant_values=np.nan), np.pad(anchors, ((0, 1), (0, 0))),
        np.pad(anchor_weights, ((0, 1), (0, 0))), np.pad(weights, (0, 1)), **EXACT))
    assert with_one.status == mds.Status.CONVERGED
    np.testing.assert_allclose(with_one.embedding[:-1], alone.embedding, atol=1e-9)
    np.testing.assert_array_equal(with_one.embedding[-1], 0)


def test_momentum_that_cancels_a_transform_is_no_convergence():
    """The second change is nothing in passing, with a quarter of the error left."""
    distances = np.full((3, 3), np.nan)
    distances[0, 1] = distances[1, 0] = 1
    anchors = np.array([[0, 0], [1, 0], [0, 1.0]])
    anchor_weights = np.array([[1e6, 1e6], [3.5, 3.5], [1e6, 1e6]])
    start = np.array([[0, 0], [1, 0.01], [0, 1]])
    result = mds.smacof_anchored(distances, anchors, anchor_weights, init=start, tolerance=1e-4)
    assert result.status == mds.Status.CONVERGED
    np.testing.assert_allclose(result.embedding, anchors, atol=2e-4)


@jax.jit
@jax.grad
def slopes(anchors, distances, anchor_weights):
    """Of the sum of all coordinates."""
    return solve(distances, anchors, anchor_weights, jnp.ones((4, 4)), **EXACT).embedding.sum()


@pytest.mark.parametrize("coordinate", [0.0, 1.0])
def test_unknown_coordinates_leave_the_derivatives_of_others(coordinate):
    """Three points move with their anchors; of the fourth one coordinate at most is known."""
    distances = np.full((4, 4), np.nan)
    distances[:3, :3] = [[0, 1, 2], [1, 0, 1.5], [2, 1.5, 0]]
    anchors = np.array([[0, 0], [1, 0], [1, 1.5], [0, 0]])
    anchor_weights = np.array([[1, 1], [1, 1], [1, 1], [coordinate, 0]])
    expected = np.ones((4, 2))
    expected[3] = coordinate, 0
    np.testing.assert_allclose(slopes(anchors, distances, anchor_weights), expected, atol=1e-6)


def test_a_far_point_of_which_nothing_is_known_does_not_end_a_problem_early():
    distances, anchors, anchor_weights, weights = problem(0)
    start = np.pad(anchors + 0.5 * np.eye(N, K), ((0, 1), (0, 0)), constant_values=1e4)
    padded = [np.pad(distances, (0, 1), constant_values=np.nan),
              np.pad(anchors, ((0, 1), (0, 0))), np.pad(anchor_weights, ((0, 1), (0, 0)))]
    result = jax.device_get(solve(*padded, np.pad(weights, (0, 1)), init=start))
    exact = solve(distances, anchors, anchor_weights, weights, **EXACT)
    assert result.status == mds.Status.CONVERGED
    np.testing.assert_allclose(result.embedding[:-1], exact.embedding, atol=3e-3)
