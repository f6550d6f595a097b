"""Coefficients of a morphable model from the photograph alone: the paper's MobileFace."""

from typing import Any

import jax
import jax.numpy as jnp

from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.views import Faces
from deepmds_jax.methods.counts import count_parameters
from deepmds_jax.methods.method import Method
from deepmds_jax.models import MobileFace
from deepmds_jax.models.mobileface import IMAGE_SIZE


def mobileface(variables: dict[str, Any], model: MorphableModel) -> Method:
    """The landmarks of the neutral face whose coefficients the network reads from the photograph.

    The points are in the head frame and the model's unit. `predict` looks at `Faces.images`
    alone: (F, 96, 96, 3) in [0, 1].

    Args:
      variables: of `models.MobileFace`, for K coefficients.
      model: with K identity modes or more, the first K those that the network was trained for.

    Raises:
      ValueError: the model has fewer modes than the network; from `predict`, faces without
        photographs or of another size.
    """
    num_coefficients = variables["params"]["dense"]["bias"].shape[0]
    if model.identity.shape[0] < num_coefficients:
        raise ValueError(f"mobileface: the network gives {num_coefficients} coefficients, "
                         f"the model has {model.identity.shape[0]} modes")
    modes = model.identity[:num_coefficients]
    size = (IMAGE_SIZE, IMAGE_SIZE, 3)

    def predict(faces: Faces) -> jax.Array:
        if faces.images is None or faces.images.shape[1:] != size:
            found = "none" if faces.images is None else faces.images.shape[1:]
            raise ValueError(f"mobileface: expected photographs of {size}, got {found}")
        coefficients = MobileFace(num_coefficients).apply(variables, faces.images)
        return model.mean + jnp.einsum("fk,knd->fnd", coefficients, modes)

    return Method("MobileFace", predict, count_parameters(variables)[0])
