"""Faces from files, by name: what is lifted, what is left out, what is known of each face."""

import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.formats import schemes
from deepmds_jax.data.formats.faces import MIN_CONFIDENCE, Face
from deepmds_jax.geometry import Placement, place_in_image
from deepmds_jax.lifting import lifting_method, reconstruct_detailed
from deepmds_jax.methods.contract import MIN_LANDMARKS, LiftingMethod, Params, Reconstruction
from deepmds_jax.methods.saved import load_pretrained
from deepmds_jax.topologies import Topology
from deepmds_jax.video import SequenceReconstruction, Smoothing, reconstruct_sequence
from deepmds_jax.weights.locate import shipped_names

# What is known of a face or a frame: arrays, by what they are.
Arrays = dict[str, np.ndarray]


# Of a gap in time, in seconds, only so much is told to the smoothing, which forgets within that.
_LONGEST_GAP = 10.0
_LONGEST_STEP = 100  # in frames, half of the steps: else times are not in seconds


def load_pretrained_for(faces: Mapping[str, Face]) -> Params:
    """The shipped weights for the number of landmarks of the first face that there are some for.

    Schemes that have our landmarks among theirs count as `schemes.READ_AS` says.

    Raises:
      ValueError: no weights are shipped for any of the faces.
    """
    topology = _shipped_topology(faces)
    if faces and topology is None:
        raise ValueError(f"weights are shipped for {list(_shipped_sizes())} landmarks, the first "
                         f"face has {len(next(iter(faces.values())))}; give others by --weights")
    return load_pretrained(topology or next(iter(_shipped_sizes().values())))


def losing_landmarks(faces: Mapping[str, Face]) -> list[str]:
    """A line on faces that lose landmarks to the weights that `load_pretrained_for` takes."""
    topology = _shipped_topology(faces)
    if topology is None:
        return []
    kept = topologies.get(topology).num_landmarks
    more = {name: other for name, face in faces.items() if len(face) > kept
            and (other := _shipped_topology({name: face})) not in (None, topology)}
    if not more:
        return []
    first, other = next(iter(more.items()))
    return [f"warning: {len(more)} of {len(faces)} faces have more landmarks than the {kept} of "
            f"{topology}, the weights for the first face, and only these count: {first}"
            f"{', ...' if len(more) > 1 else ''}; for all of theirs, give them alone, or "
            f"--weights={other}"]


def select_faces(
    faces: Mapping[str, Face], topology: Topology, method: LiftingMethod | None = None
) -> tuple[dict[str, Face], list[str]]:
    """The faces that have the landmarks of a topology, as it has them, and can be lifted.

    Args:
      faces: from files, by name.
      topology: that of the weights.
      method: the weights' own, which may take no hidden landmarks.

    Returns:
      Face name -> face, and a line for each of the others.
    """
    fitting, left_out = {}, []
    for name, face in faces.items():
        try:
            fitting[name] = _fit(face, topology, method)
        except ValueError as error:
            left_out.append(f"{name}: {error}")
    return fitting, left_out


def lift_faces(params: Params, faces: Mapping[str, Face]) -> tuple[dict[str, Arrays], list[str]]:
    """Lifts faces, and places them in their images.

    Args:
      params: the weights.
      faces: from `select_faces`; at least one.

    Returns:
      Face name -> its arrays: `x2d`, NaN where hidden, and `visible`; those of a `Reconstruction`
      and its `converged`; those of a `Placement`, with its points as `image_points`. And a line for
      each face that came out not finite, which is left out.
    """
    x2d, visible = _stack(faces)
    origin, near = _around_origin(x2d, visible)
    seen = None if visible.all() else visible
    result = jax.jit(reconstruct_detailed)(params, near, seen)
    place = _place(result, near, seen, origin)
    arrays = {
        "x2d": x2d, "visible": visible,
        **{key: value for key, value in result._asdict().items() if value is not None},
        "converged": result.converged,
        **{f"image_{k}" if k == "points" else k: v for k, v in place._asdict().items()},
    }
    arrays = jax.device_get(arrays)
    lifted, left_out = {}, []
    for i, name in enumerate(faces):
        if np.isfinite(arrays["points"][i]).all():
            lifted[name] = {key: array[i] for key, array in arrays.items()}
        else:
            left_out.append(f"{name}: the reconstruction is not finite")
    return lifted, left_out


def split_tracks(faces: Mapping[str, Face]) -> dict[str | None, dict[str, Face]]:
    """The faces of each track, by the track's name; those without one are a track, too."""
    tracks: dict[str | None, dict[str, Face]] = {}
    for name, face in faces.items():
        tracks.setdefault(face.track, {})[name] = face
    return tracks


class NoFaceError(ValueError):
    """No frame of a video has landmarks that are those of a face."""


def lift_frames(
    params: Params,
    faces: Mapping[str, Face],
    frame_rate: float,
    smoothing: Smoothing | None,
) -> dict[str, Arrays]:
    """Lifts the frames of a video, and places the shapes in their images.

    The published system, which takes no hidden landmarks, takes a frame with some as one without a
    face.

    Args:
      params: the weights.
      faces: frame name -> landmarks of one face; in a frame without a face none is visible, or all
        are equal. Times are those of the faces, else their frames' numbers over `frame_rate`, else
        that of their order.
      frame_rate: frames per second.
      smoothing: see `reconstruct_sequence`.

    Returns:
      Frame name -> its arrays, in the order of time: `x2d`, NaN where hidden, and `visible`; those
      of a `SequenceReconstruction` and its `converged`; `image_points`, `scale` and `translation`
      as in `Placement`; the time in `seconds`; and the number of the `frame` in its file, or where
      not all have one, in the order of time from 0.

    Raises:
      NoFaceError: no frame shows a face.
      ValueError: a frame has another number of landmarks; some frames have a time and others none,
        or the same.
    """
    topology = topologies.get(params.config.topology)
    fitting, wrong = {}, []
    for name, face in faces.items():
        try:
            fitting[name] = schemes.convert(face, topology)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    refuse_gaps(wrong)
    seconds, places = _times(fitting, frame_rate)
    order, known = np.argsort(seconds, kind="stable"), list(fitting)
    names, seconds = [known[i] for i in order], seconds[order]
    numbers = [fitting[name].frame_number for name in names]
    numbers = np.arange(len(names)) if None in numbers else np.array(numbers)
    x2d, visible = _stack({name: fitting[name] for name in names})
    method = lifting_method(params)
    enough = visible.sum(-1) >= (MIN_LANDMARKS if method.TAKES_VISIBLE else topology.num_landmarks)
    seen = np.where(enough[:, None], visible, True)  # there all are equal, which is no face
    origin, near = _around_origin(x2d, visible & enough[:, None])

    # In the frames between those of the file all landmarks are equal.
    steps = np.zeros((places[-1] + 1, *near.shape[1:]), np.float32)
    steps[places] = near
    in_steps = None
    if not seen.all():
        in_steps = np.ones(steps.shape[:-1], bool)
        in_steps[places] = seen
        in_steps = jnp.asarray(in_steps)
    result = jax.tree.map(lambda array: array[places], jax.device_get(reconstruct_sequence(
        params, jnp.asarray(steps), in_steps, frame_rate=frame_rate, smoothing=smoothing)))
    place = _place(result, near, None if in_steps is None else seen, origin)
    arrays = {
        "x2d": x2d, "visible": visible,
        **{key: value for key, value in result._asdict().items() if value is not None},
        "converged": result.converged,
        "image_points": place.points, "scale": place.scale, "translation": place.translation,
        "seconds": seconds, "frame": numbers,
    }
    frames = {name: {key: array[i] for key, array in arrays.items()}
              for i, name in enumerate(names)}
    if not any(frame["converged"] for frame in frames.values()):
        raise NoFaceError("fps: no frame shows a face")
    return frames


def refuse_gaps(left_out: Sequence[str]) -> None:
    """Raises ValueError if frames are left out: the others would be at wrong times."""
    if left_out:
        raise ValueError("fps: every frame is needed: " + "; ".join(left_out[:3]))


def jumps(faces: Mapping[str, Face]) -> list[str]:
    """A line on frames without times whose names count on, but not in even steps."""
    names = [name for name, face in faces.items() if face.track is None]
    parts = [match.groups() for match in map(re.compile(r"(.*?)(\d+)(\D*)").fullmatch, names)
             if match]
    steps = np.diff([int(number) for _, number, _ in parts])
    if len(parts) < len(names) or len({(before, behind) for before, _, behind in parts}) != 1 or (
            steps.size == 0 or steps.min() < 1 or steps.max() < 2 * steps.min()):
        return []
    i = int(np.argmax(steps))
    return [f"warning: frames without times are taken one after the other, but {names[i + 1]} "
            f"follows {names[i]}; columns frame or timestamp would tell the gap"]


def _shipped_sizes() -> dict[int, str]:
    """Numbers of landmarks that weights are shipped for, and their topologies."""
    shipped = shipped_names()
    return {topology.num_landmarks: name for name, topology in topologies.TOPOLOGIES.items()
            if name in shipped}


def _shipped_topology(faces: Mapping[str, Face]) -> str | None:
    """That of the first face that weights are shipped for."""
    sizes = _shipped_sizes()
    known = (sizes.get(n, schemes.READ_AS.get(n)) for n in map(len, faces.values()))
    return next((name for name in known if name in sizes.values()), None)


def _fit(face: Face, topology: Topology, method: LiftingMethod | None) -> Face:
    """A face as the weights take it; ValueError says why it cannot be lifted."""
    face = schemes.convert(face, topology)
    points, num_visible = face.points[face.visible], int(face.visible.sum())
    if not num_visible and isinstance(face.confidence, float) and (
        face.confidence < MIN_CONFIDENCE
    ):
        raise ValueError(f"its confidence is {face.confidence:g}, expected at least "
                         f"{MIN_CONFIDENCE:g}")
    if num_visible < min(MIN_LANDMARKS, len(face)):
        raise ValueError(f"{num_visible} of {len(face)} landmarks are visible, expected at least "
                         f"{MIN_LANDMARKS}")
    if num_visible < len(face) and method is not None and not method.TAKES_VISIBLE:
        raise ValueError(f"{len(face) - num_visible} landmarks are hidden, which {method.TITLE} as "
                         f"{method.VARIANT} does not take")
    if np.ptp(points, axis=0).max() == 0:
        raise ValueError("all landmarks are equal")
    return face


def _stack(faces: Mapping[str, Face]) -> tuple[np.ndarray, np.ndarray]:
    """(F, N, 2) points, NaN where hidden, and (F, N) whether visible."""
    visible = np.stack([face.visible for face in faces.values()])
    points = np.stack([face.points for face in faces.values()])
    return np.where(visible[..., None], points, np.nan), visible


def _around_origin(x2d: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middles (F, 1, 2) of visible points, and float32 points around them, 0 where hidden.

    Far from the origin, float32 has no digits for a face.
    """
    known = visible[..., None]
    count = np.maximum(visible.sum(-1), 1)[:, None, None]
    origin = (x2d.mean(axis=1, keepdims=True) if visible.all() else
              np.sum(x2d, axis=1, keepdims=True, where=known) / count)
    return origin, np.where(known, x2d - origin, 0).astype(np.float32)


def _place(
    result: Reconstruction | SequenceReconstruction, near: np.ndarray, seen: np.ndarray | None,
    origin: np.ndarray,
) -> Placement:
    """The shapes in their images; `near` and `origin` are from `_around_origin`."""
    place = jax.device_get(jax.jit(place_in_image)(
        result.points, near, seen, rotation=result.rotation))
    return place._replace(points=place.points + np.pad(origin, ((0, 0), (0, 0), (0, 1))),
                          translation=place.translation + origin[:, 0])


def _two_at_once(
    frames: Sequence[tuple[str, Face]], seconds: np.ndarray, frame_rate: float
) -> str:
    """What is wrong with two frames, by name, that would have one place."""
    which = " and ".join(
        name + (f" (frame {face.frame_number})" if face.frame_number is not None else "")
        for name, face in frames)
    remedy = ("each frame once, or several faces told apart by face_id"
              if seconds[0] == seconds[1] else "other frames per second")
    track = frames[0][1].track
    return (f"fps: two frames of one face at {seconds[0]:g} s with {frame_rate:g} frames per "
            f"second{f' in {track}' if track else ''}: {which}; expected {remedy}")


def _times(faces: Mapping[str, Face], frame_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds (F,) of frames, and (F,) their places, sorted, in a sequence without gaps."""
    times = [face.seconds if face.seconds is not None else
             face.frame / frame_rate if face.frame is not None else None
             for face in faces.values()]
    known = [time for time in times if time is not None]
    if not known:
        order = np.arange(len(times))
        return order / frame_rate, order
    if len(known) < len(times):
        raise ValueError(f"fps: {len(times) - len(known)} of {len(times)} frames have no time, "
                         "expected one for all or for none")
    seconds = np.array(known)
    steps = np.rint(np.diff(np.sort(seconds)) * frame_rate).astype(np.int64)
    if np.any(steps == 0):
        first = np.argmin(steps)
        twice = np.argsort(seconds, kind="stable")[first:first + 2]
        raise ValueError(_two_at_once([list(faces.items())[i] for i in twice], seconds[twice],
                                      frame_rate))
    if steps.size and np.median(steps) > _LONGEST_STEP:
        raise ValueError(f"fps: the times of frames are {np.median(np.diff(np.sort(seconds))):g} "
                         f"apart, expected seconds, at {frame_rate:g} frames per second")
    steps = np.minimum(steps, max(1, int(_LONGEST_GAP * frame_rate)))
    return seconds, np.concatenate([[0], np.cumsum(steps)])
