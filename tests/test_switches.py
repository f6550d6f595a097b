"""Lifting under JAX' own switches for careful programs."""

import gc
from contextlib import ExitStack, contextmanager, nullcontext

import jax
import numpy as np
import pytest

import deepmds_jax as dm
from deepmds_jax.data.sources import synthetic

pytestmark = pytest.mark.every_platform

TURNED = np.asarray(synthetic.load("flame51").mean) @ np.array(
    [[0.9, 0.1], [-0.1, 0.95], [0.4, 0.2]], np.float32)


@pytest.fixture(autouse=True)
def switches():
    with ExitStack() as stack:
        for switch in (jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"),
                       jax.debug_nans(True), jax.enable_x64(True)):
            stack.enter_context(switch)
        yield


@contextmanager
def checking_leaks():
    """Each trace collects garbage and looks for what holds it: not among objects from before."""
    gc.collect()
    gc.freeze()
    with jax.checking_leaks():
        yield
    gc.unfreeze()


@pytest.mark.parametrize("weights", ["flame51", "flame51_published"])
def test_reconstruct(weights):
    params = dm.load_pretrained(weights)
    # Traces all anew at every step: the derivative would take a minute.
    with checking_leaks() if weights == "flame51" else nullcontext():
        points = dm.reconstruct(params, TURNED)
    assert points.dtype == np.float32
    assert np.isfinite(points).all()
    assert np.isfinite(dm.place_in_image(points, TURNED).points).all()


def test_derivative_and_film():
    params = dm.load_pretrained("flame51")
    gradient = jax.jit(jax.grad(lambda x: dm.reconstruct(params, x)[:, 2].max()))(TURNED)
    assert np.isfinite(gradient).all()
    film = dm.reconstruct_sequence(params, np.stack([TURNED] * 3), frame_rate=25.0)
    assert np.isfinite(film.points).all()
