"""What bin/reconstruct does with Parquet files."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Sequence

import jax

from deepmds_jax.cli import program
from deepmds_jax.cli import reconstruct_flags as given
from deepmds_jax.cli.outputs import check_folder
from deepmds_jax.data.formats.landmark_files import list_landmark_files
from deepmds_jax.methods.saved import load_weights

_SUFFIX = ".parquet"
_NOT_OF_THESE = (given.IMAGE, given.VIDEO, given.PICTURE, given.FACE_MODEL, given.IMAGE_SIZE,
                 given.FPS, given.SMOOTH, given.MESH, given.DATA_DIR, given.MESH_IN_IMAGE)


def are_parquet(paths: Sequence[str]) -> bool:
    """Whether some are Parquet files, folders of them, or patterns."""
    return any(map(_is_parquet, paths))


def main(paths: Sequence[str]) -> int:
    """Lifts Parquet files as the flags say."""
    out = _check(paths)
    from deepmds_jax import many  # needs an extra

    engine = many.run_here
    if given.ENGINE.value == "ray":
        from deepmds_jax.many.ray_engine import run_on_ray

        # The weights here would take a GPU's memory from the worker that has it.
        jax.config.update("jax_platforms", "cpu")
        engine = functools.partial(run_on_ray, address=given.ADDRESS.value,
                                   use_gpus=given.FLAGS["accelerator"].value != "cpu")
    params = None if given.WEIGHTS.value is None else load_weights(given.WEIGHTS.value)[0]
    start = time.monotonic()
    done = many.reconstruct_files(paths, out, params, engine=engine)
    rate = done.num_faces / (time.monotonic() - start)
    line = (f"{_count(done.num_faces, 'face')} in {_count(done.num_written, 'file')}, weights for "
            f"{done.topology}")
    if done.num_faces:
        line += f", {rate:.0f} faces/s, {done.num_noted} without a shape or with a doubtful one"
    if done.num_whole:
        were = "was" if done.num_whole == 1 else "were"
        line += f"; {_count(done.num_whole, 'file')} {were} there already"
    program.tell(f"{line}; wrote {out}")
    program.list_left_out(done.left_out)
    return 1 if done.left_out else 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _check(paths: Sequence[str]) -> str:
    """Raises ValueError for arguments that do not go together; returns the output folder."""
    for path in paths:
        if not _is_parquet(path):
            raise ValueError(f"{path}: expected Parquet files only, or none, and folders of them")
    for flag in _NOT_OF_THESE:
        if flag.present:
            raise ValueError(f"{flag.name}: not for Parquet files, which are lifted row by row")
    if given.ADDRESS.present and given.ENGINE.value != "ray":
        raise ValueError("address: it is that of a Ray cluster, give --engine=ray")
    if not given.OUT.present or len(given.OUT.value) != 1 or not given.OUT.value[0]:
        raise ValueError("out: expected one folder for the shapes of Parquet files, got "
                         f"{len(given.OUT.value) if given.OUT.present else 'none'}")
    out = given.OUT.value[0]
    if pathlib.Path(out).suffix and not pathlib.Path(out).is_dir():
        raise ValueError(f"out: expected a folder for the shapes of Parquet files, got {out}")
    check_folder("out", out)
    return out


def _is_parquet(path: str) -> bool:
    if not pathlib.Path(path).is_dir():
        return pathlib.Path(path).suffix == _SUFFIX
    with contextlib.suppress(ValueError):
        return not list_landmark_files(path)
    return next(pathlib.Path(path).rglob(f"*{_SUFFIX}"), None) is not None
