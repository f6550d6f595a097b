"""What a weights string means: the one place that says where weights are."""

import os
import pathlib
from typing import Literal, NamedTuple

from deepmds_jax.weights import hub

FILE_NAME = "weights.safetensors"  # in the folder of a training run

_SHIPPED = pathlib.Path(__file__).parent
_RELEASED = "released:"


class Location(NamedTuple):
    """Where weights are.

    Attributes:
      kind: a "file" of this package; the folder of an unfinished training "run", with checkpoints
        only; or the folder of the authors' "released" Keras files.
      path: of the file or folder.
    """

    kind: Literal["file", "run", "released"]
    path: pathlib.Path


def shipped_names() -> list[str]:
    """Names of the shipped weights: topologies, and topologies with `_published`."""
    return sorted(path.stem for path in _SHIPPED.glob("*.safetensors"))


def locate(source: str | os.PathLike) -> Location:
    """Where the weights are that a string names.

    Args:
      source: the name of shipped weights; a weights file; the folder of a training run, of which
        the finished weights are taken, or else the last checkpoints; `hf://owner/name`, weights
        that somebody shares on the Hugging Face Hub, see `hub.fetch`; or `released:FOLDER`, the
        folder of the authors' Keras files.

    Raises:
      ValueError: it is none of these.
      ImportError: it is on the hub, and huggingface_hub is not installed.
    """
    text = os.fspath(source)
    if text in shipped_names():
        return Location("file", _SHIPPED / f"{text}.safetensors")
    if text.startswith(hub.PREFIX):
        return Location("file", hub.fetch(text))
    if text.startswith(_RELEASED):
        return Location("released", pathlib.Path(text.removeprefix(_RELEASED)))
    path = pathlib.Path(text)
    if text and path.is_dir():  # an empty text would be the working folder
        finished = path / FILE_NAME
        return Location("file", finished) if finished.exists() else Location("run", path)
    if text and path.exists():
        return Location("file", path)
    raise ValueError(f"{text or repr(text)}: no such file; weights are one of {shipped_names()}, "
                     "a .safetensors file, the folder of a training run, hf://owner/name, or "
                     "released:FOLDER")
