"""Accelerated majorization of any loss: follows steps of which each lowers the loss."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from deepmds_jax import loops
from deepmds_jax.mds import acceleration as anderson

_End = TypeVar("_End")


class Move(NamedTuple):
    """What is known at a point.

    Attributes:
      step: (...) to the minimum of a function that touches the loss there and is nowhere below it.
      loss: () positive.
      error: () the relative error of the fit, such as stress-1.
      kept: pytree for the next point, which may lie elsewhere.
    """

    step: jax.Array
    loss: jax.Array
    error: jax.Array
    kept: Any


class Descent(NamedTuple):
    """Where `descend` is, and where it goes next.

    Attributes:
      point: (...).
      move: at the point.
      decrease: () of the loss, relative, since the point before.
      window: of the Anderson acceleration.
      candidate: (...) point to try next.
      is_plain: () whether the candidate is that of the step itself.
      num_iters: () int32.
    """

    point: jax.Array
    move: Move
    decrease: jax.Array
    window: anderson.Window
    candidate: jax.Array
    is_plain: jax.Array
    num_iters: jax.Array

    def has_converged(self, tolerance: float | jax.Array) -> jax.Array:
        """() whether steps are small beside the error of the fit, or no more than rounding."""
        size = jnp.sqrt(jnp.sum(self.point**2))
        length = jnp.sqrt(jnp.sum(self.move.step**2)) / size
        is_small = (length < tolerance * self.move.error) & (self.decrease <= tolerance)
        return is_small | (length <= 4 * jnp.finfo(size.dtype).eps)


def descend(
    majorize: Callable[[jax.Array, Any], Move], start: jax.Array, kept: Any, *,
    max_iters: int | jax.Array, tolerance: float | jax.Array,
) -> Descent:
    """Goes on until the steps have converged, the loss is NaN or `max_iters` is reached.

    Steps are extrapolated by Anderson acceleration. A point that raises the loss is left for the
    plain step from the one before.

    Args:
      majorize: (point, kept) -> the `Move` there.
      start: (...) the first point.
      kept: of the first point.
      max_iters: points tried after the start.
      tolerance: of `Descent.has_converged`.
    """
    eps = jnp.finfo(start.dtype).eps

    def iterate(state):
        move, old = majorize(state.candidate, state.move.kept), state.move
        window = anderson.extend(state.window, state.candidate - state.point,
                                 move.step - old.step)
        candidate = anderson.extrapolate(window, state.candidate + move.step, move.step)
        forward = Descent(state.candidate, move, (old.loss - move.loss) / move.loss, window,
                          candidate, window.is_empty, state.num_iters)
        back = state._replace(window=anderson.empty_window(state.point),
                              candidate=state.point + old.step, is_plain=jnp.asarray(True))
        accepted = state.is_plain | (move.loss <= (1 + 8 * eps) * old.loss)
        state = jax.tree.map(partial(jnp.where, accepted), forward, back)
        return state._replace(num_iters=state.num_iters + 1)

    def keeps_going(state):
        done = state.has_converged(tolerance) | jnp.isnan(state.move.loss)
        return ~done & (state.num_iters < max_iters)

    # Nothing is known yet: the first iteration, which does not count, accepts the start.
    infinity = jnp.asarray(jnp.inf, start.dtype)
    unknown = Move(jnp.full_like(start, jnp.inf), infinity, infinity, kept)
    first = Descent(start, unknown, infinity, anderson.empty_window(start), start,
                    jnp.asarray(True), jnp.int32(-1))
    return loops.while_loop(keeps_going, iterate, first)


def best_of(
    minimize_from: Callable[[jax.Array], _End], starts: jax.Array, loss: Callable[[_End], jax.Array]
) -> _End:
    """Where the one of the (S, ...) starts ends from which the loss becomes least; NaN is not."""
    if len(starts) == 1:
        return minimize_from(starts[0])
    ends = lax.map(minimize_from, starts)
    losses = loss(ends)
    best = jnp.argmin(jnp.where(jnp.isnan(losses), jnp.inf, losses))
    return jax.tree.map(lambda x: x[best], ends)


def one_by_one(solve: Callable[..., Any], options: Any) -> Callable[..., Any]:
    """`solve` with these options; under `vmap` on CPU one problem after the other.

    Each then stops on its own. Of `options.on_cpu`, whether the program is for a CPU, both are
    traced if it is None.
    """
    on_cpu = jax.custom_batching.sequential_vmap(partial(solve, options._replace(on_cpu=True)))
    elsewhere = partial(solve, options._replace(on_cpu=False))
    if options.on_cpu is None:
        return partial(lax.platform_dependent, cpu=on_cpu, default=elsewhere)
    return on_cpu if options.on_cpu else elsewhere
