"""Video: landmarks of one face over time, lifted frame by frame and smoothed over time."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from deepmds_jax import mds
from deepmds_jax.geometry import (
    angles_from_rotation,
    nearest_orthogonal,
    place_in_image,
    standardize,
)
from deepmds_jax.given_arrays import check_numbers, check_truth, told_apart
from deepmds_jax.lifting import (
    check_taken,
    lifting_method,
    near_origin,
    of_none,
    reconstruct_detailed,
)
from deepmds_jax.methods.contract import MIN_LANDMARKS, Params

_FRAMES_AT_ONCE = 32  # a whole video at once would need 150 kB a frame for its pairs
_TINY = 1e-6
_NEVER = 1e9  # frames since the last good one, where there was none


class OneEuro(NamedTuple):
    """A low-pass filter whose cutoff grows with speed: steady at rest, without lag in motion.

    Attributes:
      cutoff: in Hz, at rest.
      speed: how much the cutoff grows with speed, in Hz per unit and second.
      derivative_cutoff: in Hz, of the filter on the speed itself.

    Source: Casiez, Roussel & Vogel (2012), "1 Euro filter: a simple speed-based low-pass filter
    for noisy input in interactive systems", CHI.
    """

    cutoff: float
    speed: float
    derivative_cutoff: float = 1.0


class Smoothing(NamedTuple):
    """How a sequence is smoothed; see `BOTH_WAYS` and `LIVE`. docs/video.md compares them.

    Attributes:
      shape: filter of each head-frame coordinate by itself, in root-mean-square distances of the
        landmarks to their centroid.
      pose: filter of the rotation as a whole, in radians.
      both_ways: whether the filters run from both ends and their results are averaged, which
        removes the lag; otherwise no frame depends on later ones, as in a live video.
    """

    shape: OneEuro = OneEuro(1.0, 10.0)
    pose: OneEuro = OneEuro(1.0, 2.0)
    both_ways: bool = True


BOTH_WAYS = Smoothing()
LIVE = Smoothing(pose=OneEuro(1.0, 10.0), both_ways=False)  # lag costs more than noise


class SequenceReconstruction(NamedTuple):
    """What `reconstruct_sequence` returns; (...) are axes before that of the T frames.

    Attributes:
      points: (..., T, N, 3) head frame (x right, y down, z away from the viewer), frontal, centred,
        root-mean-square distance to the centroid 1.
      rotation: (..., T, 3, 3) proper; turns head-frame column vectors into the camera frame.
      yaw, pitch, roll: (..., T) degrees of that rotation, positive to the image's right, up, and
        clockwise.
      status: (..., T) int32 `mds.Status` of the frame by itself. INVALID where it shows no face,
        see `reconstruct_detailed`; points and rotation are then those of the frames around.
      num_iters: (..., T) int32 iterations of stress majorization.
      std: (..., T, N, 3) standard deviations of `points`, those of the frame by itself; 1, the
        size of the face, where the status is INVALID. None in the published system.
    """

    points: jax.Array
    rotation: jax.Array
    yaw: jax.Array
    pitch: jax.Array
    roll: jax.Array
    status: jax.Array
    num_iters: jax.Array
    std: jax.Array | None = None

    @property
    def converged(self) -> jax.Array:
        """(..., T) bool: the frame shows a face, and stress majorization met its tolerance."""
        return self.status == mds.Status.CONVERGED


def reconstruct_sequence(
    params: Params,
    x2d: jax.Array,
    visible: jax.Array | None = None,
    *,
    frame_rate: float | None = None,
    smoothing: Smoothing | None = BOTH_WAYS,
) -> SequenceReconstruction:
    """Recovers shape and pose of one face in every frame of a video.

    Every frame is lifted by itself, as by `reconstruct_detailed`; then head-frame shape and pose
    are smoothed over time, separately. A frame that shows no face (fewer than 6 visible landmarks,
    all of them equal, mirrored, ...) takes no part in that: it gets the shape and pose of the
    frames around it, or of the one before without `smoothing.both_ways`, or the mean face where
    there is none. Pure; works under jit and vmap.

    Args:
      params: as `reconstruct` takes them. With the published system the pose is that of
        `place_in_image`.
      x2d: (..., T, N, 2) landmarks of T frames in their order, x right and y down, any unit and
        origin.
      visible: (..., T, N) bool, whether each landmark was seen; those that were not are filled in
        and may hold anything. By default all were. The published system accepts no other value.
        0 and 1 are taken, too; under jit a frame with other numbers counts as one without a face.
      frame_rate: frames per second; only smoothing needs it.
      smoothing: `BOTH_WAYS`, `LIVE`, another `Smoothing`, or None to leave the frames unsmoothed.

    Returns:
      A `SequenceReconstruction`, finite also where the landmarks are not.

    Raises:
      ValueError: another shape; landmarks that are no real numbers or masked; a `visible` that is
        no truth values, or any with the published system; no frame rate, or one that is
        not a number above 0; a smoothing of another type, a cutoff not above 0, or a negative
        speed; and outside jit, visible landmarks that are not finite.
    """
    x2d, visible = _check(params, x2d, visible)
    _check_smoothing(frame_rate, smoothing)
    if 0 in x2d.shape[:-3]:
        one = jnp.zeros(x2d.shape[-3:], x2d.dtype), visible if visible is None else jnp.ones(
            x2d.shape[-3:-1], bool)
        return of_none(lambda: reconstruct_sequence(
            params, *one, frame_rate=frame_rate, smoothing=smoothing), x2d.shape[:-3])
    lead, per_face = x2d.shape[:-2], x2d.shape[-2:]
    seen = jnp.ones(x2d.shape[:-1], bool) if visible is None else visible
    there, x2d = _with_faces_alone(x2d, seen, params.reference)
    frames = x2d.reshape(-1, *per_face)
    if visible is not None:
        visible = (seen | ~there[..., None]).reshape(frames.shape[:-1])

    lifted = _lift(params, frames, visible)
    points, rotation, status, num_iters, std = jax.tree.map(
        lambda array: array.reshape(*lead, *array.shape[1:]), lifted
    )
    status, good = _which_succeeded(there, status, points)
    points, rotation = over_time(points, rotation, good, params.reference, frame_rate, smoothing)
    angles = angles_from_rotation(rotation)
    if std is not None:
        std = jnp.where(good[..., None, None], std, 1)
    return SequenceReconstruction(points, rotation, *angles, status, num_iters, std)


def over_time(
    points: jax.Array,
    rotation: jax.Array,
    good: jax.Array,
    reference: jax.Array,
    frame_rate: float | None,
    smoothing: Smoothing | None,
) -> tuple[jax.Array, jax.Array]:
    """Head-frame shapes (..., T, N, 3) and rotations (..., T, 3, 3) smoothed over time. Pure.

    Frames that are not `good` (..., T) may hold anything and are filled in, with the frontal
    `reference` (N, 3) where no other frame helps. Without smoothing the others stay as they are.
    """
    mean, forward = standardize(reference), np.eye(3, dtype=points.dtype)
    if smoothing is None or frame_rate is None:
        return _hold(points, good, mean), _hold(rotation, good, forward)
    shape, pose, both_ways = smoothing
    points = smooth(points, good, mean, frame_rate, shape, both_ways)
    rotation = smooth(rotation, good, forward, frame_rate, pose, both_ways, angular_speed)
    return standardize(points), jax.jit(_nearest_rotation)(rotation)


@jax.jit
@jax.numpy_rank_promotion("allow")
def _with_faces_alone(x2d, seen, reference):
    """Whether each frame shows a face, and the landmarks with the mean face where none is."""
    shown = jnp.where(seen[..., None], x2d, jnp.nan)
    extent = jnp.nanmax(shown, axis=-2) - jnp.nanmin(shown, axis=-2)
    there = (jnp.sum(seen, axis=-1) >= MIN_LANDMARKS) & jnp.any(extent > 0, axis=-1)
    there &= jnp.all(jnp.isfinite(x2d) | ~seen[..., None], axis=(-2, -1))
    return there, jnp.where(there[..., None, None], x2d, reference[:, :2])


@jax.jit
def _which_succeeded(there, status, points):
    """The status of each frame, INVALID without a face, and whether it has points to go by."""
    status = jnp.where(there, status, mds.Status.INVALID).astype(jnp.int32)
    return status, (status != mds.Status.INVALID) & jnp.all(jnp.isfinite(points), axis=(-2, -1))


@jax.jit
@jax.numpy_rank_promotion("allow")
def _lift(params, frames, visible):
    """Points, rotations, status, iterations and deviations of (F, N, 2) frames."""

    def lift(frame):
        result = reconstruct_detailed(params, *frame)
        rotation = result.rotation
        if rotation is None:
            rotation = place_in_image(result.points, frame[0]).rotation
        return result.points, rotation, result.status, result.num_iters, result.std

    # Whole batches: a smaller last one would need a program of its own.
    batch_size = min(_FRAMES_AT_ONCE, len(frames))
    whole = np.minimum(np.arange(-(-len(frames) // batch_size) * batch_size), len(frames) - 1)
    padded = jax.tree.map(lambda array: array[whole], (frames, visible))
    lifted = lax.map(lift, padded, batch_size=batch_size)
    return jax.tree.map(lambda array: array[: len(frames)], lifted)


def _nearest_rotation(matrices):
    return nearest_orthogonal(matrices, reflection=False)


def coordinate_speed(velocity: jax.Array) -> jax.Array:
    """The speed of each coordinate by itself."""
    return jnp.abs(velocity)


def angular_speed(velocity: jax.Array) -> jax.Array:
    """The speed, radians per second, of (..., 3, 3) derivatives of rotations."""
    return jnp.sqrt(jnp.sum(velocity**2, axis=(-2, -1), keepdims=True) / 2)


@partial(jax.jit, static_argnames=("both_ways", "speed_of"))
def smooth(
    values: jax.Array,
    good: jax.Array,
    start: jax.Array,
    frame_rate: float,
    filter_: OneEuro,
    both_ways: bool,
    speed_of: Callable[[jax.Array], jax.Array] = coordinate_speed,
) -> jax.Array:
    """`one_euro` from the first frame on, or from both ends, the mean of both. Pure.

    Across frames that are not good it goes straight from the last good one to the next. See
    `one_euro` for the arguments.
    """
    forth, gap = one_euro(values, good, start, frame_rate, filter_, speed_of)
    if not both_ways:
        return forth
    axis = good.ndim - 1
    flipped = (jnp.flip(x, axis) for x in (values, good))
    back, gap_back = one_euro(*flipped, start, frame_rate, filter_, speed_of)
    back, gap_back = jnp.flip(back, axis), jnp.flip(gap_back, axis)
    # The mean of both; across a gap, a line from one side to the other.
    share = ((gap_back + _TINY) / (gap + gap_back + 2 * _TINY))[..., None, None]
    return share * forth + (1 - share) * back


@partial(jax.jit, static_argnames="speed_of")
def one_euro(
    values: jax.Array,
    good: jax.Array,
    start: jax.Array,
    frame_rate: float,
    filter_: OneEuro,
    speed_of: Callable[[jax.Array], jax.Array] = coordinate_speed,
) -> tuple[jax.Array, jax.Array]:
    """Runs a One Euro filter over time. Pure.

    Args:
      values: (..., T, a, b).
      good: (..., T) bool; other frames may hold anything. There the result stays as it was, and
        the next good frame counts the more, the longer ago the last one was.
      start: (a, b) the result before the first good frame.
      frame_rate: frames per second.
      filter_: the filter.
      speed_of: (..., a, b) derivatives per second -> speeds, of a shape that broadcasts.

    Returns:
      (..., T, a, b), and (..., T) frames since the last good one.
    """
    axis = good.ndim - 1
    values, good = (jnp.moveaxis(x, axis, 0) for x in (values, good))

    def step(state, frame):
        value, velocity, gap = state
        new, is_good = frame
        gap = gap + 1
        seconds = (gap / frame_rate)[..., None, None]
        first = (gap > _NEVER / 2)[..., None, None]
        keep = ~is_good[..., None, None]
        new = jnp.where(keep, value, new)
        change = jnp.where(first, 0, (new - value) / seconds)
        faster = velocity + _share(filter_.derivative_cutoff, seconds) * (change - velocity)
        share = _share(filter_.cutoff + filter_.speed * speed_of(faster), seconds)
        moved = jnp.where(first, new, value + share * (new - value))
        state = (jnp.where(keep, value, moved), jnp.where(keep, velocity, faster),
                 jnp.where(is_good, 0, gap))
        return state, (state[0], state[2])

    value = jnp.broadcast_to(start, values.shape[1:]).astype(values.dtype)
    gap = jnp.full(good.shape[1:], _NEVER, values.dtype)
    _, (smoothed, gaps) = lax.scan(step, (value, jnp.zeros_like(value), gap), (values, good))
    return jnp.moveaxis(smoothed, 0, axis), jnp.moveaxis(gaps, 0, axis)


def _share(cutoff, seconds):
    """The weight of a new value in a first-order low-pass filter."""
    return 1 / (1 + 1 / (2 * jnp.pi * cutoff * seconds))


@jax.jit
def _hold(values, good, start):
    """`values` (..., T, a, b), and the last good ones where they are not good."""
    axis = good.ndim - 1

    def step(last, frame):
        new, is_good = frame
        last = jnp.where(is_good[..., None, None], new, last)
        return last, last

    values, good = (jnp.moveaxis(x, axis, 0) for x in (values, good))
    start = jnp.broadcast_to(start, values.shape[1:]).astype(values.dtype)
    return jnp.moveaxis(lax.scan(step, start, (values, good))[1], 0, axis)


def _check(params, x2d, visible):
    check_taken(lifting_method(params), visible)
    check_numbers("x2d", x2d, "say by visible which landmarks were seen")
    if visible is not None:
        check_truth("visible", visible)
    num_landmarks = params.reference.shape[-2]
    shape = jnp.shape(x2d)
    if len(shape) < 3 or shape[-2:] != (num_landmarks, 2) or shape[-3] == 0:
        raise ValueError(f"x2d: expected (..., frames, {num_landmarks}, 2) for topology "
                         f"{params.config.topology}, at least one frame, got {shape}")
    if visible is not None and jnp.shape(visible) != shape[:-1]:
        raise ValueError(f"visible: expected {shape[:-1]} like x2d, got {jnp.shape(visible)}")
    if not isinstance(x2d, Tracer) and not isinstance(visible, Tracer):
        bad = ~np.all(np.isfinite(np.asarray(x2d)), axis=-1)
        if visible is not None:
            bad &= np.asarray(visible, bool)
        bad = np.any(bad, axis=-1)
        if np.any(bad):
            raise ValueError(f"x2d: {np.sum(bad)} of {bad.size} frames have landmarks that are not "
                             "finite numbers; say by visible which were not seen")
    x2d, visible = told_apart(
        jnp.asarray(near_origin(x2d, visible), params.reference.dtype), visible)
    return x2d, None if visible is None else jnp.asarray(visible, bool)


def _check_smoothing(frame_rate, smoothing):
    if smoothing is None:
        return
    if not isinstance(smoothing, Smoothing):
        raise ValueError(f"smoothing: expected a Smoothing, or None for none, got {smoothing!r}")
    if not isinstance(smoothing.both_ways, bool | np.bool_):
        raise ValueError("smoothing.both_ways: expected True or False, got "
                         f"{smoothing.both_ways!r}")
    if frame_rate is None:
        raise ValueError("frame_rate: smoothing needs it; give the frames per second, or "
                         "smoothing=None")
    limits = [("frame_rate", frame_rate, True)]
    for name in ("shape", "pose"):
        one_euro_filter = getattr(smoothing, name)
        if not isinstance(one_euro_filter, OneEuro):
            raise ValueError(f"smoothing.{name}: expected a OneEuro, got {one_euro_filter!r}")
        for field, value in one_euro_filter._asdict().items():
            limits.append((f"smoothing.{name}.{field}", value, field != "speed"))
    for name, value, above in limits:
        if isinstance(value, Tracer):
            continue
        is_number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiu"
        if not is_number or not np.isfinite(value) or value < 0 or (above and value == 0):
            raise ValueError(f"{name}: expected a number {'above 0' if above else 'of 0 or more'}, "
                             f"got {value!r}")
