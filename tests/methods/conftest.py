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
