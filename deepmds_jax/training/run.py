"""A whole training run: its checkpoints, its curves and in the end its weights file."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence
from os import PathLike
from typing import Any

import jax

from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.specs import DatasetSpec
from deepmds_jax.extras import require
from deepmds_jax.training.checkpoints import Checkpoints, sole_training
from deepmds_jax.training.interrupt import deferred_interrupt
from deepmds_jax.training.loop import fit
from deepmds_jax.training.processes import Processes
from deepmds_jax.training.trainable import Run, TrainableMethod
from deepmds_jax.training.weights_file import define_topology, write_params
from deepmds_jax.weights.locate import FILE_NAME


def train(
    method: TrainableMethod,
    run: Run,
    dataset: Dataset,
    workdir: str | PathLike,
    devices: Sequence[Any] | None = None,
) -> Any:
    """Trains a method, stage after stage.

    Checkpoints, TensorBoard curves and in the end `weights.safetensors` go to `workdir`. A run that
    was interrupted there goes on and ends at the same numbers.

    After `jax.distributed.initialize`, all processes call this with the same arguments and train
    one run together, on the devices of all. The first one alone reads and writes `workdir` and
    shows progress; the faces of the dataset are read by each. The run may be continued by another
    number of processes.

    Args:
      method: what to train.
      run: its options.
      dataset: where the faces come from, at `run.config.topology`.
      workdir: folder of the run.
      devices: to shard the minibatches over: of this process alone, or of all processes; all that
        there are by default.

    Returns:
      The trained parameters.

    Raises:
      ValueError: `workdir` holds another run, or another process trains there; the dataset cannot
        train the method, or there are too few faces for a minibatch; another process failed, or
        was given another run.
      FloatingPointError: a loss is not finite.
      KeyboardInterrupt: SIGINT or SIGTERM came, to any process; the run stopped where it can go
        on, all processes at the same step.
      ImportError: what training needs is not installed.
    """
    tensorboard = require("tensorboardX", extra="train")
    description = describe(method, run, dataset.spec)
    devices = devices or jax.devices()
    processes = Processes.of(devices)
    processes.check_same(description)
    with contextlib.ExitStack() as files:
        opened: dict[str, Any] = {}

        def fit_stage(stage, variables, *, key, num_epochs, beside=None):
            if not opened:  # nothing is made for a run that cannot begin
                checkpoints = Checkpoints(workdir, description, beside or {})
                writer = processes.lead(begin, checkpoints)
                opened["interrupted"] = files.enter_context(deferred_interrupt())
                if writer is not None:
                    opened["writer"] = files.enter_context(contextlib.closing(writer))
                opened["checkpoints"] = files.enter_context(contextlib.closing(checkpoints))
            return fit(stage, variables, key=key, num_epochs=num_epochs, devices=devices,
                       progress=processes.leads, **opened)

        def begin(checkpoints):
            files.enter_context(sole_training(workdir))
            checkpoints.check()
            return tensorboard.SummaryWriter(str(pathlib.Path(workdir) / "tensorboard"))

        params = method.train(run, dataset, fit_stage)
        metadata = {name: str(value) for name, value in description.items()}
        file = pathlib.Path(workdir) / FILE_NAME
        processes.lead(write_params, file, method, params, metadata)
    return params


def describe(method: TrainableMethod, run: Run, spec: DatasetSpec) -> dict[str, Any]:
    """The run as flat JSON: kept in its checkpoints and in the metadata of its weights."""
    variant = {"variant": method.VARIANT} if method.VARIANT else {}
    # What goes without saying, see `methods.options.implied`.
    implied = {f.name: f.default for f in dataclasses.fields(run.config)
               if f.metadata.get("implied")}
    config = {name: value for name, value in dataclasses.asdict(run.config).items()
              if name not in implied or value != implied[name]}
    return {
        "method": method.NAME, **variant, **config, **define_topology(run.config.topology),
        **dataclasses.asdict(run.training),
        "seed": run.seed, "num_train": run.num_train,
        "dataset": spec.name, "data": spec.title, "data_licence": spec.licence,
    }
