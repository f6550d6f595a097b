import itertools

import jax
import numpy as np
import pytest
import sklearn.isotonic
from scipy.optimize import isotonic_regression as scipy_isotonic

from deepmds_jax.mds import isotonic_regression
from deepmds_jax.mds.isotonic import _pool_in_rounds, _pool_together, _pool_with_stack

RNG = np.random.default_rng(0)
SEQUENCES = {
    "sorted": np.arange(500.0),
    "decreasing": -np.arange(500.0),
    "constant": np.full(500, 7.0),
    "tied": RNG.integers(0, 4, 500).astype(float),
    "cascade": np.append(np.arange(499.0), -2000.0),  # merges one by one, back to the first
    "random": RNG.standard_normal(500),
    "noisy": np.sort(RNG.standard_normal(500)) + 0.05 * RNG.standard_normal(500),
}


ALGORITHMS = {
    "public": isotonic_regression,
    "stack": jax.jit(_pool_with_stack),
    "rounds": jax.jit(_pool_in_rounds),
}
pool_batch = jax.jit(jax.vmap(_pool_together))


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_agrees_with_scipy(algorithm, name, dtype):
    y = SEQUENCES[name].astype(dtype)
    weights = np.random.default_rng(1).uniform(0.1, 3, y.size).astype(dtype)
    for w in (np.ones_like(y), weights):
        fit = ALGORITHMS[algorithm](y, w)
        expected = scipy_isotonic(y.astype(float), weights=w.astype(float)).x
        assert fit.dtype == dtype
        np.testing.assert_allclose(fit, expected, atol=20 * np.finfo(dtype).eps * np.abs(y).max())


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 2278])
def test_lengths(length):
    y = RNG.standard_normal(length).astype(np.float32)
    np.testing.assert_allclose(isotonic_regression(y), scipy_isotonic(y).x, atol=1e-5)


def test_agrees_with_sklearn(x64):
    y = SEQUENCES["random"]
    np.testing.assert_allclose(isotonic_regression(y), sklearn.isotonic.isotonic_regression(y))


def test_every_short_sequence():
    y = np.array(list(itertools.product(range(4), repeat=6)), np.float32)
    weights = RNG.integers(1, 4, y.shape).astype(np.float32)
    expected = [scipy_isotonic(v, weights=w).x for v, w in zip(y, weights, strict=True)]
    for algorithm, fit in ALGORITHMS.items():
        fits = jax.jit(jax.vmap(fit))(y, weights)
        np.testing.assert_allclose(fits, expected, atol=2e-6, err_msg=algorithm)


def test_batch_equals_one_by_one():
    y = RNG.standard_normal((3, 2, 50)).astype(np.float32)
    y[1, 0, 7] = np.nan
    batch = isotonic_regression(y)
    together = jax.jit(jax.vmap(jax.vmap(isotonic_regression)))(y)
    in_rounds = jax.jit(jax.vmap(jax.vmap(ALGORITHMS["rounds"])))(y, np.ones_like(y))
    batch, together, in_rounds = (np.asarray(x) for x in (batch, together, in_rounds))
    for i, j in np.ndindex(3, 2):
        alone = isotonic_regression(y[i, j])
        np.testing.assert_array_equal(batch[i, j], alone)
        np.testing.assert_array_equal(together[i, j], alone)
        if (i, j) == (1, 0):
            assert np.isnan(alone).all()
        else:
            np.testing.assert_allclose(in_rounds[i, j], alone, atol=1e-6)


@pytest.mark.parametrize("has_sorted", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_as_accelerators_pool_a_batch(weighted, has_sorted):
    """By blocks of groups, unless a sequence, such as one in order, leaves too many of them."""
    y = np.stack([SEQUENCES["noisy"], SEQUENCES["random"], SEQUENCES["tied"]]).astype(np.float32)
    if has_sorted:
        y[1] = np.sort(y[1])
    y[2, -3:] = np.inf  # missing pairs
    weights = RNG.uniform(0.1, 3, y.shape).astype(np.float32) if weighted else None
    fits = np.asarray(pool_batch(y, weights))
    for i, end in enumerate((500, 500, 497)):
        expected = scipy_isotonic(y[i, :end], weights=weights[i, :end] if weighted else None).x
        np.testing.assert_allclose(fits[i, :end], expected, atol=1e-5)
        assert np.isposinf(fits[i, end:]).all()


@pytest.mark.parametrize(("unit", "weight"), [
    (1, 1e-25), (1e20, 1e10), (1e37, 1), (1e-30, 1), (1e-20, 1e30)])
def test_any_unit_and_weight(unit, weight):
    y, weights = np.float32([3, 3, 1, 2, 2.5, 2]), np.float32([1, 2, 1, 1, 2, 3])
    fit = isotonic_regression(np.float32(unit) * y, np.float32(weight) * weights)
    np.testing.assert_allclose(fit, unit * scipy_isotonic(y, weights=weights).x, rtol=1e-6)


@pytest.mark.parametrize("light", [1e-20, 1e-22, 1e-25])
def test_weights_whose_products_are_out_of_range(light):
    y = np.append(RNG.standard_normal(40), 9)
    weights = np.append(light * 10 ** RNG.uniform(0, 2, 40), 1)
    fit = isotonic_regression(y.astype(np.float32), weights.astype(np.float32))
    assert np.all(np.diff(fit) >= 0)
    np.testing.assert_allclose(fit, scipy_isotonic(y, weights=weights).x, atol=1e-5)


def test_weights_beyond_the_range_of_each_other():
    heavy, light = np.float32([1e25, 1e-13, 1e-13]), np.float32([1e-30, 1e-30, 1e8])
    np.testing.assert_allclose(isotonic_regression(np.float32([2, 5, 3]), heavy), [2, 4, 4])
    np.testing.assert_allclose(isotonic_regression(np.float32([5, 3, 7]), light), [4, 4, 7])


def test_bytes_in_another_order():
    np.testing.assert_array_equal(isotonic_regression(np.array([3, 1], ">f4")), [2, 2])


def test_integers_become_floats():
    fit = isotonic_regression([1, 3, 2])
    assert fit.dtype == np.float32
    np.testing.assert_array_equal(fit, [1, 2.5, 2.5])


@pytest.mark.parametrize(
    ("y", "weights", "message"),
    [
        (1.0, None, "y: expected shape"),
        (np.ones((2, 0)), None, "y: expected shape"),
        (np.ones(3), np.ones(2), "weights: expected the shape of y"),
        (np.ones(3), np.array([1.0, 0, 1]), "weights: expected all > 0"),
        (np.ones(3), np.array([1.0, np.inf, 1]), "weights: expected all > 0 and finite, got inf"),
        (np.ma.masked_greater(np.arange(3.0), 1), None, "y: expected an array without a mask"),
        (np.ones(3) + 0j, None, "y: expected real numbers, got complex"),
        (np.broadcast_to(np.float32(1), 2**24 + 1), None, "y: expected at most 16,777,216 values"),
    ],
)
def test_bad_input(y, weights, message):
    with pytest.raises(ValueError, match=message):
        isotonic_regression(y, weights)
