"""The two stages of training: what each network is shown, and what it should answer.

Both minimise the mean squared error by Adam (paper, eq. 7 and 8).
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax

from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import centre, min_max
from deepmds_jax.mds import distances
from deepmds_jax.models import Autoencoder, DissimilarityNetwork, pair_features
from deepmds_jax.reconstruct import Params, frontalize


@dataclasses.dataclass(frozen=True)
class Stage:
    """Training of one network.

    Attributes:
      name: of the stage and of its checkpoint folder; the field of `Params` it trains.
      network: the Flax module.
      data: pytree of arrays with one row per training face.
      minibatch: from some rows of `data` to inputs (B, ...) and targets (B, ...) of the network.
      faces_per_step: rows per minibatch.
    """

    name: str
    network: nn.Module
    data: tuple[jax.Array, jax.Array]
    minibatch: Callable[[tuple[jax.Array, jax.Array]], tuple[jax.Array, jax.Array]]
    faces_per_step: int


def autoencoder_stage(faces: Faces, faces_per_step: int = 16) -> Stage:
    """Any view -> x and y of the 3D landmarks, min-max scaled jointly over x, y and z (eq. 7)."""
    data = (min_max(centre(faces.x2d)), min_max(faces.points)[..., :2])
    network = Autoencoder(faces.x2d.shape[-2])
    return Stage("autoencoder", network, data, lambda rows: rows, faces_per_step)


def dissimilarity_stage(faces: Faces, params: Params) -> Stage:
    """Pairs of frontal landmarks -> their 3D distance (eq. 8).

    A minibatch is all N x N ordered pairs of one face, the better of the paper's two schemes
    (Fig. 6); their 2D positions are the trained autoencoder's output.
    """
    frontal = jax.jit(frontalize)(params, faces.x2d)

    def minibatch(rows):
        frontal, points = rows
        features = pair_features(frontal, params.config.features)
        return features.reshape(-1, features.shape[-1]), distances(points).reshape(-1)

    data = (frontal, min_max(faces.points))
    return Stage("dissimilarity", DissimilarityNetwork(), data, minibatch, 1)
