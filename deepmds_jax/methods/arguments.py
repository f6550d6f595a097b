"""Checks of what a method is given: its argument, and its datasets."""

from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.recorded import Recordings, ShapeSet


def require_model(method: str, reference: Dataset) -> MorphableModel:
    """The dataset's morphable model; ValueError if it is none."""
    if not isinstance(reference.source, MorphableModel):
        raise ValueError(f"{method}: the dataset {reference.spec.name} is no morphable model; "
                         "it needs one")
    return reference.source


def require_names(method: str, dataset: Dataset) -> list[str]:
    """The names of the dataset's recorded faces; ValueError if they are drawn from a model."""
    if not isinstance(dataset.source, ShapeSet | Recordings):
        raise ValueError(f"{method}: predictions from elsewhere are for recorded faces, and those "
                         f"of {dataset.spec.name} are drawn from a model")
    return list(dataset.source.names)


def require_argument(method: str, argument: str, what: str) -> str:
    """The argument; ValueError if it is empty."""
    if not argument:
        raise ValueError(f"{method}: expected {method}=PATH of {what}")
    return argument


def refuse_argument(method: str, argument: str) -> None:
    """Raises ValueError if there is an argument."""
    if argument:
        raise ValueError(f"{method}: takes nothing after the name, got {argument!r}")
