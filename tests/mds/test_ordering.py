import jax
import numpy as np
import pytest

from deepmds_jax.mds import ordering

# Compiled once per shape, not operation by operation.
argsort = jax.jit(ordering.argsort)
argsort_even = jax.jit(ordering.argsort_even)
resort = jax.jit(ordering.resort)


@jax.jit
def orders(values):
    """By both sorts; and what inverting the first gives for itself and for the values."""
    order = ordering.argsort(values)
    back = ordering.inverse(order)
    return (order, ordering.argsort_even(values), ordering.take(back, order),
            ordering.take(ordering.take(values, order), back))


NUMBERS = range(2, 10)


@jax.jit
def pairs_of_all_numbers():
    return {n: (ordering.pair_codes(n), ordering.pair_positions(n)) for n in NUMBERS}


RNG = np.random.default_rng(0)
VALUES = {
    "random": RNG.exponential(size=300),
    "tied": RNG.integers(0, 5, 300).astype(float),
    "infinite": np.where(RNG.random(300) < 0.2, np.inf, RNG.random(300)),
    "near": 1 + np.finfo(np.float32).eps * RNG.integers(0, 50, 300),  # roundings apart
    "wide": 10.0 ** RNG.uniform(-30, 30, 300),
    "zeros": np.where(RNG.random(300) < 0.5, 0.0, np.where(RNG.random(300) < 0.5, -0.0, 1.0)),
}


@pytest.mark.parametrize("name", VALUES)
def test_agrees_with_numpy(name, dtype):
    values = VALUES[name].astype(dtype)
    order = argsort(values)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(order, np.argsort(values, kind="stable"))
    groups = RNG.integers(0, 7, 300).astype(np.int32)
    groups[:2] = 300, 0
    expected = np.lexsort([values, groups])  # stable; the last key comes first
    np.testing.assert_array_equal(argsort(values, groups), expected)


UNIT = {
    "random": RNG.random(300),
    "tied": RNG.integers(0, 5, 300) / 4,
    "infinite": np.where(RNG.random(300) < 0.2, np.inf, RNG.random(300)),
    "near": 1 - np.finfo(np.float32).eps * RNG.integers(0, 50, 300),  # one digit for all
    "nearly in order": np.sort(RNG.random(300)) + 1e-7 * RNG.random(300),
    "wide": 10.0 ** RNG.uniform(-30, 0, 300),
    "zeros": np.zeros(300),
}


@pytest.mark.parametrize("name", UNIT)
def test_one_digit_and_swaps_agree_with_numpy(name, dtype):
    values = np.minimum(UNIT[name], np.where(np.isinf(UNIT[name]), np.inf, 1)).astype(dtype)
    np.testing.assert_array_equal(argsort_even(values), np.argsort(values, kind="stable"))
    groups = np.sort(RNG.integers(0, 20, 300))
    order, moved = resort(values, groups[1:] == groups[:-1])
    expected = np.lexsort([values, groups])
    np.testing.assert_array_equal(order, expected)
    assert moved == np.any(expected != np.arange(300))


def test_resorting_ends_where_no_order_can_be_reached():
    values = np.array([0.5, -1, 0.2, -3, np.nan, 0.1], np.float32)
    for order in (argsort_even(values), resort(values)[0]):
        assert sorted(order.tolist()) == list(range(6))


@pytest.mark.parametrize("length", [1, 2, 3, 257])
def test_lengths(length):
    values = RNG.random(length).astype(np.float32)
    order, unit_order, numbers, same = orders(values)
    np.testing.assert_array_equal(order, np.argsort(values, kind="stable"))
    np.testing.assert_array_equal(unit_order, order)
    np.testing.assert_array_equal(numbers, np.arange(length))
    np.testing.assert_array_equal(same, values)


@pytest.mark.parametrize("num_points", NUMBERS)
def test_pairs(num_points):
    codes, positions = map(np.asarray, pairs_of_all_numbers()[num_points])
    i, j = np.divmod(codes, num_points)
    pairs = {(min(p), max(p)) for p in zip(i.tolist(), j.tolist(), strict=True)}
    assert pairs == set(zip(*(x.tolist() for x in np.triu_indices(num_points, 1)), strict=True))
    assert len(codes) == len(pairs)
    np.testing.assert_array_equal(positions[i, j], np.arange(len(codes)))
    np.testing.assert_array_equal(positions[j, i], np.arange(len(codes)))
