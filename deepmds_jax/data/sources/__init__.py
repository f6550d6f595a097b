"""The sources of faces: the contract that all of them meet, and where they are found by name.

A source reads one kind of data. Each of the built-in ones is a module of this package; a module or
an object of your own that has the functions of `Source` becomes one by `register`. The specs of
data sets name their source (`source = "ict"` in data_specs/ict.toml).
"""

import importlib
import pathlib
from typing import Protocol, cast, runtime_checkable

from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.recorded import Recordings, ShapeSet


@runtime_checkable
class Source(Protocol):
    """What a module or an object needs in order to be a source of faces."""

    def load(self, topology: str, folder: pathlib.Path) -> MorphableModel | ShapeSet | Recordings:
        """Reads the landmarks of the data, as one of three things.

        * `MorphableModel`: a linear model, of which every draw is a new face;
        * `ShapeSet`: registered 3D scans, to train and to test on, seen from drawn views;
        * `Recordings`: photographs with their landmarks and true shapes, to test on.

        Shapes are float32 in the head frame: x right, y down, z away from the viewer, the face
        looking at the viewer, any origin. (`Recordings` may have the pose in which the shape was
        recorded.) Their unit is any, and stated in `unit`. Image points are pixels, x right, y
        down, the centre of the top left pixel at (0, 0).

        Args:
          topology: name of the landmark topology; says which landmarks, in which order.
          folder: where the files lie; a source without files does not look at it.

        Raises:
          ValueError: the source has no such topology, or a file is damaged; one line that names
            the file (or `topology`), what was found and what was expected.
          FileNotFoundError: a file is missing; names it, "no FOLDER/FILE". `open_dataset` adds
            where the spec says to get it.
          ImportError: a package that reads these files is not installed; says what to install.
        """
        ...

    def check(self, folder: pathlib.Path) -> list[str]:
        """A line for every file of the folder that is missing or damaged, for `bin/check`.

        Returns:
          Lines as `load` raises them; empty where all is good.
        """
        ...


@runtime_checkable
class DenseSource(Source, Protocol):
    """A source that also has the whole surface: for pictures of its faces and for occlusion."""

    def load_dense(self, topology: str, folder: pathlib.Path) -> DenseModel:
        """Reads the surface of the model that `load` returns: the same faces, unit and frame.

        Arguments and errors are those of `load`.
        """
        ...


_BUILT_IN = (
    "aflw2000", "bfm", "bfm2017", "casia3d", "celeba", "coma", "flame", "gnm", "ict",
    "makehuman", "shapes", "synthetic",
)  # fmt: skip
_registered: dict[str, Source] = {}


def names() -> list[str]:
    """The names of all sources, those registered last."""
    return [*_BUILT_IN, *_registered]


def get(name: str) -> Source:
    """The source called `name`; a built-in one is imported now. ValueError if there is none."""
    if name in _registered:
        return _registered[name]
    if name not in _BUILT_IN:
        raise ValueError(f"source: expected one of {names()}, got {name!r}")
    # Type checkers cannot compare an imported module with a Protocol; a test compares all of them.
    return cast(Source, importlib.import_module(f"{__name__}.{name}"))


def register(name: str, source: Source) -> None:
    """Makes a module or an object known as a source, so that a spec can name it.

    Raises:
      ValueError: the name is taken, or `source` lacks a function of `Source`.
    """
    if name in names():
        raise ValueError(f"source: {name!r} is taken, expected a name other than {names()}")
    if not isinstance(source, Source):
        raise ValueError(f"source: expected an object with the functions load(topology, folder) "
                         f"and check(folder), got {source!r}")
    _registered[name] = source
