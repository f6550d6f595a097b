"""Derivatives of `smacof`, by finite differences and by differentiating the iterations."""

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
STEP = 1e-4
RNG = np.random.default_rng(0)
DISSIMILARITIES = noisy_distances(7, N, 3)
WEIGHTS = symmetric(RNG.uniform(0.3, 2, (N, N)))
WEIGHTS[1, 4] = WEIGHTS[4, 1] = 0
DIRECTIONS = symmetric(RNG.standard_normal((2, N, N)))  # of dissimilarities and of weights
COTANGENTS = (RNG.standard_normal((N, N)), RNG.standard_normal(), RNG.standard_normal((N, N)))


def observables(result):
    """What no rotation changes."""
    return mds.distances(result.embedding), result.stress, result.disparities


def solve(name, dissimilarities, weights, init):
    return observables(mds.smacof(
        dissimilarities, 2, weights=weights, init=init, tolerance=1e-11, **TRANSFORMS[name]
    ))


def solution(name):
    """An embedding to start from, where iterations have no more to do."""
    d, w = np.stack(4 * [DISSIMILARITIES]), np.stack(4 * [WEIGHTS])
    result = Four.fit(d, w, tolerance=1e-12, **TRANSFORMS[name])
    assert result.converged.all()
    return np.asarray(result.embedding[result.stress.argmin()])


@EVERY_TRANSFORM
def test_agree_with_finite_differences(name):
    init = solution(name)
    d, w = (
        np.stack([x, x, x, x]) + STEP * np.outer(signs, direction).reshape(4, N, N)
        for x, direction, signs in (
            (DISSIMILARITIES, DIRECTIONS[0], [1, -1, 0, 0]),
            (WEIGHTS, DIRECTIONS[1] * (WEIGHTS > 0), [0, 0, 1, -1]),
        )
    )
    result = Four.fit(d, w, np.stack(4 * [init]), tolerance=1e-12, **TRANSFORMS[name])
    plus_minus = [np.asarray(x) for x in observables(result)]
    function = partial(solve, name, init=init)
    directions = np.zeros((2, 2, N, N))
    directions[0, 0], directions[1, 1] = DIRECTIONS[0], DIRECTIONS[1] * (WEIGHTS > 0)

    @jax.jit
    def forward_and_reverse(d, w):
        _, transposed = jax.vjp(function, d, w)
        forward = jax.vmap(lambda *t: jax.jvp(function, (d, w), t)[1])(*directions)
        return forward, transposed(tuple(jnp.asarray(x) for x in COTANGENTS))

    forward, reverse = forward_and_reverse(DISSIMILARITIES, WEIGHTS)
    for i in range(2):
        products = 0
        for changes, values, cotangent in zip(forward, plus_minus, COTANGENTS, strict=True):
            expected = (values[2 * i] - values[2 * i + 1]) / (2 * STEP)
            np.testing.assert_allclose(changes[i], expected, atol=1e-6)
            products += np.sum(cotangent * expected)
            if i == 1:  # the weights matter in every transform
                assert np.abs(expected).max() > 1e-3
        sent_back = sum(np.sum(g * t) for g, t in zip(reverse, directions[:, i], strict=True))
        np.testing.assert_allclose(sent_back, products, atol=1e-5)
    is_ordinal = name in ("primary", "secondary")
    assert (np.abs(reverse[0]).max() == 0) == is_ordinal
    if is_ordinal:
        for changes in forward:
            assert (changes[0] == 0).all()


def test_agree_with_unrolled_iterations():
    dissimilarities = noisy_distances(8, N, 2, noise=0.1)
    start = np.asarray(mds.classical(dissimilarities, 2))

    def unrolled(dissimilarities):
        def iterate(x, _):
            d = mds.distances(x)
            b = -jnp.where(d > 0, dissimilarities / jnp.where(d > 0, d, 1), 0)
            b -= jnp.diag(b.sum(axis=1))
            return b @ x / N, None

        return mds.distances(lax.scan(iterate, start, length=1000)[0])

    def implicit(dissimilarities):
        result = mds.smacof(dissimilarities, 2, transform="ratio", init=start, tolerance=1e-11)
        return mds.distances(result.embedding)

    def functional(distances_of):
        return jax.jit(jax.value_and_grad(lambda x: jnp.vdot(COTANGENTS[0], distances_of(x))))

    value, gradient = functional(implicit)(dissimilarities)
    expected, by_unrolling = functional(unrolled)(dissimilarities)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    # One sends what it holds of d_ij and d_ji to each half, the other to their mean.
    by_unrolling = (by_unrolling + by_unrolling.T) / 2
    off_diagonal = ~np.eye(N, dtype=bool)
    np.testing.assert_allclose(gradient[off_diagonal], by_unrolling[off_diagonal], atol=1e-8)


def test_rotations_have_no_part():
    """A pull along a rotation, shift or (where the size is given) growth sends nothing back."""
    for name in ("ratio", "primary"):
        embedding, transposed = jax.vjp(
            lambda d, w, name=name: mds.smacof(
                d, 2, weights=w, tolerance=1e-11, **TRANSFORMS[name]
            ).embedding,
            DISSIMILARITIES, WEIGHTS,
        )
        turn = embedding @ np.array([[0.0, 1], [-1, 0]])
        shift = jnp.ones_like(embedding)
        for cotangent in (turn, shift) if name == "ratio" else (turn, shift, embedding):
            for sent_back in transposed(cotangent):
                np.testing.assert_allclose(sent_back, 0, atol=1e-10)
        assert max(np.abs(g).max() for g in transposed(embedding**3)) > 1e-2


def test_of_a_batch():
    def loss(dissimilarities, weights, init):
        result = mds.smacof(dissimilarities, 2, transform="interval", weights=weights, init=init)
        return jnp.vdot(COTANGENTS[0], mds.distances(result.embedding)) + result.stress

    batch = Four.dissimilarities, Four.weights, Four.random
    gradient = jax.grad(loss, argnums=(0, 1))
    together = jax.jit(jax.vmap(gradient))(*batch)
    of_sum = jax.grad(lambda *x: jnp.sum(jax.vmap(loss)(*x)), argnums=(0, 1))(*batch)
    alone = gradient(*(x[2] for x in batch))
    for one, many, summed in zip(alone, together, of_sum, strict=True):
        assert np.abs(one).max() > 1e-2
        np.testing.assert_allclose(many[2], one, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(summed[2], one, rtol=1e-6, atol=1e-9)
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
    batch = np.stack([coincident, euclidean(points), euclidean(line), euclidean(line**2)])
    init = np.stack([points, points, line, rng.standard_normal((N, 2))])
    weights = np.ones_like(batch)

    @jax.jit
    @jax.vmap
    def gradients(dissimilarities, weights, init):
        def loss(dissimilarities, weights):
            result = mds.smacof(
                dissimilarities, 2, weights=weights, init=init, **TRANSFORMS[name]
            )
            distances, stress, disparities = observables(result)
            return (jnp.vdot(COTANGENTS[0], distances) + stress + jnp.sum(disparities**2)
                    + jnp.vdot(result.embedding, points))

        return jax.value_and_grad(loss, argnums=(0, 1))(dissimilarities, weights)

    value, found = gradients(batch, weights, init)
    assert np.isfinite(value).all()
    for gradient in found:
        assert np.isfinite(gradient).all()


def test_of_memory_for_a_few_matrices():
    """Iterations leave nothing behind: unrolled, this would be a matrix for each of them."""
    n = 60

    def loss(dissimilarities):
        result = mds.smacof(dissimilarities, 2, transform="ratio")
        return jnp.sum(result.embedding**3) + result.stress

    compiled = jax.jit(jax.grad(loss)).lower(jnp.zeros((n, n))).compile()
    matrices = compiled.memory_analysis().temp_size_in_bytes / (8 * n * n)
    assert 1 < matrices < 40
