"""MobileFace, which the paper compares with: morphable-model coefficients from the photograph.

Chinaev, Chigorin & Laptev (2018), "MobileFace: 3D face reconstruction with efficient CNN
regression", arXiv:1809.08809.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.rendering import Appearance, render, sample_appearance
from deepmds_jax.data.views import Faces
from deepmds_jax.methods.arguments import require_model
from deepmds_jax.methods.contract import Method
from deepmds_jax.methods.counts import count_parameters
from deepmds_jax.methods.layers import apply_network, batch_norm
from deepmds_jax.methods.options import (
    check_positive,
    config_from_json,
    implied,
    name_topology,
    option,
)
from deepmds_jax.training.stage import FitStage, Stage, take_rows
from deepmds_jax.training.trainable import Run
from deepmds_jax.weights.keras import KerasLayers, read_keras_network

NAME, VARIANT, TITLE = "mobileface", "", "MobileFace"
STAGES = ("mobileface",)
IMAGE_SIZE = 96

_RELEASED = "deep_mobileface_occ.h5"
# Output channels of the pointwise convolutions at width 1, and the stride of each block.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)
_WIDTH = 0.3125
_PICTURES_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Config:
    """The static part of `Params`.

    Attributes:
      topology: name of the landmark topology, or the path of its file.
      num_coefficients: of the morphable model; training sets it to the model's.
      source: the data source whose model the coefficients are of; "" where it is not recorded.

    Raises:
      ValueError: unknown topology, or no coefficients.
    """

    topology: str
    num_coefficients: int = implied(199)
    source: str = implied("")

    def __post_init__(self):
        name_topology(self)
        check_positive(self, "num_coefficients")


@dataclasses.dataclass(frozen=True)
class Training:
    """Options of a training run.

    Attributes:
      epochs: passes over the faces.
      learning_rate: Adam's, which falls to 0.
    """

    epochs: int = option(100, "passes over the faces, 16 a step", lower_bound=1)
    learning_rate: float = option(1e-3, "Adam's, which falls to 0", lower_bound=0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Params:
    """Flax variables of `MobileFace`, and what they are for; a pytree."""

    network: Any
    config: Config = dataclasses.field(metadata={"static": True})


class MobileFace(nn.Module):
    """Maps photographs of faces to coefficients of a morphable model.

    MobileNet v1 of width 0.3125 without its classifier, flattened, then one dense layer. Called on
    (B, 96, 96, 3) float RGB in [0, 1]; returns (B, K): coefficients in standard deviations.

    Source: the release of Kamyab & Azimifar (2022), after Howard et al. (2017), "MobileNets",
    arXiv:1704.04861. 900,979 trainable parameters for K = 199.

    Attributes:
      num_coefficients: K.
    """

    num_coefficients: int

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        def convolve(x, name, channels, size, stride=1, groups=1):
            # A stride of 2 pads below and to the right only, as Keras does.
            before = (size - stride) // 2
            padding = ((before, size - stride - before),) * 2
            x = nn.Conv(channels, (size, size), stride, padding, feature_group_count=groups,
                        use_bias=False, name=name)(x)
            return nn.relu6(batch_norm(train, f"{name}_norm")(x))

        x = convolve(images, "conv", int(32 * _WIDTH), 3, stride=2)
        for i, (channels, stride) in enumerate(_BLOCKS, start=1):
            inputs = x.shape[-1]
            x = convolve(x, f"depthwise{i}", inputs, 3, stride, groups=inputs)
            x = convolve(x, f"pointwise{i}", int(channels * _WIDTH), 1)
        return nn.Dense(self.num_coefficients, name="dense")(x.reshape(*x.shape[:-3], -1))


def init(config: Config, key: jax.Array) -> Params:
    """A fresh random network."""
    network = MobileFace(config.num_coefficients)
    images = jnp.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3))
    # Lazily: the network itself need not be compiled to draw its weights.
    return Params(jax.jit(lambda key: network.lazy_init(key, images))(key), config)


def as_method(params: Params, reference: Dataset) -> Method:
    """The landmarks of the neutral face whose coefficients the network reads from the photograph.

    The points are in the head frame and the model's unit. `predict` looks at `Faces.images`
    alone: (F, 96, 96, 3) in [0, 1].

    Args:
      params: for K coefficients.
      reference: a morphable model with K identity modes or more; the first K are those that the
        network was trained for.

    Raises:
      ValueError: it is no morphable model, another one than the network's, or has fewer modes; from
        `predict`, faces without photographs or of another size.
    """
    config = params.config
    if config.source and config.source != reference.spec.source:
        raise ValueError(f"mobileface: the network gives coefficients of the model of the source "
                         f"{config.source}, not of {reference.spec.name}")
    return with_model(params, require_model("mobileface", reference))


def with_model(params: Params, model: MorphableModel) -> Method:
    """`as_method` with a given model."""
    num_coefficients = params.config.num_coefficients
    if model.identity.shape[0] < num_coefficients:
        raise ValueError(f"mobileface: the network gives {num_coefficients} coefficients, "
                         f"the model has {model.identity.shape[0]} modes")
    modes = model.identity[:num_coefficients]
    size = (IMAGE_SIZE, IMAGE_SIZE, 3)

    def predict(faces: Faces) -> jax.Array:
        if faces.images is None or faces.images.shape[1:] != size:
            found = "none" if faces.images is None else faces.images.shape[1:]
            raise ValueError(f"mobileface: expected photographs of {size}, got {found}")
        coefficients = apply_network(
            MobileFace(num_coefficients), params.network, faces.images)
        return model.mean + jnp.einsum("fk,knd->fnd", coefficients, modes)

    return Method(TITLE, predict, count_parameters(params.network)[0], needs_images=True)


def train(run: Run, dataset: Dataset, fit_stage: FitStage) -> Params:
    """Trains the network on pictures of the dense model's faces.

    Raises:
      ValueError: the dataset has no dense model, or there are too few faces.
    """
    init_key, faces_key, order_key, look_key = jax.random.split(jax.random.key(run.seed), 4)
    dense = dataset.dense
    config = dataclasses.replace(run.config, num_coefficients=dense.shape.identity.shape[0])
    faces = dataset.draw(faces_key, run.num_train)
    appearance = sample_appearance(look_key, dense, run.num_train)
    training = run.training
    assert faces.identity is not None  # of a model
    variables = fit_stage(
        stage(dense, draw_pictures(dense, faces, appearance), faces.identity,
              training.learning_rate, training.epochs),
        init(config, init_key).network, key=order_key, num_epochs=training.epochs)
    return assemble(config, {"mobileface": variables}, {})


def assemble(
    config: Config, trained: Mapping[str, Any], beside: Mapping[str, jax.Array]
) -> Params:
    """Parameters from the trained variables, which determine the number of coefficients."""
    del beside
    num_coefficients = trained["mobileface"]["params"]["dense"]["bias"].shape[0]
    config = dataclasses.replace(config, num_coefficients=num_coefficients)
    return Params(trained["mobileface"], config)


def draw_pictures(dense: DenseModel, faces: Faces, appearance: Appearance) -> jax.Array:
    """Pictures (F, 96, 96, 3) uint8 of all faces, drawn once, with a progress bar.

    Args:
      dense: the model that the faces are of.
      faces: with identity, expression and view.
      appearance: of each face.
    """
    pictured = (faces.identity, faces.expression, appearance, faces.view)
    draw = jax.jit(lambda *part: jnp.rint(255 * render(dense, *part)).astype(jnp.uint8))
    num_faces, pictures = len(faces.x2d), []
    for start in tqdm.trange(0, num_faces, _PICTURES_AT_ONCE, desc="pictures", mininterval=0.5):
        # The last ones overlap those before them, so that all are one program.
        at = max(0, min(start, num_faces - _PICTURES_AT_ONCE))
        rows = jnp.arange(at, min(at + _PICTURES_AT_ONCE, num_faces))
        pictures.append(np.asarray(draw(*take_rows(pictured, rows)))[start - at:])
    return jnp.asarray(np.concatenate(pictures))


def stage(
    dense: DenseModel,
    pictures: jax.Array,
    identity: jax.Array,
    learning_rate: float,
    num_epochs: int,
    faces_per_step: int = 16,
) -> Stage:
    """Photographs -> coefficients of the dense model.

    The loss is the mean squared difference of the coordinates of all vertices, in units of the
    model's own variation (1 for the mean face, on average), so that a coefficient counts as much
    as it moves the surface. It is a quadratic form of the coefficients' errors, and no surface is
    computed. Adam.

    Source: Chinaev, Chigorin & Laptev (2018); the release of Kamyab & Azimifar.

    Args:
      dense: the model that the faces are of.
      pictures: (F, 96, 96, 3) uint8.
      identity: (F, K) coefficients of the faces.
      learning_rate: Adam's at the start, which falls to 0.
      num_epochs: passes over the faces.
      faces_per_step: pictures in a minibatch.
    """
    num_faces, num_coefficients = identity.shape
    gram = _gram(dense.shape.identity)

    def minibatch(data, rows, key):
        pictures, identity = take_rows(data, rows, key)
        return pictures.astype(jnp.float32) / 255, identity

    def loss(outputs, targets):
        errors = outputs - targets
        return jnp.mean(jnp.sum(errors @ gram * errors, axis=-1))

    steps = max(1, num_epochs * (num_faces // faces_per_step))
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    # On CPU, XLA's convolutions take four times as long within a loop: a step at a time.
    max_chunk = 1 if jax.default_backend() == "cpu" else 100
    return Stage("mobileface", MobileFace(num_coefficients).apply, optimizer,
                 (pictures, identity), num_faces, faces_per_step, minibatch, loss, max_chunk)


@jax.jit
@jax.default_matmul_precision("highest")
def _gram(identity: jax.Array) -> jax.Array:
    """Products (K, K) of the (K, V, 3) modes, their trace 1."""
    modes = identity.reshape(identity.shape[0], -1)
    gram = modes @ modes.T
    return gram / jnp.trace(gram)


def to_tree(params: Params) -> Any:
    """The arrays as a weights file holds them."""
    return params.network


def from_tree(config: Config, tree: Any) -> Params:
    """The parameters whose arrays a weights file holds."""
    return Params(tree, config)


def read_config(metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> Config:
    """The configuration of a weights file; see `config_from_json` for what is raised."""
    if "config" not in metadata:  # files of the first development versions
        bias = tensors.get("params/dense/bias")
        return Config(metadata.get("topology", ""), 1 if bias is None else bias.size)
    return config_from_json(Config, metadata)


def load_released(folder: str | os.PathLike, topology: str) -> Params:
    """Loads the network that the authors of Deep-MDS published (s2kamyab/DeepMDS).

    Its coefficients are those of the Basel Face Model 2009's 199 shape modes.

    Args:
      folder: of the authors' .h5 files.
      topology: of the landmarks that are wanted.

    Raises:
      ValueError: a file that is missing, damaged or not of that network.
    """
    config = Config(topology, source="bfm")
    variables = read_keras_network(
        pathlib.Path(folder) / _RELEASED, MobileFace(config.num_coefficients),
        (IMAGE_SIZE, IMAGE_SIZE, 3), _rename_layers)
    return Params(variables, config)


def _rename_layers(layers: KerasLayers) -> KerasLayers:
    named = {}
    for name, arrays in layers.items():
        if "depthwise_kernel" in arrays:  # Keras has the channels in the last axis but one
            arrays = {"kernel": arrays["depthwise_kernel"].swapaxes(-1, -2)}
        named[_rename_layer(name)] = arrays
    return named


def _rename_layer(name: str) -> str:
    """conv_dw_3_bn -> depthwise3_norm; Keras numbers the dense layers of a session."""
    for pattern, replacement in (
        (r"_bn$", "_norm"), (r"^conv1", "conv"), (r"^conv_dw_", "depthwise"),
        (r"^conv_pw_", "pointwise"), (r"^dense_\d+$", "dense"),
    ):
        name = re.sub(pattern, replacement, name)
    return name
