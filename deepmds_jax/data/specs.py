"""Reads data_specs/*.toml: what a dataset is, where it comes from, how it is viewed."""

import dataclasses
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
    """One dataset: a source and how faces are drawn and seen from it.

    Attributes:
      name: of the file in data_specs.
      title: for people.
      source: module of `deepmds_jax.data` that reads its files.
      licence: of the data, and whom to credit.
      obtain: where the files come from and where they go; empty where none are needed.
      topologies: landmark topologies it has, the default first.
      expression: whether faces have random expressions.
      num_train: faces to train on.
      num_test: faces to test on, none of them seen in training.
      views: groups of views; their shares sum to 1. Photographs have theirs, and none here.
      noise: of the landmark detector, see `views.add_noise`.
      occlusion: whether it is worked out which landmarks the face hides.
      variant: of Deep-MDS, which training takes unless it is told another.
      augmentation: of faces to train the anchored variant on.
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
    variant: str = "published"
    augmentation: Augmentation = NO_AUGMENTATION


def names() -> list[str]:
    """The datasets that have a spec."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load_spec(name: str) -> DatasetSpec:
    """Reads the spec of a dataset.

    Raises:
      ValueError: there is none of that name, or the file is wrong; names the entry.
    """
    if name not in names():
        raise ValueError(f"dataset: expected one of {names()}, got {name!r}")
    path = _folder() / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        views = tuple(_view_group(view) for view in content.pop("views", []))
        spec = DatasetSpec(
            name=name,
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
