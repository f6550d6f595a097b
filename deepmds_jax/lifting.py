"""From 2D landmarks to 3D: the pure functions that others embed."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from deepmds_jax.given_arrays import check_numbers, check_truth
from deepmds_jax.methods import table
from deepmds_jax.methods.contract import MIN_LANDMARKS, LiftingMethod, Params, Reconstruction

_Arrays = TypeVar("_Arrays")


def reconstruct_detailed(
    params: Params,
    x2d: jax.Array,
    visible: jax.Array | None = None,
    *,
    init: jax.Array | None = None,
) -> Reconstruction:
    """Like `reconstruct`, with the intermediate results and the solver's report.

    `init` (..., N, 3), finite points in the head frame, is where stress majorization starts in the
    anchored system, instead of at the encoder's proposal.
    """
    method = lifting_method(params)
    _check(params, x2d, visible)
    check_taken(method, visible, init)
    _check_init(init)
    lead = jnp.shape(x2d)[:-2]
    if 0 in lead:
        return of_none(lambda: method.lift(params, *_one_face(params, visible, init)), lead)
    x2d = _without_points(jnp.asarray(x2d, params.reference.dtype), visible)
    return method.lift(params, x2d, visible, init)


def lifting_method(params: Params) -> LiftingMethod:
    """The method whose parameters these are; ValueError if it does not lift landmarks."""
    method = table.method_of(params)
    if not isinstance(method, LiftingMethod):
        raise ValueError(f"params: {method.TITLE} is no method that lifts landmarks by itself")
    return method


def reconstruct(
    params: Params, x2d: jax.Array, visible: jax.Array | None = None
) -> jax.Array:
    """Recovers the 3D shape of 2D face landmarks by Deep-MDS.

    Pure; works under jit, vmap and grad. Calls nothing of `jnp.linalg`, so that it exports. The
    derivative of the anchored system is that of the exact solution. In the published system it is
    zero with the transform "ordinal": there the points depend only on the order of the estimated
    distances.

    Args:
      params: from `load_pretrained`, `load_params` or `load_weights`.
      x2d: (..., N, 2) landmarks of one face each in the order of the topology, x right and y
        down, any unit and origin.
      visible: (..., N) or (N,) bool, whether each landmark was seen; those that were not are
        filled in and may hold anything. By default all were. The published system accepts no other
        value.

    Returns:
      (..., N, 3) float32: head frame (x right, y down, z away from the viewer), frontal, centred
      at the centroid, root-mean-square distance to the centroid 1, never mirrored. A face whose
      landmarks are not finite or all equal comes back as NaN and leaves its neighbours alone.
      Landmarks that are not those of a face, such as mirrored ones, give some result too: ask
      `reconstruct_detailed` for `converged` and `std`.

    Raises:
      ValueError: another shape, landmarks that are no real numbers or masked, a `visible` that is
        no truth values, or any with the published system; and outside jit, landmarks that are not
        finite or all equal, or fewer than 6 that are visible.

    Source: Kamyab & Azimifar (2022), "Deep-MDS framework for recovering the 3D shape of 2D
    landmarks from a single image", arXiv:2210.15200, section 3.
    """
    return reconstruct_detailed(params, x2d, visible).points


def of_none(of_one: Callable[[], _Arrays], lead: tuple[int, ...]) -> _Arrays:
    """What a function of one face gives, of none: its arrays with leading axes, one of them 0."""
    return jax.tree.map(lambda array: jnp.zeros((*lead, *array.shape), array.dtype),
                        jax.eval_shape(of_one))


def check_taken(
    method: LiftingMethod, visible: jax.Array | None, init: jax.Array | None = None
) -> None:
    """Raises ValueError if one of the two is given and the method does not take it."""
    if visible is not None and not method.TAKES_VISIBLE:
        raise ValueError(f"visible: expected none with {method.TITLE} as {method.VARIANT}, which "
                         "takes every landmark as seen")
    if init is not None and not method.TAKES_INIT:
        raise ValueError(f"init: expected none with {method.TITLE} as {method.VARIANT}, which "
                         "chooses its own start")


def _without_points(x2d: jax.Array, visible: jax.Array | None) -> jax.Array:
    """The landmarks, NaN in faces whose visible ones are all equal.

    A method that centres those gets zero only if its mean has no rounding error, and else a shape.
    """
    seen = None if visible is None else jnp.asarray(visible, bool)[..., None]
    low = jnp.min(x2d, axis=-2, keepdims=True, where=seen, initial=jnp.inf)
    high = jnp.max(x2d, axis=-2, keepdims=True, where=seen, initial=-jnp.inf)
    return jnp.where(jnp.all(low == high, axis=-1, keepdims=True), jnp.nan, x2d)


def _one_face(params, visible, init):
    """Landmarks of one face, and the rest where it is given."""
    reference = params.reference
    return (reference[:, :2], None if visible is None else jnp.ones(len(reference), bool),
            None if init is None else reference)


def _check_init(init: jax.Array | None) -> None:
    if init is None:
        return
    check_numbers("init", init)
    if isinstance(init, Tracer):
        return
    values = np.asarray(init)
    if not np.all(np.isfinite(values)):
        raise ValueError(f"init: expected finite points, got {np.sum(~np.isfinite(values))} "
                         "numbers that are not")
    if values.ndim > 1 and np.any(np.all(np.ptp(values, axis=-2) == 0, axis=-1)):
        raise ValueError("init: expected a shape, got one whose points are all equal")


def _check(params: Params, x2d: jax.Array, visible: jax.Array | None) -> None:
    check_numbers("x2d", x2d, "say by visible which landmarks were seen")
    if visible is not None:
        check_truth("visible", visible)
    num_landmarks = params.reference.shape[-2]
    if jnp.ndim(x2d) < 2 or jnp.shape(x2d)[-2:] != (num_landmarks, 2):
        raise ValueError(f"x2d: expected (..., {num_landmarks}, 2) for topology "
                         f"{params.config.topology}, got {jnp.shape(x2d)}")
    if visible is not None and jnp.shape(visible) not in (
        jnp.shape(x2d)[:-1], jnp.shape(x2d)[-2:-1]
    ):
        raise ValueError(f"visible: expected {jnp.shape(x2d)[:-1]} like x2d, got "
                         f"{jnp.shape(visible)}")
    if isinstance(x2d, Tracer) or isinstance(visible, Tracer):
        return
    _check_values(np.asarray(x2d), visible)  # by NumPy: constants inside jit are checked too


def _check_values(x2d: np.ndarray, given: jax.Array | None) -> None:
    if given is not None:
        visible = np.broadcast_to(np.asarray(given, bool), x2d.shape[:-1])
        few = np.sum(visible, axis=-1) < MIN_LANDMARKS
        if np.any(few):
            raise ValueError(f"visible: {np.sum(few)} of {few.size} faces have fewer than "
                             f"{MIN_LANDMARKS} landmarks that are")
        first = np.argmax(visible, axis=-1)[..., None, None]
        x2d = np.where(visible[..., None], x2d, np.take_along_axis(x2d, first, axis=-2))
    bad = ~np.all(np.isfinite(x2d), axis=(-2, -1))
    if np.any(bad):
        raise ValueError(f"x2d: {np.sum(bad)} of {bad.size} faces have landmarks that are not "
                         "finite numbers")
    flat = np.all(np.max(x2d, axis=-2) == np.min(x2d, axis=-2), axis=-1)
    if np.any(flat):
        raise ValueError(f"x2d: in {np.sum(flat)} of {flat.size} faces all landmarks are equal")
