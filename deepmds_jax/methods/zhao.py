"""Depth by a plain network, after Zhao, Wang & Martinez (2017): the paper compares with it.

"A simple, fast and highly-accurate algorithm to recover 3D shape from 2D landmarks on a single
image", arXiv:1609.09058.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from deepmds_jax import topologies
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import centre, rotation_from_angles
from deepmds_jax.methods.contract import Method
from deepmds_jax.methods.counts import count_parameters
from deepmds_jax.methods.layers import apply_network
from deepmds_jax.methods.options import config_from_json, implied, name_topology, option
from deepmds_jax.training.stage import FitStage, Stage, take_rows
from deepmds_jax.training.trainable import Run
from deepmds_jax.weights.keras import number_layers, read_keras_network

NAME, VARIANT, TITLE = "zhao", "", "Zhao et al."
STAGES = ("zhao",)

_RELEASED = {"bfm72": "deep_PAMI_occ1.h5", "flame51": "deep_PAMI_depth_FLAME.h5"}


@dataclasses.dataclass(frozen=True)
class Config:
    """The static part of `Params`.

    Attributes:
      topology: name of the landmark topology, or the path of its file.
      y_up: whether the network was trained with y up and depth toward the viewer, as the authors'
        was; else y points down and depth away from the viewer.

    Raises:
      ValueError: unknown topology.
    """

    topology: str
    y_up: bool = implied(False)

    def __post_init__(self):
        name_topology(self)


@dataclasses.dataclass(frozen=True)
class Training:
    """Options of a training run.

    Attributes:
      epochs: passes over the faces.
      learning_rate: of RMSprop.
    """

    epochs: int = option(100, "passes over the faces, 16 a step", lower_bound=1)
    learning_rate: float = option(1e-3, "RMSprop's", lower_bound=0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Params:
    """Flax variables of `ZhaoNetwork`, and what they are for; a pytree."""

    network: Any
    config: Config = dataclasses.field(metadata={"static": True})


class ZhaoNetwork(nn.Module):
    """Maps (..., N, 2) landmarks from `normalize` to their depths (..., N), same scale.

    Five tanh layers of 2N and one of N; 114,840 parameters for N = 72. In the released weights
    depth points towards the viewer and the image's y up.

    Source: Zhao, Wang & Martinez (2017); the release's reading of it.

    Attributes:
      num_landmarks: N.
    """

    num_landmarks: int

    @nn.compact
    def __call__(self, x2d: jax.Array) -> jax.Array:
        x = x2d.reshape(*x2d.shape[:-2], 2 * self.num_landmarks)
        for i in range(1, 6):
            x = nn.tanh(nn.Dense(2 * self.num_landmarks, name=f"dense{i}")(x))
        return nn.tanh(nn.Dense(self.num_landmarks, name="dense6")(x))


def normalize(x2d: jax.Array) -> jax.Array:
    """Centres (..., N, 2) landmarks and divides them by (std of x + std of y)."""
    centred = centre(x2d)
    return centred / jnp.sum(jnp.std(centred, axis=-2), axis=-1)[..., None, None]


def init(config: Config, key: jax.Array) -> Params:
    """A fresh random network."""
    num_landmarks = topologies.get(config.topology).num_landmarks
    network = ZhaoNetwork(num_landmarks)
    # Lazily: the network itself need not be compiled to draw its weights.
    variables = jax.jit(lambda key: network.lazy_init(key, jnp.zeros((1, num_landmarks, 2))))(key)
    return Params(variables, config)


def as_method(params: Params, reference: Dataset | None = None) -> Method:
    """The observed x and y, with the depth that the network gives them.

    The points are in the image frame, centred, in units of (std of x + std of y).
    """
    del reference
    sign = -1 if params.config.y_up else 1

    def predict(faces: Faces) -> jax.Array:
        observed = normalize(faces.x2d)
        network = ZhaoNetwork(observed.shape[-2])
        turned = observed * jnp.array([1, sign], observed.dtype)
        depth = apply_network(network, params.network, turned)
        return jnp.concatenate([observed, sign * depth[..., None]], axis=-1)

    return Method(TITLE, predict, count_parameters(params.network)[0])


def train(run: Run, dataset: Dataset, fit_stage: FitStage) -> Params:
    """Trains the network.

    Raises:
      ValueError: the view of the faces is not known, or there are too few faces.
    """
    init_key, faces_key, order_key, _ = jax.random.split(jax.random.key(run.seed), 4)
    faces = dataset.draw(faces_key, run.num_train)
    variables = fit_stage(
        stage(faces, run.training.learning_rate), init(run.config, init_key).network,
        key=order_key, num_epochs=run.training.epochs)
    return assemble(run.config, {"zhao": variables}, {})


def assemble(
    config: Config, trained: Mapping[str, Any], beside: Mapping[str, jax.Array]
) -> Params:
    """Parameters from the trained variables."""
    del beside
    return Params(trained["zhao"], config)


def stage(faces: Faces, learning_rate: float, faces_per_step: int = 16) -> Stage:
    """Normalised landmarks -> their depths as seen from the view, in the scale of the landmarks.

    The depths are those of the true shape turned as the view turns it, so that the observed x and
    y and the estimated z are one shape, posed as in the image; perspective changes x and y only.
    They are centred and divided by what `normalize` divides x and y by. Mean squared error by
    RMSprop with Keras' defaults; the minibatch is the autoencoder's: the sources give none. The
    network's tanh cannot answer beyond -1 and 1: in the paper's views 2 to 3 % of the depths of
    `synthetic` lie there, those of the jaw and the ears seen from the side, and it falls short of
    them.

    Source: Zhao, Wang & Martinez (2017), section 2; the release of Kamyab & Azimifar.

    Raises:
      ValueError: the view of the faces is not known.
    """
    if faces.view is None:
        raise ValueError("method zhao: it is trained on faces whose view is known; photographs "
                         "are for testing")
    num_faces, num_landmarks, _ = faces.x2d.shape
    data = (normalize(faces.x2d), depths(faces))
    # With these options, optax' RMSprop is Keras'.
    optimizer = optax.rmsprop(learning_rate, decay=0.9, eps=1e-7, eps_in_sqrt=False)
    return Stage("zhao", ZhaoNetwork(num_landmarks).apply, optimizer, data, num_faces,
                 faces_per_step, take_rows)


@jax.jit
@jax.default_matmul_precision("highest")
def depths(faces: Faces) -> jax.Array:
    """Depths (F, N) of the shapes as seen, away from the viewer, scaled as `normalize` does.

    Args:
      faces: with their points and view.
    """
    view = faces.view
    assert view is not None
    rotation = rotation_from_angles(view.yaw, view.pitch, view.roll)
    depths = jnp.einsum("fnd,fd->fn", centre(faces.points), rotation[:, 2]) * view.scale[:, None]
    return depths / jnp.sum(jnp.std(faces.x2d, axis=-2), axis=-1)[:, None]


def to_tree(params: Params) -> Any:
    """The arrays as a weights file holds them."""
    return params.network


def from_tree(config: Config, tree: Any) -> Params:
    """The parameters whose arrays a weights file holds."""
    return Params(tree, config)


def read_config(metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> Config:
    """The configuration of a weights file; see `config_from_json` for what is raised."""
    del tensors
    if "config" not in metadata:  # files of the first development versions
        return Config(metadata.get("topology", ""))
    return config_from_json(Config, metadata)


def load_released(folder: str | os.PathLike, topology: str) -> Params:
    """Loads the network that the authors of Deep-MDS published (s2kamyab/DeepMDS).

    Args:
      folder: of the authors' .h5 files.
      topology: "bfm72" or "flame51".

    Raises:
      ValueError: another topology, or a file that is missing, damaged or not of that network.
    """
    if topology not in _RELEASED:
        raise ValueError(f"topology: the authors released weights for {list(_RELEASED)}, "
                         f"got {topology!r}")
    num_landmarks = topologies.get(topology).num_landmarks
    path = pathlib.Path(folder) / _RELEASED[topology]
    variables = read_keras_network(
        path, ZhaoNetwork(num_landmarks), (num_landmarks, 2), number_layers)
    return Params(variables, Config(topology, y_up=True))
