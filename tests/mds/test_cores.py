from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import assert_same, noisy_distances

from deepmds_jax import mds
from deepmds_jax.mds import cores
from deepmds_jax.mds.cores import map_in_blocks, map_on_cores


@jax.jit
def solve(x, y):
    y = 0 if y is None else y
    return {"sum": jnp.sum(x, axis=1) + y, "square": x**2}


map_in_jit = jax.jit(lambda *batch: map_on_cores(solve, *batch))


@pytest.mark.parametrize("size", [1, 2, 33, 70, 150])
@pytest.mark.parametrize("use_jit", [False, True])
def test_equals_the_direct_call(size, use_jit, dtype):
    x = jax.device_put(np.random.default_rng(0).standard_normal((size, 5)).astype(dtype))
    for y in (None, jax.device_put(np.arange(size, dtype=dtype))):
        found = map_in_jit(x, y) if use_jit else map_on_cores(solve, x, y)
        summed, added = np.asarray(x), 0 if y is None else np.asarray(y)
        expected = {"sum": np.sum(summed, axis=1) + added, "square": summed**2}
        for name in expected:
            assert found[name].dtype == dtype
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


class Card:
    """A device that says how much memory it has, or does not."""

    def __init__(self, stats):
        self.memory_stats = lambda: stats


@pytest.mark.parametrize(("stats", "fit"), [
    ({"bytes_limit": 10_000, "bytes_in_use": 1_000}, (10_000 - 1_000 - 3 * 5 * 4) // (24 * 4)),
    ({"bytes_limit": 10, "bytes_in_use": 9}, 1), ({}, 2**25), (None, 2**25)])
def test_a_chunk_leaves_room_for_what_is_computed_and_for_the_results(monkeypatch, stats, fit):
    x = jnp.zeros((3, 5), jnp.float32)
    monkeypatch.setattr(type(x), "devices", lambda x: {Card(stats)})
    assert cores._numbers_that_fit([x]) == fit


def test_large_batches_of_an_accelerator_are_solved_in_equal_parts(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(cores, "_numbers_that_fit", lambda arrays: 50)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((23, 5)), jnp.float32)
    sizes = []

    def counted(x, y):
        sizes.append(len(x))
        return solve(x, y)

    found = map_on_cores(counted, x, None)
    assert sizes == [8, 8, 8]  # the last of them overlap
    np.testing.assert_allclose(found["sum"], np.sum(x, axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [3, 4, 12, 14])
def test_blocks_equal_the_whole(size):
    x = np.random.default_rng(0).standard_normal((size, 5)).astype(np.float32)

    @jax.jit
    def both(x):
        def total(x):
            found = map_in_blocks(solve, x, None, block=4)
            return jnp.sum(found["square"] * jnp.arange(size)[:, None]), found

        return jax.grad(total, has_aux=True)(x)

    gradient, found = both(x)
    np.testing.assert_allclose(found["sum"], np.sum(x, axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["square"], x**2, rtol=1e-6)
    np.testing.assert_allclose(gradient, 2 * x * np.arange(size)[:, None], rtol=1e-5)


def test_an_error_comes_through():
    def fail(x):
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        map_on_cores(fail, jax.device_put(np.zeros((70, 2), np.float32)))


@pytest.mark.parametrize("transform", ["ordinal", "ratio"])
def test_a_large_batch_is_solved_as_one_by_one(transform):
    problems = np.stack([noisy_distances(seed) for seed in range(70)]).astype(np.float32)
    together = mds.smacof(problems, 2, transform=transform)
    assert len(set(together.num_iters.tolist())) > 10
    for i in [*range(0, 64, 9), *range(64, 70)]:
        alone = mds.smacof(problems[i], 2, transform=transform)
        assert_same(alone, jax.tree.map(lambda x, i=i: x[i], together))


def test_threads_have_the_settings_of_the_caller(monkeypatch):
    monkeypatch.setattr(cores, "num_cores", lambda: 2)
    seen = []

    def look(x):
        config = jax.config
        seen.append((config.jax_default_matmul_precision, config.jax_debug_nans))
        return solve(x, None)

    with jax.default_matmul_precision("highest"), jax.debug_nans(True):
        map_on_cores(look, jnp.ones((70, 5)))
    assert seen == 2 * [("highest", True)]


def test_calls_from_several_threads_neither_hang_nor_differ():
    problems = np.stack([noisy_distances(seed) for seed in range(70)]).astype(np.float32)

    def solve(_):
        return np.asarray(mds.smacof(problems, 2, transform="ratio").embedding)

    expected = solve(None)
    with ThreadPoolExecutor(6) as pool:
        for embedding in pool.map(solve, range(24), timeout=120):
            np.testing.assert_array_equal(embedding, expected)


def test_option_by_which_steps_run_in_turn_is_one_that_xla_takes():
    option = cores.one_after_another.__wrapped__()
    assert list(option) == ["xla_cpu_scheduler_type"]
    assert jax.jit(lambda x: 2 * x, compiler_options=option)(3) == 6


def test_an_xla_without_the_option_runs_without(monkeypatch):
    def refuse(*_, **options):
        raise jax.errors.JaxRuntimeError(f"No such compile option: {options}")

    monkeypatch.setattr(jax, "jit", refuse)
    assert cores.one_after_another.__wrapped__() == {}
