"""What holds for any problem, tried on those that hypothesis draws."""

from functools import partial

import jax
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import TRANSFORMS, Four, assert_same, noisy_distances, symmetric, tied_distances

from deepmds_jax import mds

pytestmark = pytest.mark.usefixtures("x64")
N = 10
tried = partial(settings, derandomize=True, deadline=None, database=None)


@st.composite
def problems(draw):
    """Dissimilarities, weights and a start: tied or not, weighted or not, some pairs missing."""
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    make = draw(st.sampled_from([noisy_distances, tied_distances]))
    weights = 1 - np.eye(N)
    if draw(st.booleans()):
        weights = symmetric(rng.uniform(0.2, 3, (N, N)))
    for _ in range(draw(st.integers(0, 4))):
        i, j = rng.choice(N, 2, replace=False)
        weights[i, j] = weights[j, i] = 0  # four cannot cut a point off nine others
    return make(seed, N), weights, rng.standard_normal((N, 2))


fours = st.lists(problems(), min_size=4, max_size=4).map(
    lambda four: tuple(np.stack(x) for x in zip(*four, strict=True))
)
transforms = st.sampled_from([*TRANSFORMS])


@given(fours, transforms)
@tried(max_examples=10)
def test_stress_never_rises(four, name):
    fit = partial(Four.fit, *four, tolerance=0.0, **TRANSFORMS[name])
    stress = np.array([fit(max_iters=i).stress for i in [*range(12), 20, 50, 300]])
    assert (np.diff(stress, axis=0) <= 1e-14).all()
    assert (stress[-1] < stress[0]).all()


@given(fours, transforms, st.floats(-np.pi, np.pi), st.booleans(), st.floats(0.1, 10))
@tried(max_examples=10)
def test_rigid_motion_of_the_start_moves_the_answer(four, name, angle, mirrored, size):
    dissimilarities, weights, init = four
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turn[:, 0] *= -1 if mirrored else 1
    fit = partial(Four.fit, dissimilarities, weights, max_iters=10, **TRANSFORMS[name])
    result, moved = fit(init), fit(size * init @ turn + [3, -4])
    np.testing.assert_allclose(moved.stress, result.stress, rtol=1e-7)
    np.testing.assert_allclose(moved.disparities, result.disparities, atol=1e-6)
    np.testing.assert_allclose(moved.embedding, result.embedding @ turn, atol=1e-6)


@given(fours, transforms, st.permutations(range(N)))
@tried(max_examples=10)
def test_relabelling_relabels_the_answer(four, name, order):
    dissimilarities, weights, init = four
    fit = partial(Four.fit, max_iters=10, **TRANSFORMS[name])
    result = fit(*four)
    moved = fit(dissimilarities[:, order][:, :, order], weights[:, order][:, :, order],
                init[:, order])
    np.testing.assert_allclose(moved.stress, result.stress, rtol=1e-7)
    np.testing.assert_allclose(moved.embedding, result.embedding[:, order], atol=1e-6)


@given(fours, st.sampled_from(["ratio", "primary"]))
@tried(max_examples=6)
def test_alone_or_in_a_batch_and_inside_jit(four, name):
    solve = partial(_solve, name)
    together = Four.fit(*four, **TRANSFORMS[name])
    in_jit = _solve_in_jit(name, *four)
    for i in range(4):
        alone = solve(*(x[i] for x in four))
        assert_same(alone, jax.tree.map(lambda x, i=i: x[i], together))
        assert_same(alone, jax.tree.map(lambda x, i=i: x[i], in_jit), in_jit=True)


def _solve(name, dissimilarities, weights, init):
    return mds.smacof(dissimilarities, 2, weights=weights, init=init, **TRANSFORMS[name])


_solve_in_jit = jax.jit(_solve, static_argnums=0)


values = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3))


@given(st.lists(st.tuples(values, st.floats(0.01, 10)), min_size=12, max_size=12), st.booleans())
@tried(max_examples=100)
def test_isotonic_regression_agrees_with_scipy(pairs, weighted):
    y, weights = np.array(pairs).T
    given_weights = weights if weighted else None
    fit = mds.isotonic_regression(y, given_weights)
    expected = scipy.optimize.isotonic_regression(y, weights=given_weights).x
    np.testing.assert_allclose(fit, expected, atol=1e-9)


@given(values, st.floats(0.01, 10), st.booleans())
@tried(max_examples=10)
def test_isotonic_regression_of_one_value(value, weight, weighted):
    fit = mds.isotonic_regression(np.array([value]), np.array([weight]) if weighted else None)
    np.testing.assert_allclose(fit, [value], rtol=1e-12)
