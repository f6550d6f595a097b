"""From 2D landmarks to 3D: the pure functions that others embed."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from deepmds_jax import mds
from deepmds_jax.given_arrays import check_numbers, check_truth, told_apart
from deepmds_jax.mds.cores import map_in_blocks, map_on_cores
from deepmds_jax.mds.inputs import is_traced
from deepmds_jax.methods import table
from deepmds_jax.methods.contract import MIN_LANDMARKS, LiftingMethod, Params, Reconstruction

_Arrays = TypeVar("_Arrays")

# Faces lifted together: on a CPU as many as fit into the caches of a core, elsewhere as many as
# keep a card busy and fit into the memory of a small one.
_CPU_BLOCK, _BLOCK = 16, 8192
# Rounding of more than this share of a face's extent leaves no shape to see.
_MAX_ROUNDING = 0.01
# Below this share of the largest coordinate, float32 rounds an extent to 0.01 % and worse.
_FAR = 1e-3
# Powers of the largest coordinate up to the fourth are finite, and no number of the way is lost.
_USUAL = 2.0**-24, 2.0**24


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
    return _reconstruct(_everything, params, x2d, visible, init)


def _everything(result: Reconstruction) -> Reconstruction:
    return result


def _points(result: Reconstruction) -> jax.Array:
    return result.points


def _reconstruct(wanted, params, x2d, visible, init):
    """What is `wanted` of the result; of many faces, the rest would fill the memory."""
    method = lifting_method(params)
    _check(params, x2d, visible)
    check_taken(method, visible, init)
    _check_init(init, (*jnp.shape(x2d)[:-1], 3))
    if init is not None:
        init = jnp.asarray(near_origin(init, None), params.reference.dtype)
    lead = jnp.shape(x2d)[:-2]
    if 0 in lead:
        return of_none(
            lambda: wanted(method.lift(params, *_one_face(params, visible, init))), lead)
    x2d = jnp.asarray(near_origin(x2d, visible), params.reference.dtype)
    x2d, visible = told_apart(x2d, visible)
    if not lead:
        return _lift(method, wanted, params, x2d, visible, init)
    if visible is not None:
        visible = jnp.broadcast_to(jnp.asarray(visible), x2d.shape[:-1])
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(lead):]), (x2d, visible, init))
    lift = functools.partial(_lift_in_blocks, method, wanted, params)
    result = lift(*batch) if is_traced(params) else map_on_cores(lift, *batch, min_chunk=_CPU_BLOCK)
    return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), result)


@functools.partial(jax.jit, static_argnames=("method", "wanted"), inline=True)
def _lift_in_blocks(method, wanted, params, x2d, visible, init):
    lift = functools.partial(_lift, method, wanted, params)
    block = _CPU_BLOCK if jax.default_backend() == "cpu" else _BLOCK
    return map_in_blocks(lift, x2d, visible, init, block=block)


# Step by step, outside jit, it would be hundreds of programs to compile.
@functools.partial(jax.jit, static_argnames=("method", "wanted"), inline=True)
def _lift(method, wanted, params, x2d, visible, init):
    x2d = _to_usual_size(x2d, visible)
    init = None if init is None else _to_usual_size(init, None)
    is_shape = _is_shape(x2d, visible)
    # With another face in its place no NaN comes about, and so none in a derivative: that by the
    # parameters has a share of every face.
    stand_in = params.reference[:, :2]
    result = method.lift(
        params, jnp.where(is_shape[..., None, None], x2d, stand_in), visible, init)
    return wanted(_without(result, ~is_shape))


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
        value. 0 and 1 are taken, too; a face with other numbers comes back as NaN under jit.

    Returns:
      (..., N, 3) float32: head frame (x right, y down, z away from the viewer), frontal, centred
      at the centroid, root-mean-square distance to the centroid 1, never mirrored. A face whose
      landmarks are not finite or all equal, or so far from the origin that float32 has no digits
      for them, comes back as NaN and leaves its neighbours alone, and their derivatives.
      Landmarks that are not those of a face, such as mirrored ones, give some result too: ask
      `reconstruct_detailed` for `converged` and `std`.

    Raises:
      ValueError: another shape, landmarks that are no real numbers or masked, a `visible` that is
        no truth values, or any with the published system; and outside jit, landmarks that are not
        finite, all equal or too far from the origin for their dtype, or fewer than 6 visible.

    Source: Kamyab & Azimifar (2022), "Deep-MDS framework for recovering the 3D shape of 2D
    landmarks from a single image", arXiv:2210.15200, section 3.
    """
    return _reconstruct(_points, params, x2d, visible, None)


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


def near_origin(
    x2d: jax.Array | np.ndarray, visible: jax.Array | np.ndarray | None
) -> jax.Array | np.ndarray:
    """The landmarks; of float64 outside jit, faces far off or of extreme size as float32 has digits
    for them: around the origin, of extent 1."""
    if isinstance(x2d, Tracer) or isinstance(visible, Tracer):
        return x2d
    if isinstance(x2d, jax.Array) and x2d.dtype == np.float32:
        return x2d  # left on its device
    points = _on_host(x2d)
    if points.dtype != np.float64:
        return x2d
    seen = np.broadcast_to(True if visible is None else np.asarray(visible, bool),
                           points.shape[:-1])[..., None]
    low, high, extent, peak = _bounds(points, seen, np)
    least, most = _USUAL
    with np.errstate(invalid="ignore"):
        far = (extent > 0) & np.isfinite(peak) & (
            (extent < _FAR * peak) | (extent < least) | (peak > most))
    if not np.any(far):
        return x2d
    middle, unit = np.where(far, low / 2 + high / 2, 0), np.where(far, extent, 1)
    return np.where(seen, (np.where(seen, points, 0) - middle) / unit, 0)


def _on_host(x2d: jax.Array | np.ndarray) -> np.ndarray:
    """The landmarks in NumPy, integers and long doubles in float64."""
    points = np.asarray(x2d)
    is_other = points.dtype.kind in "iu" or points.dtype == np.longdouble
    return points.astype(np.float64) if is_other else points


def _bounds(points, seen, of):
    """Least and largest (..., 1, 2) of visible landmarks, extent and largest size (..., 1, 1).

    `of` is the module that computes, `numpy` or `jax.numpy`.
    """
    low = of.min(points, axis=-2, keepdims=True, where=seen, initial=of.inf)
    high = of.max(points, axis=-2, keepdims=True, where=seen, initial=-of.inf)
    extent = of.max(high - low, axis=-1, keepdims=True)
    peak = of.max(of.maximum(of.abs(low), of.abs(high)), axis=-1, keepdims=True)
    return low, high, extent, peak


def _seen(visible: jax.Array | None) -> jax.Array:
    return jnp.array(True) if visible is None else jnp.asarray(visible, bool)[..., None]


def _to_usual_size(x2d: jax.Array, visible: jax.Array | None) -> jax.Array:
    """The landmarks, those of extreme size in units of the largest; which changes no result."""
    *_, peak = _bounds(x2d, _seen(visible), jnp)
    least, most = _USUAL
    extreme = ((peak < least) | (peak > most)) & (peak > 0) & jnp.isfinite(peak)
    return jnp.where(extreme, x2d / jax.lax.stop_gradient(jnp.where(extreme, peak, 1)), x2d)


def _is_shape(x2d: jax.Array, visible: jax.Array | None) -> jax.Array:
    """(...) whether the visible landmarks are finite and not all equal but for rounding.

    A method that centres equal ones gets zero only if its mean has no rounding error, and else a
    shape.
    """
    *_, extent, peak = _bounds(x2d, _seen(visible), jnp)
    lost = float(jnp.finfo(x2d.dtype).eps) / _MAX_ROUNDING * peak
    return (jnp.isfinite(peak) & (extent > lost))[..., 0, 0]


def _without(result: Reconstruction, bad: jax.Array) -> Reconstruction:
    """The reconstruction, with nothing known of faces that are `bad` (...)."""

    def put(name: str, value: float):
        array = getattr(result, name)
        if array is None:
            return None
        return jnp.where(bad.reshape(bad.shape + (1,) * (array.ndim - bad.ndim)), value, array)

    unknown = ("points", "frontal", "dissimilarities", "stress", "proposal", "rotation")
    return result._replace(
        **{name: put(name, jnp.nan) for name in unknown}, num_iters=put("num_iters", 0),
        status=put("status", mds.Status.INVALID), std=put("std", 1),
        angle_std=put("angle_std", 180))


def _one_face(params, visible, init):
    """Landmarks of one face, and the rest where it is given."""
    reference = params.reference
    return (reference[:, :2], None if visible is None else jnp.ones(len(reference), bool),
            None if init is None else reference)


def _check_init(init: jax.Array | None, shape: tuple[int, ...]) -> None:
    if init is None:
        return
    check_numbers("init", init)
    if not isinstance(init, Tracer):
        values = np.asarray(init)
        if not np.all(np.isfinite(values)):
            raise ValueError(f"init: expected finite points, got {np.sum(~np.isfinite(values))} "
                             "numbers that are not")
        if values.ndim > 1 and np.any(np.all(np.ptp(values, axis=-2) == 0, axis=-1)):
            raise ValueError("init: expected a shape, got one whose points are all equal")
    if jnp.shape(init) != shape:
        raise ValueError(f"init: expected {shape}, a shape for each face, got {jnp.shape(init)}")


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
    if isinstance(x2d, jax.Array) and jax.default_backend() != "cpu":
        points, count = x2d, _count_faults_on_device  # fetching them would take longer
    else:  # by NumPy: constants inside jit are checked too
        points, count = _on_host(x2d), functools.partial(_count_faults, of=np)
    _raise_for(count(points, visible), points.shape[:-2], points.dtype, visible is not None)


class _NumFaults(NamedTuple):
    """Faces with too few landmarks, not finite, all equal, and too far off for their dtype."""

    few: int | jax.Array
    bad: int | jax.Array
    equal: int | jax.Array
    lost: int | jax.Array


def _count_faults(x2d, given, of):
    """`_NumFaults`; `of` is the module that computes, `numpy` or `jax.numpy`."""
    few = 0
    if given is not None:
        visible = of.broadcast_to(of.asarray(given, bool), x2d.shape[:-1])
        few = of.sum(of.sum(visible, axis=-1) < MIN_LANDMARKS)
        first = of.argmax(visible, axis=-1)[..., None, None]
        x2d = of.where(visible[..., None], x2d, of.take_along_axis(x2d, first, axis=-2))
    bad = ~of.all(of.isfinite(x2d), axis=(-2, -1))
    *_, extent, peak = _bounds(x2d, of.array(True), of)
    eps = np.finfo(np.float64 if x2d.dtype == np.float64 else np.float32).eps
    lost = eps * peak > _MAX_ROUNDING * extent
    return _NumFaults(few, of.sum(bad), of.sum(extent == 0), of.sum(lost))


_count_faults_on_device = jax.jit(functools.partial(_count_faults, of=jnp))


def _raise_for(num_faults, lead, dtype, given):
    few, bad, equal, lost = map(int, num_faults)
    size = math.prod(lead)
    if few:
        raise ValueError(f"visible: {few} of {size} faces have fewer than {MIN_LANDMARKS} "
                         "landmarks that are visible")
    if bad:
        hint = "" if given else "; say by visible which landmarks were seen"
        raise ValueError(f"x2d: {bad} of {size} faces have landmarks that are not finite "
                         f"numbers{hint}")
    if equal:
        raise ValueError(f"x2d: in {equal} of {size} faces all landmarks are equal")
    if lost:
        raise ValueError(f"x2d: {lost} of {size} faces are so far from the origin that {dtype} has "
                         "no digits for them; give them nearer to it"
                         f"{'' if dtype == np.float64 else ', or in float64'}")
