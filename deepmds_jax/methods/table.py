"""The table of methods: everything that runs one by name finds it here."""

import dataclasses
from typing import Any

from deepmds_jax.methods import (
    aldrian,
    anchored,
    baselines,
    deep_mds,
    external,
    gaussian,
    mediapipe,
    mobileface,
    zhao,
)
from deepmds_jax.methods.contract import Loader, TrainedMethod
from deepmds_jax.training.trainable import TrainableMethod

Variants = tuple[TrainedMethod, ...]
_DEEP_MDS: Variants = (deep_mds, anchored)
_ZHAO: Variants = (zhao,)
_MOBILEFACE: Variants = (mobileface,)

# Name -> the variants of a method with networks, the default first, or the loader of another one.
METHODS: dict[str, Variants | Loader] = {
    "deep_mds": _DEEP_MDS,
    "zhao": _ZHAO,
    "aldrian": aldrian.load,
    "aldrian_observed": aldrian.load_observed,
    "mobileface": _MOBILEFACE,
    "mean_shape": baselines.load_mean_shape,
    "posed_mean": baselines.load_posed_mean,
    "gaussian": gaussian.load,
    "mediapipe": mediapipe.load,
    "external": external.load,
}

DEFAULT = "deep_mds"  # the method that programs train and load where none is named
# What bin/eval scores where nothing is named.
SCORED = (DEFAULT, "mean_shape", "posed_mean", "gaussian")
# Those that know the mean or the model of the reference, and nothing else.
FROM_REFERENCE = ("aldrian", "aldrian_observed", "mean_shape", "posed_mean", "gaussian")


_ATTRIBUTES = sorted(
    name for name in {*vars(TrainableMethod), *vars(TrainedMethod)} if not name.startswith("_"))


def register(name: str, *methods: TrainedMethod | Loader) -> None:
    """Adds a method, so that programs and functions know it by its name.

    Args:
      name: as users write it.
      methods: one loader, or one or more variants of a method with networks; their NAME is `name`.

    Raises:
      ValueError: the name is taken, or has a character that separates names; or a variant has
        another name, lacks an attribute, or cannot be told from another method.
    """
    if name in METHODS or not name.isidentifier():
        raise ValueError(f"name: expected a new identifier, got {name!r}")
    # A class that serves as a method is callable, too.
    if len(methods) == 1 and callable(methods[0]) and not hasattr(methods[0], "NAME"):
        METHODS[name] = methods[0]
        return
    for method in methods:
        lacking = [attribute for attribute in _ATTRIBUTES if not hasattr(method, attribute)]
        if lacking:
            raise ValueError(f"methods: {method!r} has no {lacking[0]}")
    trained = tuple(method for method in methods if isinstance(method, TrainedMethod))
    if {method.NAME for method in trained} != {name}:
        raise ValueError(f"methods: expected variants whose NAME is {name!r}, "
                         f"got {[method.NAME for method in trained]}")
    kinds = [method.VARIANT for method in trained]
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"methods: expected variants that differ in VARIANT, got {kinds}")
    params = [method.Params for method in (*trained_methods(), *trained)]
    if len(set(params)) < len(params):
        raise ValueError("methods: expected variants with a class Params of their own, got "
                         f"{[method.Params.__name__ for method in trained]}")
    METHODS[name] = trained


def trained_names() -> list[str]:
    """The methods with networks."""
    return [name for name, entry in METHODS.items() if isinstance(entry, tuple)]


def trained_methods() -> list[TrainedMethod]:
    """All variants of all methods with networks."""
    return [method for name in trained_names() for method in variants(name)]


def variant_names() -> list[str]:
    """The variants of the methods that have several."""
    return list(dict.fromkeys(m.VARIANT for m in trained_methods() if m.VARIANT))


def options(method: TrainedMethod) -> list[dataclasses.Field]:
    """The options of a method that are flags of bin/train; see `options.option`."""
    fields = *dataclasses.fields(method.Config), *dataclasses.fields(method.Training)
    return [field for field in fields if "help" in field.metadata]


def variants(name: str) -> tuple[TrainedMethod, ...]:
    """The variants of a method with networks, the default first.

    Raises:
      ValueError: there is no such method.
    """
    entry = METHODS.get(name)
    if not isinstance(entry, tuple):
        raise ValueError(f"method: expected one of {trained_names()}, got {name!r}")
    return entry


def find(name: str, variant: str | None = None) -> TrainedMethod:
    """A method with networks.

    Args:
      name: of the method.
      variant: which of its variants; the first by default, and where it has only one.

    Raises:
      ValueError: there is no such method or variant.
    """
    entry = variants(name)
    if variant is None or len(entry) == 1:
        return entry[0]
    named = {method.VARIANT: method for method in entry}
    if variant not in named:
        raise ValueError(f"variant: expected one of {list(named)}, got {variant!r}")
    return named[variant]


def run_name(method: TrainedMethod, dataset: str, topology: str) -> str:
    """The name of the folder of a training run, within the folder of all."""
    name = f"{dataset}_{topology}"
    if method is variants(DEFAULT)[0]:
        return name
    return f"{method.VARIANT or method.NAME}_{name}"


def method_of(params: Any) -> TrainedMethod:
    """The method whose parameters these are.

    Raises:
      ValueError: they are of none in the table.
    """
    for method in trained_methods():
        if isinstance(params, method.Params):
            return method
    raise ValueError(f"params: expected those of one of {trained_names()}, "
                     f"got {type(params).__name__}")
