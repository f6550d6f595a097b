"""The specs of data sets: what a data set is, where it comes from, how its faces are seen.

Those in data_specs/*.toml have a name; one of your own is named by the path of its .toml file.
"""

import dataclasses
import os
import pathlib
import tomllib
from typing import Any

from deepmds_jax.data.augmentation import NO_AUGMENTATION, Augmentation
from deepmds_jax.data.views import Choice, Uniform, ViewGroup

# Beside the package in a clone, inside it once installed (see setup.cfg).
_PACKAGE = pathlib.Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "data_specs", _PACKAGE.parent / "data_specs")


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """One dataset: a source, and how faces are drawn from it and seen.

    Attributes:
      name: of the spec's file, without extension.
      title: for people to read.
      source: name of the source that reads its files, see `sources`.
      licence: of the data, and whom to credit.
      obtain: where the files come from and where they go; empty if none are needed.
      topologies: landmark topologies it has, the default first.
      expression: whether faces have random expressions.
      num_train: number of faces to train on.
      num_test: number of faces to test on, none of them seen in training.
      views: groups of views; their shares sum to 1. Empty for photographs, which bring their own.
      noise: of the landmark detector, see `views.add_noise`.
      occlusion: whether to work out which landmarks the face hides.
      outline: how far the jaw landmarks of the image are from the mandible, 0, to the visible
        contour, 1, where the source has `JawLines`; see `outline.slide`.
      variant: of the method, which training takes by default; None for the method's first.
      augmentation: of faces to train on, for methods that draw views anew.
    """

    name: str
    title: str
    source: str
    licence: str
    obtain: str
    topologies: tuple[str, ...]
    expression: bool
    num_train: int
    num_test: int
    views: tuple[ViewGroup, ...] = ()
    noise: float = 0.0
    occlusion: bool = False
    outline: float = 0.0
    variant: str | None = None
    augmentation: Augmentation = NO_AUGMENTATION


def names() -> list[str]:
    """The datasets whose spec comes with the package."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load_spec(name: str | os.PathLike[str]) -> DatasetSpec:
    """Reads the spec of a dataset.

    Args:
      name: one of `names()`, or the path of another spec, which ends in .toml.

    Raises:
      ValueError: there is none of that name, or the file is missing or wrong; names the entry.
    """
    path = pathlib.Path(name)
    if path.suffix != ".toml":
        if name not in names():
            raise ValueError(f"dataset: expected one of {names()}, got {name!r}")
        path = _folder() / f"{name}.toml"
    elif not path.is_file():
        raise ValueError(f"dataset: no file {path}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        views = tuple(_view_group(view) for view in content.pop("views", []))
        spec = DatasetSpec(
            name=path.stem,
            views=views,
            topologies=tuple(content.pop("topologies")),
            augmentation=Augmentation(**content.pop("augmentation", {})),
            **content,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if spec.views and abs(sum(view.share for view in spec.views) - 1) > 1e-6:
        raise ValueError(f"{path}: the shares of the views sum to "
                         f"{sum(view.share for view in spec.views)}, expected 1")
    return spec


def _view_group(view: dict[str, Any]) -> ViewGroup:
    return ViewGroup(
        share=view["share"], **{k: _numbers(v) for k, v in view.items() if k != "share"}
    )


def _numbers(entry: Any) -> Uniform | Choice:
    if isinstance(entry, dict):
        return Choice(tuple(map(float, entry["choice"])))
    if isinstance(entry, list):
        return Uniform(*map(float, entry))
    return Choice((float(entry),))


def _folder() -> pathlib.Path:
    return next(folder for folder in _FOLDERS if folder.is_dir())
