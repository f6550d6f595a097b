"""Test problems, made with NumPy only."""

from functools import partial

import jax
import numpy as np
from rounding import FORMER_EMITTERS

from deepmds_jax import mds

TRANSFORMS = {
    "ratio": {"transform": "ratio"},
    "interval": {"transform": "interval"},
    "primary": {"transform": "ordinal", "ties": "primary"},
    "secondary": {"transform": "ordinal", "ties": "secondary"},
}


def euclidean(points):
    """(..., n, n) distances of (..., n, k) points."""
    return np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)


def symmetric(matrix):
    """The upper triangle and its mirror image, with a zero diagonal."""
    upper = np.triu(matrix, 1)
    return upper + np.swapaxes(upper, -1, -2)


def noisy_distances(seed, n=12, num_dims=3, noise=0.3):
    """Distances of random points, each multiplied by a random factor near 1."""
    rng = np.random.default_rng(seed)
    distances = euclidean(rng.standard_normal((n, num_dims)))
    return distances * symmetric(np.exp(noise * rng.standard_normal((n, n))))


def tied_distances(seed, n=12):
    return np.ceil(2 * noisy_distances(seed, n))


class Four:
    """Four problems of 10 points in 2 dimensions, with weights and starts.

    One after the other: mild noise; strong noise; ties and weights; missing pairs and weights.
    All calls of `fit` with the same transform and acceleration share one compiled program.
    """

    dissimilarities = np.stack([
        noisy_distances(0, 10, 2, noise=0.1),
        noisy_distances(1, 10, 3, noise=1),
        tied_distances(2, 10),
        noisy_distances(3, 10, 3),
    ])
    weights = np.ones((4, 10, 10))
    weights[2:] = symmetric(np.random.default_rng(4).uniform(0.2, 3, (2, 10, 10)))
    weights[3, [0, 2, 4, 6], [1, 7, 5, 9]] = weights[3, [1, 7, 5, 9], [0, 2, 4, 6]] = 0
    random = np.random.default_rng(5).standard_normal((4, 10, 2))

    @classmethod
    def fit(cls, dissimilarities=None, weights=None, init=None, **options):
        """`smacof` of four problems, by default these, on the host."""
        given = (dissimilarities, weights, init)
        ours = (cls.dissimilarities, cls.weights, cls.random)
        d, w, x = (a if b is None else b for a, b in zip(ours, given, strict=True))
        return jax.tree.map(np.asarray, mds.smacof(d, 2, weights=w, init=x, **options))

    @classmethod
    def trace(cls, num_iters, **arguments):
        """(num_iters, 4) stress after 0, 1, ... iterations, at tolerance 0."""
        fit = partial(cls.fit, tolerance=0.0, **arguments)
        return np.array([fit(max_iters=i).stress for i in range(num_iters)])


def plain_smacof(dissimilarities, weights, points, num_iters):
    """(n, k) points after the textbook iteration for the ratio transform."""
    n = len(points)
    v = np.diag(weights.sum(axis=1)) - weights
    v_inverse = np.linalg.pinv(v)
    d = euclidean(points)
    for _ in range(num_iters):
        slope = np.sum(weights * dissimilarities * d) / np.sum(weights * dissimilarities**2)
        b = -weights * slope * dissimilarities / (d + np.eye(n))
        b -= np.diag(b.sum(axis=1))
        points = v_inverse @ b @ points
        d = euclidean(points)
    return points


def assert_derivatives_are_differences(solution, given, direction, *, number, atol, pull_atol):
    """Forward derivatives of all that a solution has, and the reverse one of a number of it.

    Args:
      solution: of `given`, a tuple of arrays.
      given: array, in float64.
      direction: like it.
      number: which of the solution is a number, whose derivative comes by reverse mode, too.
      atol: of forward derivatives against differences.
      pull_atol: of the reverse derivative against the forward one.
    """
    @jax.jit
    def differentiate(given):
        found, linear = jax.linearize(solution, given)
        pulls = tuple(np.full(x.shape, float(i == number)) for i, x in enumerate(found))
        return found, linear(direction), jax.linear_transpose(linear, given)(pulls)[0]

    _, forward, pull = differentiate(given)
    step = 1e-5
    ahead, back = (differentiate(given + s * direction)[0] for s in (step, -step))
    for derivative, a, b in zip(forward, ahead, back, strict=True):
        np.testing.assert_allclose(derivative, (a - b) / (2 * step), atol=atol)
    np.testing.assert_allclose(np.nansum(pull * direction), forward[number], atol=pull_atol)


def assert_same(one: mds.MDSResult, other: mds.MDSResult, *, in_jit: bool = False) -> None:
    """The same bits; nearly, by XLA's former emitters, which round each shape in their own way.

    And inside jit, where XLA's options are others, since JAX 0.12.
    """
    if not (FORMER_EMITTERS or in_jit):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.status, other.status)
    np.testing.assert_allclose(one.stress, other.stress, atol=1e-5)
    for a, b in ((one.embedding, other.embedding), (one.disparities, other.disparities)):
        np.testing.assert_allclose(a, b, atol=3e-3)
