"""Faces from files, by name: what is lifted, what is left out, what is known of each face."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.geometry import place_in_image
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.mds import Status
from deepmds_jax.methods.contract import Params
from deepmds_jax.methods.saved import load_pretrained
from deepmds_jax.topologies import Topology
from deepmds_jax.video import Smoothing, reconstruct_sequence
from deepmds_jax.weights.locate import shipped_names

# What is known of a face or a frame: arrays, by what they are.
Arrays = dict[str, np.ndarray]


def load_pretrained_for(landmarks: Mapping[str, np.ndarray]) -> Params:
    """The shipped weights for the number of landmarks of the first face that there are some for.

    Args:
      landmarks: face name -> (N, 2).

    Raises:
      ValueError: no weights are shipped for any of the faces.
    """
    shipped = set(shipped_names())
    sizes = {topology.num_landmarks: name for name, topology in topologies.TOPOLOGIES.items()
             if name in shipped}
    found = [len(points) for points in landmarks.values()]
    known = [n for n in found if n in sizes]
    if found and not known:
        raise ValueError(f"weights are shipped for {list(sizes)} landmarks, the first face has "
                         f"{found[0]}; give others by --weights")
    return load_pretrained(sizes[known[0]] if known else next(iter(sizes.values())))


def select_faces(
    landmarks: Mapping[str, np.ndarray], topology: Topology
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The faces that have the landmarks of a topology, and a line for each of the others."""
    fitting, left_out = {}, []
    for name, points in landmarks.items():
        if len(points) != topology.num_landmarks:
            left_out.append(_wrong_number(name, points, topology))
        elif np.ptp(points, axis=0).max() == 0:
            left_out.append(f"{name}: all landmarks are equal")
        else:
            fitting[name] = points
    return fitting, left_out


def lift_faces(
    params: Params, landmarks: Mapping[str, np.ndarray]
) -> tuple[dict[str, Arrays], list[str]]:
    """Lifts faces, and places them in their images.

    Args:
      params: the weights.
      landmarks: face name -> (N, 2) image points, x right and y down, in pixels; at least one face.

    Returns:
      Face name -> its arrays: `x2d`; those of a `Reconstruction` and its `converged`; those of a
      `Placement`, with its points as `image_points`. And a line for each face that came out not
      finite, which is left out.
    """
    x2d = np.stack(list(landmarks.values()))
    origin = x2d.mean(axis=1, keepdims=True)  # far from it, float32 has no digits for a face
    near = (x2d - origin).astype(np.float32)
    result = jax.jit(reconstruct_detailed)(params, near)
    place = jax.device_get(jax.jit(place_in_image)(result.points, near, rotation=result.rotation))
    place = place._replace(
        points=place.points + np.pad(origin, ((0, 0), (0, 0), (0, 1))),
        translation=place.translation + origin[:, 0],
    )
    arrays = {
        "x2d": x2d,
        **{key: value for key, value in result._asdict().items() if value is not None},
        "converged": result.converged,
        **{f"image_{k}" if k == "points" else k: v for k, v in place._asdict().items()},
    }
    arrays = jax.device_get(arrays)
    faces, left_out = {}, []
    for i, name in enumerate(landmarks):
        if np.isfinite(arrays["points"][i]).all():
            faces[name] = {key: array[i] for key, array in arrays.items()}
        else:
            left_out.append(f"{name}: the reconstruction is not finite")
    return faces, left_out


def suspicious_names(faces: Mapping[str, Arrays]) -> list[str]:
    """The faces whose landmarks are not those of a face seen from the front."""
    return [name for name, face in faces.items() if face["status"] == Status.INVALID]


def lift_frames(
    params: Params,
    landmarks: Mapping[str, np.ndarray],
    frame_rate: float,
    smoothing: Smoothing | None,
) -> dict[str, Arrays]:
    """Lifts the frames of a video, and places the shapes in their images.

    Args:
      params: the weights.
      landmarks: frame name -> (N, 2) image points of one face, x right and y down, in pixels, in
        the order of time; in a frame without a face all are equal.
      frame_rate: frames per second.
      smoothing: see `reconstruct_sequence`.

    Returns:
      Frame name -> its arrays: `x2d`; those of a `SequenceReconstruction` and its `converged`;
      `image_points`, `scale` and `translation` as in `Placement`; and the time in `seconds`.

    Raises:
      ValueError: a frame has another number of landmarks, or no frame shows a face.
    """
    topology = topologies.get(params.config.topology)
    wrong = [_wrong_number(name, points, topology) for name, points in landmarks.items()
             if len(points) != topology.num_landmarks]
    refuse_gaps(wrong)
    x2d = np.stack(list(landmarks.values()))
    origin = x2d.mean(axis=1)
    near = (x2d - origin[:, None]).astype(np.float32)
    result = jax.device_get(reconstruct_sequence(
        params, near, frame_rate=frame_rate, smoothing=smoothing))
    place = jax.device_get(
        jax.jit(place_in_image)(result.points, near, rotation=result.rotation))
    placed = place.points + np.pad(origin, ((0, 0), (0, 1)))[:, None]
    arrays = {
        "x2d": x2d, **{key: value for key, value in result._asdict().items() if value is not None},
        "converged": result.converged, "image_points": placed, "scale": place.scale,
        "translation": place.translation + origin, "seconds": np.arange(len(x2d)) / frame_rate,
    }
    frames = {name: {key: array[i] for key, array in arrays.items()}
              for i, name in enumerate(landmarks)}
    if not any(frame["converged"] for frame in frames.values()):
        raise ValueError("fps: no frame shows a face")
    return frames


def refuse_gaps(left_out: Sequence[str]) -> None:
    """Raises ValueError if frames are left out: the others would be at wrong times."""
    if left_out:
        raise ValueError("fps: every frame is needed: " + "; ".join(left_out[:3]))


def _wrong_number(name: str, points: np.ndarray, topology: Topology) -> str:
    return (f"{name}: {len(points)} landmarks, topology {topology.name} has "
            f"{topology.num_landmarks}")
