"""A whole training run: faces, the autoencoder, the dissimilarity network, the weights file."""

import contextlib
import dataclasses
import os
import pathlib
from typing import Any

import jax

from deepmds_jax import weights
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.extras import require
from deepmds_jax.geometry import standardize
from deepmds_jax.reconstruct import Config, Params, init_params
from deepmds_jax.training.checkpoints import Checkpoints
from deepmds_jax.training.fit import fit
from deepmds_jax.training.interrupt import deferred_interrupt
from deepmds_jax.training.stages import autoencoder_stage, dissimilarity_stage

WEIGHTS_FILE = "weights.safetensors"


@dataclasses.dataclass(frozen=True)
class Run:
    """What makes a training run the same run.

    Attributes:
      config: topology, features and solver options of the weights.
      seed: of initial weights, faces, views and their order.
      num_train: faces.
      autoencoder_epochs, dissimilarity_epochs: passes over the faces.
      learning_rate: Adam's, in both stages.
    """

    config: Config
    seed: int = 0
    num_train: int = 20_000
    autoencoder_epochs: int = 100
    dissimilarity_epochs: int = 4
    learning_rate: float = 1e-3


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
      ValueError: `workdir` holds another run.
      FloatingPointError: a loss is not finite.
      KeyboardInterrupt: SIGINT or SIGTERM came; the run stopped where it can go on.
    """
    workdir = pathlib.Path(workdir)
    devices = devices or jax.local_devices()
    init_key, faces_key, *order_keys = jax.random.split(jax.random.key(run.seed), 4)
    params = dataclasses.replace(
        init_params(run.config, init_key), reference=standardize(dataset.mean)
    )
    faces = dataset.draw(faces_key, run.num_train)

    writer = require("tensorboardX", extra="train").SummaryWriter(str(workdir / "tensorboard"))
    checkpoints = Checkpoints(workdir, describe(run, dataset.spec), params.reference)
    closing = contextlib.closing
    with deferred_interrupt() as interrupted, closing(writer), closing(checkpoints):
        options = {
            "learning_rate": run.learning_rate, "devices": devices, "checkpoints": checkpoints,
            "writer": writer, "interrupted": interrupted,
        }
        trained = fit(autoencoder_stage(faces), params.autoencoder, key=order_keys[0],
                      num_epochs=run.autoencoder_epochs, **options)
        params = dataclasses.replace(params, autoencoder=trained)
        trained = fit(dissimilarity_stage(faces, params), params.dissimilarity, key=order_keys[1],
                      num_epochs=run.dissimilarity_epochs, **options)
        params = dataclasses.replace(params, dissimilarity=trained)
        metadata = {name: str(value) for name, value in describe(run, dataset.spec).items()}
        weights.save_params(workdir / WEIGHTS_FILE, params, metadata)
    return params


def describe(run: Run, spec: specs.DatasetSpec) -> dict[str, Any]:
    """The run as flat JSON: kept in its checkpoints and in the metadata of its weights."""
    options = {f.name: getattr(run, f.name) for f in dataclasses.fields(run) if f.name != "config"}
    return {
        **dataclasses.asdict(run.config), **options,
        "dataset": spec.name, "data": spec.title, "data_licence": spec.licence,
    }
