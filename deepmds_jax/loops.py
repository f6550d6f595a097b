"""Loops that run under `jax.shard_map` as well, where arrays have a type that says what varies.

There a loop's state must have the same type before and after each turn. A counter that starts as a
constant has not: it counts the turns of this device's problems.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import lax

_State = TypeVar("_State")


def while_loop(
    keeps_going: Callable[[_State], Any], step: Callable[[_State], Any], state: _State
) -> _State:
    """`lax.while_loop`."""
    return lax.while_loop(keeps_going, lambda state: alike(step(state)), alike(state))


def scan(
    step: Callable[[_State, Any], tuple[Any, Any]], state: _State, *args: Any, **kwargs: Any
) -> tuple[_State, Any]:
    """`lax.scan`."""
    def turn(state, x):
        state, y = step(state, x)
        return alike(state), y

    return lax.scan(turn, alike(state), *args, **kwargs)


def alike(state: _State) -> _State:
    """The arrays of a state, all varying over the mesh axes that any of them varies over."""
    union = frozenset().union(*map(_varying, jax.tree.leaves(state)))

    def cast(x):
        missing = tuple(union - _varying(x))
        return lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, state)


def _varying(x: Any) -> frozenset[str]:
    kind: Any = jax.typeof(x)
    return kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying  # since JAX 0.10
