"""Two predictors that learn nothing, to keep the others honest."""

import jax
import jax.numpy as jnp

from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.views import Faces
from deepmds_jax.methods.arguments import refuse_argument
from deepmds_jax.methods.contract import Method
from deepmds_jax.methods.observed import observed


def mean_shape(mean: jax.Array) -> Method:
    """The mean face (N, 3), or another shape, whatever the landmarks."""

    def predict(faces: Faces) -> jax.Array:
        return jnp.broadcast_to(mean, (*faces.x2d.shape[:-1], 3))

    return Method("mean shape", predict, 0)


def posed_mean(mean: jax.Array) -> Method:
    """The mean face (N, 3) posed to the landmarks, its x and y replaced by the observed ones.

    Only depth and pose are guessed. The points are in the image frame and the landmarks' unit.
    """
    return observed(mean_shape(mean))._replace(title="posed mean")


def load_mean_shape(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    """The loader of `mean_shape`: the mean of the reference."""
    del dataset
    refuse_argument("mean_shape", argument)
    return mean_shape(reference.mean)


def load_posed_mean(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    """The loader of `posed_mean`: the mean of the reference."""
    del dataset
    refuse_argument("posed_mean", argument)
    return posed_mean(reference.mean)
