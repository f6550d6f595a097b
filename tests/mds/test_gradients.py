"""Derivatives of `smacof` against finite differences and differentiated iterations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from problems import TRANSFORMS, Four, euclidean, noisy_distances, symmetric

from deepmds_jax import mds

pytestmark = pytest.mark.usefixtures("x64")
EVERY_TRANSFORM = pytest.mark.parametrize("name", TRANSFORMS)
N = 10
BATCH = 5  # problems of every call of `differentiate`
STEP = 1e-4
RNG = np.random.default_rng(0)
DISSIMILARITIES = noisy_distances(7, N, 3)
WEIGHTS = symmetric(RNG.uniform(0.3, 2, (N, N)))
WEIGHTS[1, 4] = WEIGHTS[4, 1] = 0
DIRECTIONS = symmetric(RNG.standard_normal((2, N, N)))  # of dissimilarities and of weights
COTANGENTS = (RNG.standard_normal((N, N)), RNG.standard_normal(), RNG.standard_normal((N, N)))
NO_DIRECTIONS = np.zeros((2, 2, N, N))
NO_PULL = np.zeros((N, 2))


@partial(jax.jit, static_argnames="name")
def differentiate(name, dissimilarities, weights, init, directions, cotangents, tolerance):
    """Solves a batch and differentiates each solution. One program per transform for all tests.

    Args:
      name: of the transform.
      dissimilarities: (BATCH, N, N).
      weights: (BATCH, N, N).
      init: (BATCH, N, 2).
      directions: (BATCH, 2, 2, N, N), two changes each of dissimilarities and of weights.
      cotangents: of the results below, with leading axis BATCH.
      tolerance: ().

    Returns:
      The results: embedding, and what no rotation changes, that is distances, stress and
      disparities; their derivatives along the directions; and the gradients by dissimilarities
      and weights of their product with the cotangents.
    """
    def problem(dissimilarities, weights, init, directions, cotangents):
        def solution(dissimilarities, weights):
            result = mds.smacof(dissimilarities, 2, weights=weights, init=init,
                                tolerance=tolerance, **TRANSFORMS[name])
            return (result.embedding, mds.distances(result.embedding), result.stress,
                    result.disparities)

        inputs = dissimilarities, weights
        found, linear = jax.linearize(solution, *inputs)
        forward = jax.vmap(linear)(directions[:, 0], directions[:, 1])
        return found, forward, jax.linear_transpose(linear, *inputs)(cotangents)

    return jax.vmap(problem)(dissimilarities, weights, init, directions, cotangents)


def batched(*arrays):
    """Each array BATCH times."""
    return tuple(np.stack(BATCH * [x]) for x in arrays)


def derivatives(name, dissimilarities, weights, init, cotangents, *, directions=NO_DIRECTIONS,
                tolerance=1e-11):
    """`differentiate` in NumPy, with the same directions for all problems."""
    found = differentiate(name, dissimilarities, weights, init, *batched(directions), cotangents,
                          tolerance)
    return jax.tree.map(np.asarray, found)


def solution(name):
    """An embedding to start from, where iterations have no more to do."""
    starts = np.random.default_rng(5).standard_normal((BATCH, N, 2))
    (embedding, _, stress, _), *_ = derivatives(
        name, *batched(DISSIMILARITIES, WEIGHTS), starts, batched(NO_PULL, *COTANGENTS),
        tolerance=1e-12,
    )
    return embedding[stress.argmin()]


@EVERY_TRANSFORM
def test_agree_with_finite_differences(name):
    d, w = (
        x + STEP * np.multiply.outer(signs, direction)
        for x, direction, signs in (
            (DISSIMILARITIES, DIRECTIONS[0], [0, 1, -1, 0, 0]),
            (WEIGHTS, DIRECTIONS[1] * (WEIGHTS > 0), [0, 0, 0, 1, -1]),
        )
    )
    directions = np.zeros((2, 2, N, N))
    directions[0, 0], directions[1, 1] = DIRECTIONS[0], DIRECTIONS[1] * (WEIGHTS > 0)
    (_, *values), (_, *forward), reverse = derivatives(
        name, d, w, *batched(solution(name)), batched(NO_PULL, *COTANGENTS), directions=directions,
        tolerance=1e-12,
    )
    for i in range(2):
        products = 0
        for changes, value, cotangent in zip(forward, values, COTANGENTS, strict=True):
            expected = (value[1 + 2 * i] - value[2 + 2 * i]) / (2 * STEP)
            np.testing.assert_allclose(changes[0, i], expected, atol=1e-6)
            products += np.sum(cotangent * expected)
            if i == 1:  # the weights matter in every transform
                assert np.abs(expected).max() > 1e-3
        sent_back = sum(np.sum(g[0] * t) for g, t in zip(reverse, directions[i], strict=True))
        np.testing.assert_allclose(sent_back, products, atol=1e-5)
    is_ordinal = name in ("primary", "secondary")
    assert (np.abs(reverse[0]).max() == 0) == is_ordinal
    if is_ordinal:
        for changes in forward:
            assert (changes[:, 0] == 0).all()


def test_agree_with_unrolled_iterations():
    dissimilarities = noisy_distances(8, N, 2, noise=0.1)
    start = np.asarray(mds.classical(dissimilarities, 2))

    @jax.jit
    @jax.value_and_grad
    def unrolled(dissimilarities):
        def iterate(x, _):
            d = mds.distances(x)
            b = -jnp.where(d > 0, dissimilarities / jnp.where(d > 0, d, 1), 0)
            b -= jnp.diag(b.sum(axis=1))
            return b @ x / N, None

        end, _ = lax.scan(iterate, start, length=1000)
        return jnp.vdot(COTANGENTS[0], mds.distances(end))

    pulls = batched(NO_PULL, COTANGENTS[0], 0.0, np.zeros((N, N)))
    (_, distances, *_), _, (gradient, _) = derivatives(
        "ratio", *batched(dissimilarities, np.ones((N, N)), start), pulls
    )
    expected, by_unrolling = unrolled(dissimilarities)
    np.testing.assert_allclose(np.vdot(COTANGENTS[0], distances[0]), expected, rtol=1e-9)
    # One sends what it holds of d_ij and d_ji to each half, the other to their mean.
    by_unrolling = np.asarray(by_unrolling + by_unrolling.T) / 2
    off_diagonal = ~np.eye(N, dtype=bool)
    np.testing.assert_allclose(gradient[0][off_diagonal], by_unrolling[off_diagonal], atol=1e-8)


@pytest.mark.parametrize("name", ["ratio", "primary"])
def test_rotations_do_not_contribute(name):
    """A pull along a rotation, shift or (if the size is fixed) growth sends nothing back."""
    no_pulls = batched(NO_PULL, np.zeros((N, N)), 0.0, np.zeros((N, N)))
    problem = batched(DISSIMILARITIES, WEIGHTS, mds.classical(DISSIMILARITIES, 2))
    (embeddings, *_), *_ = derivatives(name, *problem, no_pulls)
    embedding = embeddings[0]
    turn = embedding @ np.array([[0.0, 1], [-1, 0]])
    pulls = np.stack([turn, np.ones_like(embedding), embedding, embedding**3, embedding**3])
    _, _, gradients = derivatives(name, *problem, (pulls, *no_pulls[1:]))
    for gradient in gradients:
        np.testing.assert_allclose(gradient[:2 if name == "ratio" else 3], 0, atol=1e-10)
    assert max(np.abs(gradient[3]).max() for gradient in gradients) > 1e-2


def test_of_a_batch():
    def loss(dissimilarities, weights, init):
        result = mds.smacof(dissimilarities, 2, transform="interval", weights=weights, init=init)
        return jnp.vdot(COTANGENTS[0], mds.distances(result.embedding)) + result.stress

    four = Four.dissimilarities, Four.weights, Four.random
    gradient = jax.grad(loss, argnums=(0, 1))
    of_sum = jax.grad(lambda *x: jnp.sum(jax.vmap(loss)(*x)), argnums=(0, 1))
    summed = jax.jit(of_sum)(*four)
    alone = jax.jit(gradient)(*(x[2] for x in four))
    five = (np.concatenate([x, x[:1]]) for x in four)
    pulls = batched(NO_PULL, COTANGENTS[0], 1.0, np.zeros((N, N)))
    _, _, together = derivatives("interval", *five, pulls, tolerance=2e-4)
    for one, many, of_all in zip(alone, together, summed, strict=True):
        assert np.abs(one).max() > 1e-2
        np.testing.assert_allclose(many[2], one, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(np.asarray(of_all)[2], one, rtol=1e-6, atol=1e-9)
        assert np.isfinite(many).all()
    # A missing pair has a weight that matters and a dissimilarity that does not.
    missing = Four.weights[3] == 0
    assert (together[0][3][missing] == 0).all()


@EVERY_TRANSFORM
def test_are_finite_where_points_coincide_or_lie_on_a_line(name):
    rng = np.random.default_rng(1)
    points = rng.standard_normal((N, 2))
    points[1] = points[0]
    coincident = euclidean(points) * symmetric(rng.uniform(0.8, 1.2, (N, N)))
    coincident[1], coincident[:, 1] = coincident[0], coincident[:, 0]
    line = np.linspace(0, 1, N)[:, None] * [[1.0, 2.0]]
    batch = np.stack([coincident, *map(euclidean, (points, line, line**2, line**2))])
    init = np.stack([points, points, line, *rng.standard_normal((2, N, 2))])
    found, _, gradients = derivatives(
        name, batch, np.ones_like(batch), init, batched(points, *COTANGENTS), tolerance=2e-4
    )
    for array in (*found, *gradients):
        assert np.isfinite(array).all()


def test_of_memory_for_a_few_matrices():
    """Iterations leave nothing behind: unrolled, this would be a matrix for each of them."""
    n = 60

    def loss(dissimilarities):
        result = mds.smacof(dissimilarities, 2, transform="ratio")
        return jnp.sum(result.embedding**3) + result.stress

    argument = jax.ShapeDtypeStruct((n, n), float)
    compiled = jax.jit(jax.grad(loss)).lower(argument).compile()
    matrices = compiled.memory_analysis().temp_size_in_bytes / (8 * n * n)
    assert 1 < matrices < 40


# What is wrong is found whatever iterations there are: plain ones have the least to compile.
plain = partial(mds.smacof, num_dims=2, transform="ratio", acceleration="none")
SCALINGS = {
    "smacof": lambda d: plain(d).stress,
    "start": lambda d: plain(d, init=jnp.ones((5, 2))).stress,
    "smacof_robust": lambda d: mds.smacof_robust(d, 2).stress,
    "unfold": lambda d: mds.unfold(d, 2).stress,
    "individual_differences": lambda d: mds.individual_differences(
        jnp.stack([d, d]), 2).stress,
    "additive_constant": mds.additive_constant,
    "classical": lambda d: jnp.sum(mds.classical(d, 2)),
    "weights": lambda w: plain(1 - np.eye(5), weights=w, init=np.eye(5, 2)).stress,
}


@pytest.mark.parametrize("name", SCALINGS)
def test_wrong_values_are_named_where_they_are_differentiated(name):
    wrong = jnp.eye(5) - 1
    expected = {"start": "init: .* all of them at one place", "weights": "weights: .* < 0",
                "unfold": "preferences: .* < 0"}.get(name, "dissimilarities.*: .* < 0")
    with pytest.raises(ValueError, match=expected):
        jax.grad(SCALINGS[name])(-wrong if name == "start" else wrong)
