"""Functions that are one program outside jit, too, not one for each of their operations."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax

_Function = TypeVar("_Function", bound=Callable[..., Any])


def one_program(function: _Function) -> _Function:
    """`jax.jit`, of which inside another jit nothing is left."""
    return cast(_Function, jax.jit(function, inline=True))
