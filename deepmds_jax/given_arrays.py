"""Whether arrays that callers give are what they are taken for."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer


def check_numbers(name: str, given: Any, instead: str = "") -> None:
    """Raises ValueError unless an argument holds real numbers; NaN is one here.

    Complex numbers would lose a part, and masked ones would count.

    Args:
      name: of the argument.
      given: anything that becomes an array.
      instead: what to give for a mask.
    """
    dtype = _dtype(name, given, instead)
    if not _is_real(dtype):
        raise ValueError(f"{name}: expected real numbers, got {dtype}")


def check_truth(name: str, given: Any) -> None:
    """Raises ValueError unless an argument holds truth values, or 0 and 1.

    Of numbers under jit nothing is known but their type: `told_apart` is for them.
    """
    dtype = _dtype(name, given)
    if dtype.kind == "b":
        return
    if not _is_real(dtype):
        raise ValueError(f"{name}: expected True or False, got {dtype}")
    if not isinstance(given, Tracer):
        values = np.asarray(given)
        wrong = values[(values != 0) & (values != 1)]
        if wrong.size:
            raise ValueError(f"{name}: expected True or False, got {wrong.flat[0]}")


@jax.numpy_rank_promotion("allow")
def told_apart(x2d: Any, visible: Any) -> tuple[Any, Any]:
    """Landmarks, and which were seen, after `check_truth`; under jit that of numbers, too.

    No error can tell there that some are neither 0 nor 1, such as confidences: the face is NaN
    then, and all of it seen, so that nothing is made of it.

    Args:
      x2d: (..., N, 2).
      visible: (..., N) or None.
    """
    if not isinstance(visible, Tracer) or visible.dtype == bool:
        return x2d, visible
    wrong = jnp.any((visible != 0) & (visible != 1), axis=-1, keepdims=True)
    return jnp.where(wrong[..., None], jnp.nan, x2d), (visible != 0) | wrong


def _is_real(dtype: np.dtype) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def _dtype(name: str, given: Any, instead: str = "") -> np.dtype:
    if np.ma.is_masked(given):
        raise ValueError(f"{name}: expected an array without a mask, got a masked one"
                         f"{'; ' * bool(instead)}{instead}")
    if isinstance(given, Array | np.ndarray):
        return given.dtype
    try:
        return np.asarray(given).dtype
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{name}: expected an array: {error}") from None
