"""Checkpoints of a training run, by Orbax: atomic, and enough to rebuild the model."""

import contextlib
import dataclasses
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from deepmds_jax.lifting import Config, Params


class Checkpoints:
    """The checkpoints of one run: a folder per stage, and in each what the run is.

    Args:
      workdir: folder of the run.
      run: JSON-like description of the run; resuming under another one is an error.
      beside: arrays by name that are kept with the weights: of Deep-MDS the `reference`.
    """

    def __init__(self, workdir: str | os.PathLike, run: dict[str, Any],
                 beside: dict[str, jax.Array]):
        self._workdir = pathlib.Path(workdir).absolute()
        self._run = run
        self._beside = beside
        self._managers = {}

    def check(self) -> None:
        """Looks whether all checkpoints in the folder are of this run; writes nothing.

        Raises:
          ValueError: one is of another run (names what differs), or damaged.
        """
        for stage in sorted({run.parents[1] for run in self._workdir.glob("*/[0-9]*/run")}):
            with contextlib.closing(_open(stage, create=False)) as manager:
                if manager.latest_step() is None:  # the writing of the first one was cut short
                    continue
                found = _read(manager, run=ocp.args.JsonRestore())["run"]
            differing = [k for k in self._run if found.get(k) != self._run[k]]
            if differing:
                name = differing[0]
                raise ValueError(f"workdir: {self._workdir} holds a run with {name}="
                                 f"{found.get(name)}, this one has {name}={self._run[name]}; "
                                 "choose another --workdir or the same flags")

    def restore(self, stage: str, state: Any) -> Any:
        """The state of the last checkpoint, or `state` where there is none yet.

        Raises:
          ValueError: the checkpoint is damaged.
        """
        manager = self._manager(stage)
        if manager.latest_step() is None:
            return state
        target = {"state": state, **self._beside}
        return _read(manager, weights=ocp.args.StandardRestore(target))["weights"]["state"]

    def save(self, stage: str, step: int, state: Any) -> None:
        """Writes the state of a step, whole or not at all; the one before it is then dropped."""
        weights = {"state": state, **self._beside}
        self._manager(stage).save(step, args=ocp.args.Composite(
            weights=ocp.args.StandardSave(weights), run=ocp.args.JsonSave(self._run)))

    def close(self) -> None:
        """Waits until everything is written."""
        for manager in self._managers.values():
            manager.close()

    def _manager(self, stage: str) -> ocp.CheckpointManager:
        if stage not in self._managers:
            self._managers[stage] = _open(self._workdir / stage, create=True)
        return self._managers[stage]


def load_checkpoint(workdir: str | os.PathLike) -> tuple[Params, dict[str, Any]]:
    """Loads the networks of a training run from its latest checkpoints.

    Returns:
      The parameters, and the description of the run.

    Raises:
      ValueError: the folder holds no checkpoint of both networks, or a damaged one, or one of
        another version of this package.
    """
    trees = {}
    anchored = (pathlib.Path(workdir) / "joint").is_dir()
    for stage in ("joint",) if anchored else ("autoencoder", "dissimilarity"):
        folder = pathlib.Path(workdir).absolute() / stage
        manager = _open(folder, create=False) if folder.is_dir() else None
        if manager is None or manager.latest_step() is None:
            raise ValueError(f"{workdir}: no checkpoint of the {stage} network; "
                             "expected the --workdir of a bin/train run that trained both")
        restored = _read(manager, weights=ocp.args.StandardRestore(), run=ocp.args.JsonRestore())
        manager.close()
        run, weights = restored["run"], restored["weights"]
        trees[stage] = jax.tree.map(jnp.asarray, weights["state"]["variables"])
    lacking = [f.name for f in dataclasses.fields(Config) if f.name not in run]
    if lacking:
        raise ValueError(f"{workdir}: the run in its checkpoints has no {lacking[0]}; it was "
                         "written by another version; train again in a new --workdir")
    config = Config(**{f.name: run[f.name] for f in dataclasses.fields(Config)})
    if anchored:
        trees = split_joint(trees["joint"])
    return Params(**trees, reference=jnp.asarray(weights["reference"]), config=config), run


def split_joint(variables: Any) -> dict[str, Any]:
    """The anchored networks, by their field of `Params`, out of those of the joint stage."""
    both = variables["params"]
    return {"autoencoder": {"params": both["encoder"]}, "dissimilarity": {"params": both["pairs"]}}


def _open(folder: pathlib.Path, create: bool) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=1, create=create)
    return ocp.CheckpointManager(folder, options=options, item_names=("weights", "run"))


def _read(manager: ocp.CheckpointManager, **items: Any) -> Any:
    """Some items of the latest checkpoint."""
    step = manager.latest_step()
    try:
        return manager.restore(step, args=ocp.args.Composite(**items))
    except Exception as error:  # Orbax raises many kinds on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{manager.directory}: the checkpoint of step {step} is damaged: "
                         f"{reason}") from error
