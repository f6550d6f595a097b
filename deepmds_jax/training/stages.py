"""What a network is shown, and what it should answer: a stage, and the two of Deep-MDS.

Both minimise the mean squared error by Adam (paper, eq. 7 and 8).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import centre, min_max
from deepmds_jax.lifting import Params, dissimilarity_network, frontalize
from deepmds_jax.mds import distances
from deepmds_jax.models import Autoencoder, pair_features

PAIRS = ("face", "shuffled")


def mean_squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over all numbers of the squared differences."""
    return jnp.mean((outputs - targets) ** 2)


@dataclasses.dataclass(frozen=True)
class Stage:
    """Training of one network.

    Attributes:
      name: of the stage and of its checkpoint folder.
      apply: (variables, inputs, mutable, and train=True where there are statistics) to outputs and
        changed statistics, as Flax' modules do.
      optimizer: of its parameters.
      data: pytree of arrays that minibatches are made of.
      num_faces: training faces in `data`.
      faces_per_step: of these, in the order of the epoch, a step is for.
      minibatch: pure, from `data`, the (faces_per_step,) rows of the faces, and a random key of
        the step to inputs and targets of the network, pytrees of arrays (B, ...).
      loss: of outputs and targets, a number.
      max_chunk: most steps between two looks at the loss, which are compiled into one loop.

    Raises:
      ValueError: there are fewer faces than a step takes.
    """

    name: str
    apply: Callable[..., tuple[Any, Any]]
    optimizer: optax.GradientTransformation
    data: Any
    num_faces: int
    faces_per_step: int
    minibatch: Callable[[Any, jax.Array, jax.Array], tuple[Any, Any]]
    loss: Callable[[Any, Any], jax.Array] = mean_squared_error
    max_chunk: int = 500

    def __post_init__(self):
        if self.num_faces < self.faces_per_step:
            raise ValueError(f"num_train: a minibatch takes {self.faces_per_step} faces, "
                             f"got {self.num_faces}")

    @property
    def steps_per_epoch(self) -> int:
        """Of a pass over the faces; those that fill no step are left out of it."""
        return self.num_faces // self.faces_per_step

    @property
    def chunk_size(self) -> int:
        """Steps between two looks at the loss; they make up whole epochs."""
        sizes = range(1, self.max_chunk + 1)
        return max(size for size in sizes if self.steps_per_epoch % size == 0)


def take_rows(data: Any, rows: jax.Array, key: jax.Array) -> Any:
    """The minibatch of data that are inputs and targets with a row per face each."""
    return jax.tree.map(lambda x: x[rows], data)


def autoencoder_stage(faces: Faces, learning_rate: float, faces_per_step: int = 16) -> Stage:
    """Any view -> x and y of the 3D landmarks, min-max scaled jointly over x, y and z (eq. 7)."""
    num_faces, num_landmarks, _ = faces.x2d.shape
    data = (min_max(centre(faces.x2d)), min_max(faces.points)[..., :2])
    return Stage("autoencoder", Autoencoder(num_landmarks).apply, optax.adam(learning_rate), data,
                 num_faces, faces_per_step, take_rows)


def dissimilarity_stage(
    faces: Faces, params: Params, learning_rate: float, pairs: str = "face"
) -> Stage:
    """Pairs of frontal landmarks -> their 3D distance (eq. 8).

    Their 2D positions are the trained autoencoder's output. The paper's Fig. 6 compares two
    minibatches of N^2 ordered pairs: all of one face ("face", the better one), and each from a
    face of its own ("shuffled"), drawn from all pairs of all faces with replacement.
    """
    num_faces, num_landmarks, _ = faces.x2d.shape
    data = (jax.jit(frontalize)(params, faces.x2d), min_max(faces.points))

    def one_face(data, rows, key):
        frontal, points = take_rows(data, rows, key)
        features = pair_features(frontal, params.config.features)
        return features.reshape(-1, features.shape[-1]), distances(points).reshape(-1)

    def shuffled(data, rows, key):
        face_key, pair_key = jax.random.split(key)
        face = jax.random.randint(face_key, (num_landmarks**2, 1), 0, num_faces)
        pair = jax.random.randint(pair_key, (num_landmarks**2, 2), 0, num_landmarks)
        frontal, points = (x[face, pair] for x in data)
        features = pair_features(frontal, params.config.features)
        return features[:, 0, 1], distances(points)[:, 0, 1]

    minibatch = {"face": one_face, "shuffled": shuffled}[pairs]
    return Stage("dissimilarity", dissimilarity_network(params.config).apply,
                 optax.adam(learning_rate), data, num_faces, 1, minibatch)
