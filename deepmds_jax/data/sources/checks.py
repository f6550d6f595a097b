"""Checks that sources share: of a folder of files, for `bin/check`, and of a topology."""

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import tqdm

T = TypeVar("T")


def problems(things: Sequence[T], read: Callable[[T], object]) -> list[str]:
    """The message of `read`, one line each, for every thing that it cannot read."""
    found = []
    for thing in tqdm.tqdm(things, unit="file", delay=5):
        try:
            read(thing)
        except (OSError, ValueError) as error:
            found.append(str(error))
    return found


def check_topology(source: str, topology: str, known: Collection[str]) -> None:
    """Raises ValueError unless a source has the topology."""
    if topology not in known:
        raise ValueError(f"topology: {source} has {list(known)}, got {topology!r}")
