"""Checkpoints of a training run, by Orbax: atomic, and enough to rebuild the model.

Of several processes that train together one reads and writes them; arrays are those of the host,
so that a run can go on with other devices.

Orbax notices some damage to its files, not all. So each checkpoint has a list of their checksums,
of which Orbax gets to read only what fits it.
"""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax

from deepmds_jax.extras import require
from deepmds_jax.files import replacing

if TYPE_CHECKING:
    import orbax.checkpoint as ocp
else:
    ocp = require("orbax.checkpoint", extra="train")

# As `sha256sum --check` reads it; in the folder of each checkpoint.
_CHECKSUMS = "SHA256SUMS"


@contextlib.contextmanager
def sole_training(workdir: str | os.PathLike) -> Iterator[None]:
    """Keeps other trainings out of a folder. The system lets go when the process ends, killed too.

    Raises:
      ValueError: another process trains there.
    """
    filelock = require("filelock", extra="train")
    folder = pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = filelock.FileLock(folder / ".lock", timeout=0).acquire()
    except filelock.Timeout:
        raise ValueError(f"workdir: another training is writing to {workdir}; wait for it, or "
                         "choose another --workdir") from None
    with lock:
        yield


class Checkpoints:
    """The checkpoints of one run: a folder per stage, and in each what the run is.

    Args:
      workdir: folder of the run.
      run: JSON-like description of the run; resuming under another one is an error.
      beside: arrays by name that are kept with the state.
    """

    def __init__(self, workdir: str | os.PathLike, run: dict[str, Any],
                 beside: Mapping[str, Any]):
        self._workdir = pathlib.Path(workdir).absolute()
        self._run = run
        self._beside = beside
        self._managers: dict[str, ocp.CheckpointManager] = {}

    def check(self) -> None:
        """Checks that all checkpoints in the folder are of this run; writes nothing.

        Raises:
          ValueError: one is of another run (names what differs), or damaged (names the file, and
            the checkpoint before it that can be gone on from).
        """
        for stage in _stage_folders(self._workdir):
            with contextlib.closing(_open(stage, create=False)) as manager:
                if manager.latest_step() is None:  # writing the first one was cut short
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
        """Writes the state of a step, whole or not at all; the one before it is kept, too."""
        weights = jax.device_get({"state": state, **self._beside})
        manager = self._manager(stage)
        manager.save(step, args=ocp.args.Composite(
            weights=ocp.args.StandardSave(weights), run=ocp.args.JsonSave(self._run)))
        manager.wait_until_finished()
        folder = self._workdir / stage / str(step)
        lines = [f"{checksum}  {file}\n" for file, checksum in _checksums(folder).items()]
        with replacing(folder / _CHECKSUMS) as temporary:
            temporary.write_text("".join(lines))

    def close(self) -> None:
        """Waits until everything is written."""
        for manager in self._managers.values():
            manager.close()

    def _manager(self, stage: str) -> ocp.CheckpointManager:
        if stage not in self._managers:
            self._managers[stage] = _open(self._workdir / stage, create=True)
        return self._managers[stage]


def read_run(workdir: str | os.PathLike) -> dict[str, Any]:
    """The description of the run whose checkpoints are in a folder.

    Raises:
      ValueError: there are none, or they are damaged.
    """
    for stage in _stage_folders(pathlib.Path(workdir).absolute()):
        with contextlib.closing(_open(stage, create=False)) as manager:
            if manager.latest_step() is not None:
                return _read(manager, run=ocp.args.JsonRestore())["run"]
    raise ValueError(f"{workdir}: no checkpoint of a training run; expected the --workdir of "
                     "bin/train")


def read_stages(
    workdir: str | os.PathLike, stages: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables in the latest checkpoint of each stage, and the arrays kept beside them.

    Raises:
      ValueError: a stage has no checkpoint, or a damaged one.
    """
    trained, beside = {}, {}
    for stage in stages:
        folder = pathlib.Path(workdir).absolute() / stage
        if not folder.is_dir():
            raise _no_checkpoint(workdir, stage)
        with contextlib.closing(_open(folder, create=False)) as manager:
            if manager.latest_step() is None:
                raise _no_checkpoint(workdir, stage)
            weights = _read(manager, weights=ocp.args.StandardRestore())["weights"]
        trained[stage] = weights.pop("state")["variables"]
        beside = weights
    return jax.device_put((trained, beside))


def _no_checkpoint(workdir: str | os.PathLike, stage: str) -> ValueError:
    return ValueError(f"{workdir}: no checkpoint of the {stage} network; expected the --workdir of "
                      "a bin/train run that trained it")


def _stage_folders(workdir: pathlib.Path) -> list[pathlib.Path]:
    return sorted({run.parents[1] for run in workdir.glob("*/[0-9]*/run")})


def _open(stage: pathlib.Path, create: bool) -> ocp.CheckpointManager:
    _refuse_damage(stage)  # Orbax would tell each file of it in many lines
    if create:
        stage.mkdir(parents=True, exist_ok=True)
    # Else Orbax would wait for the other processes, where there are any.
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here})
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, create=False, multiprocessing_options=alone)
    return ocp.CheckpointManager(stage, options=options, item_names=("weights", "run"))


def _read(manager: ocp.CheckpointManager, **items: Any) -> Any:
    """Some items of the latest checkpoint."""
    step = manager.latest_step()
    try:
        return manager.restore(step, args=ocp.args.Composite(**items))
    except Exception as error:  # without checksums; Orbax raises many kinds on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{manager.directory}: the checkpoint of step {step} is damaged: "
                         f"{reason}") from error


def _refuse_damage(stage: pathlib.Path) -> None:
    """Raises ValueError if a file of the latest checkpoint is not as its checksum says."""
    # One without them is of a version before, or was cut short.
    folders = [file.parent for file in stage.glob(f"[0-9]*/{_CHECKSUMS}")]
    folders = sorted((f for f in folders if f.name.isdecimal()), key=lambda f: int(f.name))
    damage = _damage(folders[-1]) if folders else None
    if damage:
        whole = [folder.name for folder in folders[:-1] if not _damage(folder)]
        advice = (f"that of step {whole[-1]} is whole, remove {folders[-1]} to go on from it"
                  if whole else f"there is no other, remove {stage} to train it again")
        raise ValueError(f"{stage}: the checkpoint of step {folders[-1].name} is damaged: "
                         f"{damage}; {advice}")


def _damage(folder: pathlib.Path) -> str | None:
    """What is wrong with the files of a checkpoint, if anything is."""
    lines = (folder / _CHECKSUMS).read_text(errors="replace").splitlines()
    found = _checksums(folder)
    for line in lines:
        checksum, _, file = line.partition("  ")
        if found.get(file) != checksum:
            return f"{file!r} is not what was written"
    return None


def _checksums(folder: pathlib.Path) -> dict[str, str]:
    """By path in the folder of a checkpoint, of each file of it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != _CHECKSUMS)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files}
