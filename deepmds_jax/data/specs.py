"""The specs of data sets: what a data set is, where it comes from, how its faces are seen.

Those in data_specs/*.toml have a name; one of your own is named by the path of its .toml file.
"""

import dataclasses
import os
import pathlib
import tomllib
from typing import Any, NamedTuple

from deepmds_jax import topologies
from deepmds_jax.data.augmentation import NO_AUGMENTATION, Augmentation
from deepmds_jax.data.views import Choice, Uniform, ViewGroup
from deepmds_jax.geometry.frames import FRAMES

# Beside the package in a clone, inside it once installed (see setup.cfg).
_PACKAGE = pathlib.Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "data_specs", _PACKAGE.parent / "data_specs")


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """One dataset: a source, and how faces are drawn from it and seen.

    Attributes:
      name: of the spec's file, without extension.
      title: for people to read.
      source: name of the source that reads its files, see `sources`; "mix" of a mix.
      licence: of the data, and whom to credit.
      obtain: where the files come from and where they go; empty if none are needed.
      topologies: names of the landmark topologies it has, the default first; empty for any, where
        the files alone say how many landmarks there are.
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
      frame: of recorded shapes in files of a user's own, see `geometry.frames`; all other files
        have a frame of their own, which their source knows.
      mix: data sets that faces are drawn from, each with its share; empty of a data set with a
        source. Of these it takes the shapes, with or without expressions as they say; views, noise
        and augmentation are its own.
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
    frame: str = "camera"
    mix: "tuple[MixPart, ...]" = ()


class MixPart(NamedTuple):
    """A data set in a mix, and its share of the faces."""

    spec: DatasetSpec
    share: float


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
    return _load(name, mixed=False)


def _load(name: str | os.PathLike[str], mixed: bool) -> DatasetSpec:
    """The spec, which must have a source if it is mixed with others."""
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
        if "mix" in content and mixed:
            raise ValueError("mix: expected data sets with a source, got another mix")
        if "mix" in content:
            content = _mixed(content, path.parent)
        spec = DatasetSpec(
            name=path.stem,
            views=views,
            topologies=tuple(_topology(name, path.parent) for name in content.pop("topologies")),
            augmentation=Augmentation(**content.pop("augmentation", {})),
            **content,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    for what, shared in (("views", spec.views), ("mix", spec.mix)):
        total = sum(part.share for part in shared)
        if shared and abs(total - 1) > 1e-6:
            raise ValueError(f"{path}: the shares of the {what} sum to {total}, expected 1")
    if spec.frame not in FRAMES:
        raise ValueError(f"{path}: frame: expected one of {list(FRAMES)}, got {spec.frame!r}")
    return spec


def find_folder(spec: DatasetSpec, root: pathlib.Path) -> pathlib.Path:
    """Where the files of a data set are by default, in a folder of data sets.

    They are in the folder called as the data set, or else in that called as its source, which
    several data sets may share. Of a mix it is the folder of data sets itself, and the same rule
    holds for each of its parts.
    """
    if spec.mix:
        return root
    own = root / spec.name
    return own if own.is_dir() else root / spec.source


def _mixed(content: dict[str, Any], folder: pathlib.Path) -> dict[str, Any]:
    """The entries of a spec that mixes others, completed by what follows from these."""
    parts = tuple(_mix_part(part, folder) for part in content["mix"])
    taken = {"source", "expression", "frame"} & content.keys()
    if taken or len(parts) < 2:
        raise ValueError("a mix has two or more data sets, and takes source, expression and frame "
                         "from them, got "
                         + (", ".join(sorted(taken)) or str(len(parts))))
    first, *others = (part.spec for part in parts)
    known = {
        "source": "mix",
        "licence": "; ".join(f"{part.spec.name}: {part.spec.licence}" for part in parts),
        "obtain": " ".join(f"{part.spec.name}: {part.spec.obtain}."
                           for part in parts if part.spec.obtain),
        "topologies": [name for name in first.topologies
                       if all(name in spec.topologies for spec in others)],
        "expression": any(part.spec.expression for part in parts),
    }
    return {**known, **content, "mix": parts}


def _mix_part(entries: dict[str, Any], folder: pathlib.Path) -> MixPart:
    if entries.keys() != {"dataset", "share"}:
        raise ValueError(f"mix: expected dataset and share, got {', '.join(entries) or 'nothing'}")
    name, share = entries["dataset"], float(entries["share"])
    if not share > 0:
        raise ValueError(f"mix: expected shares above 0, got {share} of {name}")
    return MixPart(_load(folder / name if name.endswith(".toml") else name, mixed=True), share)


def _topology(name: str, folder: pathlib.Path) -> str:
    """The name of a topology that a spec states by name, or by a path from the spec's folder."""
    if pathlib.PurePath(name).suffix != ".toml":
        return name  # perhaps registered after this
    return topologies.get(folder / name).name


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
