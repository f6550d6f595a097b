"""Fixtures of the methods' tests."""

import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def random_params():
    """Makes parameters of a method, all of them random; compiles nothing."""

    def make(method, config):
        rng = np.random.default_rng(0)
        shapes = jax.eval_shape(lambda: method.init(config, jax.random.key(0)))
        return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)

    return make


@pytest.fixture(scope="module")
def quick_compilation():
    """Programs with few optimizations: for training, where compiling takes longer than running."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
