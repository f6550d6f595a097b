"""A whole training run: faces, the networks one after the other, the weights file."""

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from deepmds_jax import topologies, weights
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.rendering import sample_appearance
from deepmds_jax.data.views import Faces
from deepmds_jax.extras import require
from deepmds_jax.geometry import standardize
from deepmds_jax.lifting import Config, Params, init_params
from deepmds_jax.training.anchored import (
    CALIBRATION_FACES,
    calibrated,
    encoder_stage,
    joint_stage,
)
from deepmds_jax.training.checkpoints import Checkpoints, split_joint
from deepmds_jax.training.compared import mobileface_stage, zhao_stage
from deepmds_jax.training.fit import fit, loss_curve
from deepmds_jax.training.interrupt import deferred_interrupt
from deepmds_jax.training.stages import PAIRS, autoencoder_stage, dissimilarity_stage
from deepmds_jax.weights import networks

# Passes over the faces in the two stages that a variant takes to be good.
EPOCHS = {"published": (100, 4), "anchored": (60, 20)}


@dataclasses.dataclass(frozen=True)
class Run:
    """What makes a training run of Deep-MDS the same run.

    Attributes:
      config: topology, features and solver options of the weights.
      seed: of initial weights, faces, views and their order.
      num_train: faces.
      autoencoder_epochs, dissimilarity_epochs: passes over the faces in the first stage and in the
        second; of the anchored variant, the encoder's, and those of both networks together.
      learning_rate: Adam's, in both stages; the encoder of the anchored variant takes three times
        as much, and both fall to 0.
      pairs: of a minibatch of the dissimilarity network: of one "face", or "shuffled".
      end_to_end: whether the anchored variant's second stage learns through stress majorization.

    Raises:
      ValueError: `pairs` is neither, or shuffled where the network knows the landmarks.
    """

    config: Config
    seed: int = 0
    num_train: int = 20_000
    autoencoder_epochs: int = EPOCHS["published"][0]
    dissimilarity_epochs: int = EPOCHS["published"][1]
    learning_rate: float = 1e-3
    pairs: str = "face"
    end_to_end: bool = True

    def __post_init__(self):
        if self.pairs == "shuffled" and self.config.features == "identity":
            raise ValueError("pairs: features=identity takes all pairs of a face, got 'shuffled'")
        if self.pairs not in PAIRS:
            raise ValueError(f"pairs: expected one of {list(PAIRS)}, got {self.pairs!r}")


@dataclasses.dataclass(frozen=True)
class NetworkRun:
    """What makes a training run of a compared method's network the same run.

    Attributes:
      method: "zhao" or "mobileface".
      topology: name of the landmark topology.
      seed: of initial weights, faces, views, pictures and their order.
      num_train: faces.
      epochs: passes over the faces.
      learning_rate: of RMSprop (zhao) or Adam (mobileface).

    Raises:
      ValueError: unknown method or topology.
    """

    method: str
    topology: str
    seed: int = 0
    num_train: int = 20_000
    epochs: int = 100
    learning_rate: float = 1e-3

    def __post_init__(self):
        if self.method not in networks.METHODS:
            raise ValueError(f"method: expected one of {list(networks.METHODS)}, "
                             f"got {self.method!r}")
        topologies.get(self.topology)


def run_name(method: str, dataset: str, topology: str) -> str:
    """Of the folder of a run, within the folder of all."""
    name = f"{dataset}_{topology}"
    return name if method == "deep_mds" else f"{method}_{name}"


def train(
    run: Run,
    dataset: Dataset,
    workdir: str | os.PathLike,
    devices: list[jax.Device] | None = None,
) -> Params:
    """Trains both networks, first the autoencoder, then the dissimilarity network on its output.

    Checkpoints, TensorBoard curves and in the end `weights.safetensors` go to `workdir`. A run
    that was interrupted there goes on and ends at the same numbers.

    Args:
      run: what to train.
      dataset: where the faces come from, at `run.config.topology`.
      workdir: folder of the run.
      devices: to shard the minibatches over; all local ones by default.

    Returns:
      The trained parameters.

    Raises:
      ValueError: `workdir` holds another run, or there are too few faces for a minibatch.
      FloatingPointError: a loss is not finite.
      KeyboardInterrupt: SIGINT or SIGTERM came; the run stopped where it can go on.
    """
    description = describe(run, dataset.spec)
    init_key, faces_key, *order_keys = jax.random.split(jax.random.key(run.seed), 5)
    params = dataclasses.replace(
        init_params(run.config, init_key), reference=standardize(dataset.mean)
    )
    beside = {"reference": params.reference}
    save = functools.partial(weights.save_params, pathlib.Path(workdir) / weights.WEIGHTS_FILE,
                             metadata=_as_text(description))
    if run.config.variant == "anchored":
        points = dataset.draw_shapes(faces_key, run.num_train)
        with _files(workdir, description, beside, devices) as fit_stage:
            params = _train_anchored(run, dataset, params, points, fit_stage, order_keys)
            save(params)
        return params
    faces = dataset.draw(faces_key, run.num_train)
    stage = autoencoder_stage(faces, run.learning_rate)
    with _files(workdir, description, beside, devices) as fit_stage:
        trained = fit_stage(stage, params.autoencoder, key=order_keys[0],
                            num_epochs=run.autoencoder_epochs)
        params = dataclasses.replace(params, autoencoder=trained)
        stage = dissimilarity_stage(faces, params, run.learning_rate, run.pairs)
        trained = fit_stage(stage, params.dissimilarity, key=order_keys[1],
                            num_epochs=run.dissimilarity_epochs)
        params = dataclasses.replace(params, dissimilarity=trained)
        save(params)
    return params


def _train_anchored(run, dataset, params, points, fit_stage, keys):
    """The encoder from the mean face on, then both networks together."""
    faces = dataset.spec, dataset.topology, dataset.mean, points
    mean = {**params.autoencoder["params"], "mean": params.reference}
    stage = encoder_stage(*faces, 3 * run.learning_rate, run.autoencoder_epochs)
    encoder = fit_stage(stage, {"params": mean}, key=keys[0], num_epochs=run.autoencoder_epochs)
    stage = joint_stage(*faces, run.learning_rate, run.dissimilarity_epochs, run.end_to_end)
    both = {"encoder": encoder["params"], "pairs": params.dissimilarity["params"]}
    both = fit_stage(stage, {"params": both}, key=keys[1], num_epochs=run.dissimilarity_epochs)
    shapes_key, views_key = jax.random.split(keys[2])
    points = dataset.draw_shapes(shapes_key, CALIBRATION_FACES)
    both = jax.device_get(calibrated(both, *faces[:3], points, views_key))
    return dataclasses.replace(params, **split_joint(both))


def train_network(
    run: NetworkRun,
    dataset: Dataset,
    workdir: str | os.PathLike,
    devices: list[jax.Device] | None = None,
) -> Any:
    """Trains the network of a compared method; files, resuming and errors are as `train`'s.

    Args:
      run: what to train.
      dataset: where the faces come from, at `run.topology`; mobileface needs a dense model.
      workdir: folder of the run.
      devices: to shard the minibatches over; all local ones by default.

    Returns:
      The trained variables of the Flax module.

    Raises:
      ValueError: besides what `train` raises, the dataset cannot train the method.
    """
    description = describe(run, dataset.spec)
    init_key, faces_key, order_key, look_key = jax.random.split(jax.random.key(run.seed), 4)
    if run.method == "zhao":
        network, example = networks.zhao_network(run.topology)
        stage = zhao_stage(dataset.draw(faces_key, run.num_train), run.learning_rate)
    else:
        dense = dataset.dense
        network, example = networks.mobileface_network(dense.shape.identity.shape[0])
        faces = dataset.draw(faces_key, run.num_train)
        appearance = sample_appearance(look_key, dense, run.num_train)
        stage = mobileface_stage(dense, faces, appearance, run.learning_rate)
    # Lazily: the network itself need not be compiled to draw its weights.
    variables = jax.jit(lambda key: network.lazy_init(key, example))(init_key)
    with _files(workdir, description, {}, devices) as fit_stage:
        variables = fit_stage(stage, variables, key=order_key, num_epochs=run.epochs)
        networks.save_network(pathlib.Path(workdir) / weights.WEIGHTS_FILE, run.method,
                              run.topology, variables, _as_text(description))
    return variables


def dissimilarity_curve(
    params: Params,
    faces: Faces,
    pairs: str,
    *,
    key: jax.Array,
    num_epochs: int = 1,
    learning_rate: float = 1e-3,
) -> np.ndarray:
    """Losses of a fresh dissimilarity network in training, for the comparison of Fig. 6.

    Args:
      params: whose autoencoder and features are used; its dissimilarity network is not.
      faces: to train on.
      pairs: of a minibatch: of one "face", or "shuffled" over all.
      key: of the initial weights and of what steps are for.
      num_epochs: passes over the faces, a step each.
      learning_rate: Adam's.

    Returns:
      (num_epochs * F,) float32, the mean squared error of each minibatch before its step.
    """
    init_key, order_key = jax.random.split(key)
    variables = init_params(params.config, init_key).dissimilarity
    stage = dissimilarity_stage(faces, params, learning_rate, pairs)
    return loss_curve(stage, variables, key=order_key, num_epochs=num_epochs)


def describe(run: Run | NetworkRun, spec: specs.DatasetSpec) -> dict[str, Any]:
    """The run as flat JSON: kept in its checkpoints and in the metadata of its weights."""
    own = {f.name: getattr(run, f.name) for f in dataclasses.fields(run)}
    if isinstance(run, Run):
        own = {"method": "deep_mds", **dataclasses.asdict(own.pop("config")), **own}
    return {**own, "dataset": spec.name, "data": spec.title, "data_licence": spec.licence}


def _as_text(description: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in description.items()}


@contextlib.contextmanager
def _files(
    workdir: str | os.PathLike,
    description: dict[str, Any],
    beside: dict[str, jax.Array],
    devices: list[jax.Device] | None,
) -> Iterator[Callable[..., Any]]:
    """`fit` with the checkpoints and the curves of a run; nothing is made for another run."""
    tensorboard = require("tensorboardX", extra="train")
    checkpoints = Checkpoints(workdir, description, beside)
    checkpoints.check()
    writer = tensorboard.SummaryWriter(str(pathlib.Path(workdir) / "tensorboard"))
    closing = contextlib.closing
    with deferred_interrupt() as interrupted, closing(writer), closing(checkpoints):
        yield functools.partial(
            fit, devices=devices or jax.local_devices(), checkpoints=checkpoints, writer=writer,
            interrupted=interrupted,
        )
