"""Matrix products keep all their digits also where the device's default is fewer (TPU, GPU).

A CPU ignores the setting, so the traced programs are read, not run.
"""

import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import core

import deepmds_jax as dm
from deepmds_jax import geometry, landmark_order, mds
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.specs import find_folder, load_spec
from deepmds_jax.geometry.cameras import rotation_from_angles, rotation_from_vector, turn_in_image
from deepmds_jax.mds.transforms import TRANSFORMS

pytestmark = pytest.mark.every_platform

HIGHEST = lax.Precision.HIGHEST
POINTS = np.random.default_rng(0).normal(size=(3, 12, 3)).astype(np.float32)
APART = np.linalg.norm(POINTS[:, :, None] - POINTS[:, None], axis=-1)


def products(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """All matrix products of a program, those of its loops and branches included."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            yield eqn
        for part in jax.tree.leaves(list(eqn.params.values()), is_leaf=is_program):
            if is_program(part):
                yield from products(getattr(part, "jaxpr", part))


def is_program(x: object) -> bool:
    return isinstance(x, (core.Jaxpr, core.ClosedJaxpr))


def derivative(f):
    return jax.grad(lambda x: sum(jnp.sum(y**3) for y in jax.tree.leaves(f(x))
                                  if jnp.issubdtype(y.dtype, jnp.floating)))


def scaled(transform):
    return lambda d: mds.smacof(d, 2, transform=transform).embedding


def lifted(weights):
    return lambda x2d: dm.reconstruct(dm.load_pretrained(weights), x2d)


def drawn(shape):
    spec = load_spec("synthetic")
    dataset = open_dataset(spec, "flame51", find_folder(spec, pathlib.Path()))
    return dataset.draw(jax.random.key(0), len(shape)).x2d


CASES = {
    **{f"smacof {x}": (scaled(x), APART) for x in TRANSFORMS},
    **{f"derivative of smacof {x}": (derivative(scaled(x)), APART[0])
       for x in ("ratio", "interval", "ordinal")},
    "robust": (lambda d: mds.smacof_robust(d, 2), APART[0]),
    "unfold": (lambda d: mds.unfold(d, 2), APART[0, :5]),
    "individual_differences": (lambda d: mds.individual_differences(d, 2), APART),
    "smacof_anchored": (
        lambda d: mds.smacof_anchored(d, POINTS[0], np.ones_like(POINTS[0])), APART[0]),
    "classical_detailed": (mds.classical_detailed, APART),
    "additive_constant": (mds.additive_constant, APART),
    "fit_vectors": (lambda x: mds.fit_vectors(x, POINTS[1]), POINTS[0]),
    "to_principal_axes": (mds.to_principal_axes, POINTS[0]),
    "procrustes": (lambda x: geometry.procrustes(x, POINTS[1])(x), POINTS[0]),
    "derivative of procrustes": (
        derivative(lambda x: geometry.procrustes(x, POINTS[1])(x)), POINTS[0]),
    "derivative of nearest_orthogonal": (
        derivative(lambda m: geometry.nearest_orthogonal(m, reflection=True)), POINTS[:, :3]),
    "icp": (lambda x: geometry.icp(x, x, POINTS[1], geometry.procrustes(x, POINTS[1])), POINTS[0]),
    "reconstruct flame51": (lifted("flame51"), np.ones((2, 51, 2), np.float32)),
    "derivative of reconstruct": (derivative(lifted("flame51")), np.ones((51, 2), np.float32)),
    "reconstruct ibug68_published": (lifted("ibug68_published"), np.ones((68, 2), np.float32)),
    "order of landmarks": (
        lambda w: landmark_order.gains(jnp.ones((1, 51, 2)), w, "flame51"),
        np.eye(51, dtype=np.float32)),
    "turn": (lambda v: turn_in_image(rotation_from_angles(*v)[:2, :2], rotation_from_vector(v)),
             np.ones(3, np.float32)),
    "faces drawn": (drawn, np.ones(4)),
}


@pytest.mark.parametrize("name", CASES)
def test_products_keep_all_digits(name):
    function, argument = CASES[name]
    found = list(products(jax.make_jaxpr(function)(argument).jaxpr))
    assert found, "no matrix product at all"
    short = {str(eqn) for eqn in found if eqn.params["precision"] != (HIGHEST, HIGHEST)}
    assert not short
