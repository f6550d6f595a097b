"""Depth by a plain network, from Zhao, Wang & Martinez (2017), arXiv:1609.09058."""

from typing import Any

import jax
import jax.numpy as jnp

from deepmds_jax.data.views import Faces
from deepmds_jax.methods.counts import count_parameters
from deepmds_jax.methods.method import Method
from deepmds_jax.models import ZhaoNetwork, zhao_normalize


def zhao(variables: dict[str, Any], y_up: bool = False) -> Method:
    """The observed x and y, with the depth that the network gives them.

    The points are in the image frame, centred, in units of (std of x + std of y).

    Args:
      variables: of `models.ZhaoNetwork`, trained on `zhao_normalize`d landmarks.
      y_up: whether it was trained with y up and depth toward the viewer, as the released weights
        were; else y points down and depth away from the viewer.
    """
    sign = -1 if y_up else 1

    def predict(faces: Faces) -> jax.Array:
        observed = zhao_normalize(faces.x2d)
        network = ZhaoNetwork(observed.shape[-2])
        depth = network.apply(variables, observed * jnp.array([1, sign], observed.dtype))
        return jnp.concatenate([observed, sign * depth[..., None]], axis=-1)

    return Method("Zhao et al.", predict, count_parameters(variables)[0])
