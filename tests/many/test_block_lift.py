"""Blocks by the real weights: what a row gets does not depend on its block."""

import jax
import numpy as np
import pytest

from deepmds_jax.geometry import angles_from_rotation
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.many import lift as many_lift
from deepmds_jax.many.lift import BlockLift
from deepmds_jax.mds import Status
from deepmds_jax.methods.saved import load_pretrained

ROWS = 10  # as in test_landmark_order: what is compiled serves both


@pytest.fixture(scope="module")
def params():
    return load_pretrained("flame51")


@pytest.fixture(scope="module")
def faces(params):
    """Landmarks (10, 51, 2) in pixels, far from the origin, with noise; (10, 51) if visible."""
    rng = np.random.default_rng(0)
    mean = np.asarray(params.reference)[:, :2]
    noise = rng.normal(size=(ROWS, 51, 2), scale=0.02)
    visible = np.ones((ROWS, 51), bool)
    visible[1, :10] = False
    return (mean + noise) * 100 + [[[500, 400]]], visible


def test_blocks_give_what_reconstruct_gives(params, faces, monkeypatch):
    monkeypatch.setattr(many_lift, "BLOCK_ROWS", ROWS)
    x2d, visible = faces
    lift = BlockLift(params)
    whole = lift(x2d, visible)
    found = jax.jit(reconstruct_detailed)(params, (x2d - [500, 400]).astype(np.float32), visible)
    for name in ("points", "std", "rotation"):
        np.testing.assert_allclose(whole[name], getattr(found, name), atol=1e-4)
    np.testing.assert_array_equal(whole["status"], [Status.CONVERGED] * ROWS)
    for name, angle in zip(("yaw", "pitch", "roll"), angles_from_rotation(found.rotation),
                           strict=True):
        np.testing.assert_allclose(whole[name], angle, atol=0.01)

    far = x2d[1:3] + 1e9  # which float32 cannot hold
    far[1] = 0  # a bad row
    short = lift(far, visible[1:3])
    np.testing.assert_allclose(short["points"][0], whole["points"][1], atol=1e-4)
    assert np.isnan(short["points"][1]).all()
    assert lift(far[:0], visible[:0])["points"].shape == (0, 51, 3)
    assert len(lift._programs) == 1
