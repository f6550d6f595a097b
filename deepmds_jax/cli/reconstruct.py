"""Lifts landmark files, or the faces in photographs, to 3D.

  bin/reconstruct examples --image=examples
  bin/reconstruct face.pts --image=face.jpg --out=face.npz,face.obj
  bin/reconstruct landmarks/*.npy --weights=runs/ict_flame51 --out=faces.json
  bin/reconstruct --image=face.jpg --face_model=face_landmarker.task
  bin/reconstruct video.npy --fps=25 --picture=video.png

Takes .pts, .json, .csv, .npy, .npz and .mat files, or folders of them; writes .npz, .json, .csv,
.obj and .ply, and with --image or --picture a picture. A file that cannot be read is left out and
named at the end. Without landmark files MediaPipe finds the faces in the photographs, called
PHOTO#0, PHOTO#1, ... from left to right where there are several, and its own 3D is drawn and scored
beside ours. With --fps the faces are frames of one face in time, smoothed unless --nosmooth.
"""

import collections
import os
import pathlib
import sys

import jax
import numpy as np
from absl import flags

from deepmds_jax import topologies, weights
from deepmds_jax.cli import common
from deepmds_jax.data.formats.landmark_files import list_landmark_files, read_landmarks
from deepmds_jax.data.formats.shape_files import check_format, write_shapes
from deepmds_jax.data.photos import detection, mesh_landmarks, reading
from deepmds_jax.evaluation import figures, tables
from deepmds_jax.evaluation.metrics import score
from deepmds_jax.evaluation.sequence_figures import draw_sequence
from deepmds_jax.geometry import place_in_image, procrustes
from deepmds_jax.lifting import Params, reconstruct_detailed
from deepmds_jax.mds import Status
from deepmds_jax.video import BOTH_WAYS, reconstruct_sequence

_FRAMES_DRAWN = 5  # of a video
_MAX_DRAWN = 20  # rows of a picture that can still be looked at

_WEIGHTS = flags.DEFINE_string(
    "weights", None,
    "Shipped (a topology), a .safetensors file, or a training run's workdir; default: the shipped "
    "weights for that number of landmarks; in photographs flame51, whose landmarks do not depend "
    "on where a jaw line is taken to run.",
)
_OUT = flags.DEFINE_list("out", ["out/faces.npz"], "Files for the shapes; endings tell the format.")
_IMAGE = flags.DEFINE_string(
    "image", None,
    "The photograph, or a folder of photographs named like their landmark files; draws a picture. "
    "Without landmark files, where to find the faces.",
)
_PICTURE = flags.DEFINE_string(
    "picture", None, "Picture, .png, .svg or .pdf; default with --image: the first --out as .png."
)

_FACE_MODEL = flags.DEFINE_string(
    "face_model", None,
    "Finds faces by MediaPipe's Face Landmarker and this model file of Google's, "
    "face_landmarker.task; needs deepmds-jax[mediapipe].",
)
_FACE_MESH_PYTHON = flags.DEFINE_string(
    "face_mesh_python", None,
    "Finds faces by MediaPipe's old Face Mesh, whose model comes with it, run by this Python of an "
    f"environment made by: {detection.ENVIRONMENT}",
)

_FPS = flags.DEFINE_float(
    "fps", None,
    "Frames per second: the landmark files hold the frames of one face, in their order. A frame "
    "whose landmarks are all equal is one without a face.",
)
_SMOOTH = flags.DEFINE_bool("smooth", True, "With --fps, whether to smooth over time.")


def main(paths: list[str]) -> None:
    """Lifts the landmark files in `paths`, or the faces in photographs, as the flags say."""
    if _FPS.value is not None and not (paths and 0 < _FPS.value < float("inf")):
        raise ValueError("fps: expected a number above 0, and landmark files, got "
                         f"{_FPS.value:g} and {len(paths)} files")
    for out in _OUT.value:
        check_format(out)
    picture = _PICTURE.value
    if picture is None and _IMAGE.value is not None:
        picture = pathlib.Path(_OUT.value[0]).with_suffix(".png")
    if picture is not None:
        figures.check_format(picture)
    detector = {"model": _FACE_MODEL.value or None, "python": _FACE_MESH_PYTHON.value or None}
    if paths or _IMAGE.value is None:
        if any(detector.values()):
            raise ValueError("face_model, face_mesh_python: they find faces in photographs, give "
                             "--image and no landmark files")
        landmarks, left_out = _read(paths)
        params = _load_weights(landmarks)
        topology = topologies.get(params.config.topology)
        meshes, files = {}, None
    else:
        params = common.load_weights(_WEIGHTS.value or "flame51")[0]
        topology = topologies.get(params.config.topology)
        meshes, files, left_out = _find_faces(topology, detector)
        landmarks = {name: mesh[:, :2] for name, mesh in meshes.items()}

    if _FPS.value is not None:
        _lift_video(params, landmarks, left_out, picture)
        return
    landmarks = _fitting(landmarks, topology, left_out)
    # MediaPipe's own shape has a row of its own.
    drawn = list(landmarks)[: _MAX_DRAWN // (2 if meshes else 1)] if picture is not None else []
    if files is None:
        files = _find_photographs(drawn)
    photographs = _open_photographs({n: files[n] for n in drawn if n in files}, left_out)
    faces = _lift(params, landmarks, left_out) if landmarks else {}
    if faces:
        print(tables.to_text([_summary(name, face) for name, face in faces.items()]))
        if meshes:
            faces = {name: face | {"mediapipe": meshes[name]} for name, face in faces.items()}
            print("\nbeside MediaPipe's own 3D; neither is the truth, which a photograph does "
                  "not tell:")
            print(tables.to_text(_compare(faces, topology)))
        for out in _OUT.value:
            write_shapes(out, faces, topology)
        if picture is not None:
            shown = {name: faces[name] for name in drawn if name in faces}
            if len(shown) < len(faces):
                print(f"the picture shows {len(shown)} of {len(faces)} faces")
            if meshes:
                shown, photographs = _beside_mediapipe(shown, photographs)
            figures.save_figure(figures.draw_reconstructions(shown, topology, photographs), picture)
        written = [*_OUT.value, *([str(picture)] if picture is not None else [])]
        print(f"{len(faces)} faces, weights {params.config.topology}; wrote", *written)
    if left_out:
        print("left out:", *left_out, sep="\n  ", file=sys.stderr)
    # A landmark file is there to be lifted, but not every photograph has a face.
    if left_out and (paths or not faces):
        sys.exit(1)


def _read(paths: list[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Landmarks by face name, and a line for each file that could not be read."""
    if not paths:
        raise ValueError("expected landmark files or folders of them, or --image=PHOTO, got none; "
                         "try: bin/reconstruct examples --image=examples")
    files, landmarks, left_out = [], {}, []
    for path in paths:
        try:
            files += list_landmark_files(path) if os.path.isdir(path) else [pathlib.Path(path)]
        except (ValueError, OSError) as error:
            left_out.append(str(error))
    for file in files:
        try:
            for name, points in read_landmarks(file).items():
                landmarks[name if name not in landmarks else f"{name} ({file})"] = points
        except ValueError as error:
            left_out.append(str(error))
    return landmarks, left_out


def _load_weights(landmarks: dict[str, np.ndarray]) -> Params:
    if _WEIGHTS.value is not None:
        return common.load_weights(_WEIGHTS.value)[0]
    shipped = set(weights.pretrained_names())
    sizes = {topology.num_landmarks: name for name, topology in topologies.TOPOLOGIES.items()
             if name in shipped}
    found = [len(points) for points in landmarks.values()]
    known = [n for n in found if n in sizes]
    if found and not known:
        raise ValueError(f"weights are shipped for {list(sizes)} landmarks, the first face has "
                         f"{found[0]}; give others by --weights")
    return weights.load_pretrained(sizes[known[0]] if known else next(iter(sizes.values())))


def _fitting(
    landmarks: dict[str, np.ndarray], topology: topologies.Topology, left_out: list[str]
) -> dict[str, np.ndarray]:
    """The faces that the weights can take; the others are added to `left_out`."""
    fitting = {}
    for name, points in landmarks.items():
        if len(points) != topology.num_landmarks:
            left_out.append(f"{name}: {len(points)} landmarks, topology {topology.name} has "
                            f"{topology.num_landmarks}")
        elif np.ptp(points, axis=0).max() == 0:
            left_out.append(f"{name}: all landmarks are equal")
        else:
            fitting[name] = points
    return fitting


def _lift(
    params: Params, landmarks: dict[str, np.ndarray], left_out: list[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Everything known of each face after reconstruction, by name."""
    x2d = np.stack(list(landmarks.values()))
    origin = x2d.mean(axis=1, keepdims=True)  # far from it, float32 has no digits for a face
    near = (x2d - origin).astype(np.float32)
    result = jax.jit(reconstruct_detailed)(params, near)
    place = jax.device_get(jax.jit(place_in_image)(result.points, near))
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
    faces = {}
    for i, name in enumerate(landmarks):
        if np.isfinite(arrays["points"][i]).all():
            faces[name] = {key: array[i] for key, array in arrays.items()}
            if arrays["status"][i] == Status.INVALID:
                print(f"{name}: these are not the landmarks of a face seen from before; mirrored, "
                      "or in another order?", file=sys.stderr)
        else:
            left_out.append(f"{name}: the reconstruction is not finite")
    return faces


def _summary(name: str, face: dict[str, np.ndarray]) -> tables.Row:
    angles = {f"{key} (deg)": round(float(face[key]), 1) for key in ("yaw", "pitch", "roll")}
    std = {"std (% of size)": round(100 * float(face["std"].mean()), 1)} if "std" in face else {}
    return {
        "face": name, **angles, **std, "stress-1": float(face["stress"]),
        "iterations": int(face["num_iters"]), "converged": "yes" if face["converged"] else "no",
    }


def _lift_video(
    params: Params, landmarks: dict[str, np.ndarray], left_out: list[str],
    picture: str | pathlib.Path | None,
) -> None:
    """Lifts, prints, writes and draws frames of one face in time."""
    topology = topologies.get(params.config.topology)
    wrong = [name for name, points in landmarks.items() if len(points) != topology.num_landmarks]
    left_out = left_out + [f"{name}: {len(landmarks[name])} landmarks, topology {topology.name} "
                           f"has {topology.num_landmarks}" for name in wrong]
    if left_out:  # without them the others would be at wrong times
        raise ValueError("fps: every frame is needed: " + "; ".join(left_out[:3]))
    x2d = np.stack(list(landmarks.values()))
    origin = x2d.mean(axis=1)
    near = (x2d - origin[:, None]).astype(np.float32)
    result = jax.device_get(reconstruct_sequence(
        params, near, frame_rate=_FPS.value, smoothing=BOTH_WAYS if _SMOOTH.value else None
    ))
    # The landmarks tell where the turned shape lies, and how large it is.
    turned = result.points @ result.rotation.swapaxes(-1, -2)
    scale = np.sum(turned[..., :2] * near, (1, 2)) / np.sum(turned[..., :2] ** 2, (1, 2))
    placed = scale[:, None, None] * turned
    placed = placed + np.pad(origin, ((0, 0), (0, 1)))[:, None]
    arrays = {
        "x2d": x2d, **{key: value for key, value in result._asdict().items() if value is not None},
        "converged": result.converged, "image_points": placed, "scale": scale,
        "translation": origin, "seconds": np.arange(len(x2d)) / _FPS.value,
    }
    frames = {name: {key: array[i] for key, array in arrays.items()}
              for i, name in enumerate(landmarks)}
    found = [name for name, frame in frames.items() if frame["converged"]]
    if not found:
        raise ValueError("fps: no frame shows a face")
    listed = _spread(list(frames), _MAX_DRAWN)
    print(tables.to_text([_frame_summary(name, frames[name]) for name in listed]))
    if len(listed) < len(frames):
        print(f"{len(listed)} of {len(frames)} frames, spread over time")
    for out in _OUT.value:
        write_shapes(out, frames, topology)
    if picture is not None:
        shown = _spread(found, _FRAMES_DRAWN)
        photographs = _open_photographs(_find_photographs(shown), left_out)
        drawn = {name: frame | {"frontal": frame["points"][:, :2]}
                 for name, frame in frames.items()}
        figures.save_figure(draw_sequence(drawn, shown, topology, photographs), picture)
    written = [*_OUT.value, *([str(picture)] if picture is not None else [])]
    print(f"{len(frames)} frames of one face, {len(frames) - len(found)} without a face, weights "
          f"{params.config.topology}; wrote", *written)
    if left_out:
        print("left out:", *left_out, sep="\n  ", file=sys.stderr)


def _spread(names: list[str], most: int) -> list[str]:
    """At most so many names, evenly from the first to the last."""
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, most).round().astype(int))]


def _frame_summary(name: str, frame: dict[str, np.ndarray]) -> tables.Row:
    angles = {f"{key} (deg)": round(float(frame[key]), 1) for key in ("yaw", "pitch", "roll")}
    return {"frame": name, "time (s)": round(float(frame["seconds"]), 3), **angles,
            "iterations": int(frame["num_iters"]),
            "converged": "yes" if frame["converged"] else "no"}


def _find_faces(
    topology: topologies.Topology, detector: dict[str, str | None]
) -> tuple[dict[str, np.ndarray], dict[str, pathlib.Path], list[str]]:
    """MediaPipe's 3D landmarks by face name, their photographs, and a line for each without."""
    if topology.name not in mesh_landmarks.TOPOLOGIES:
        raise ValueError(f"weights: MediaPipe's mesh has the landmarks of "
                         f"{' and '.join(mesh_landmarks.TOPOLOGIES)}, not of {topology.name}")
    if len([value for value in detector.values() if value]) != 1:
        raise ValueError(
            "image: to find faces in photographs give either --face_model=face_landmarker.task, "
            "Google's model file, after: pip install 'deepmds-jax[mediapipe]'; or "
            "--face_mesh_python=face_mesh/bin/python, of an environment made by: "
            f"{detection.ENVIRONMENT}"
        )
    try:
        paths = reading.list_photographs(_IMAGE.value)
    except ValueError as error:
        raise ValueError(f"image: {error}") from None
    found, left_out = detection.find_faces(paths, **detector)
    stems = collections.Counter(path.stem for path in found)
    meshes, files = {}, {}
    for path, faces in found.items():
        if not len(faces):
            left_out.append(f"{path}: no face found")
        for i, mesh in enumerate(faces):
            name = path.stem if stems[path.stem] == 1 else path.name
            name += f"#{i}" if len(faces) > 1 else ""
            meshes[name] = mesh_landmarks.to_landmarks(mesh, topology.name)
            files[name] = path
    return meshes, files, left_out


def _compare(
    faces: dict[str, dict[str, np.ndarray]], topology: topologies.Topology
) -> list[tables.Row]:
    """What can be told of our shape and MediaPipe's without the truth; docs/photographs.md."""
    ours, theirs, placed, x2d = (
        np.stack([face[key] for face in faces.values()]).astype(np.float32)
        for key in ("points", "mediapipe", "image_points", "x2d")
    )
    eyes = [topology.landmarks.index(f"exocanthion_{side}") for side in topologies.SIDES]

    def relative(offsets, shape):  # % of the shape's own distance of the outer eye corners
        between = np.linalg.norm(shape[:, eyes[0]] - shape[:, eyes[1]], axis=-1)
        return 100 * np.linalg.norm(offsets, axis=-1).mean(-1) / between

    def asymmetry(shape):
        mirrored = shape[:, list(topology.mirror)] * np.array([-1, 1, 1], np.float32)
        return relative(_fit(mirrored, shape) - shape, shape)

    between = jax.device_get(score(ours, theirs, topology))
    columns = {
        "reprojection (%)": relative(placed[..., :2] - x2d, placed),
        "asymmetry (%)": asymmetry(ours),
        "MediaPipe's (%)": asymmetry(theirs),
        "difference (%)": 100 * between.nme,
        "depth correlation": between.depth_correlation,
        "same handedness": between.right_handed,
    }
    return [
        {"face": name, **{title: column[i].item() for title, column in columns.items()}}
        for i, name in enumerate(faces)
    ]


@jax.jit
def _fit(source: jax.Array, target: jax.Array) -> jax.Array:
    """`source` turned, scaled and moved onto `target`, never mirrored."""
    return procrustes(source, target)(source)


def _beside_mediapipe(
    faces: dict[str, dict[str, np.ndarray]], photographs: dict[str, np.ndarray]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """The faces to draw with MediaPipe's shape after each, turned and scaled onto ours."""
    rows, images = {}, {}
    for name, face in faces.items():
        other = f"MediaPipe: {name}"
        theirs = _fit(face["mediapipe"].astype(np.float32), face["points"])
        rows |= {name: face, other: {"x2d": face["x2d"], "points": theirs}}
        if name in photographs:
            images |= dict.fromkeys((name, other), photographs[name])
    return rows, images


def _find_photographs(names: list[str]) -> dict[str, pathlib.Path]:
    """Photographs by face name: the one given, or those whose file name begins the face's."""
    if _IMAGE.value is None or not names:
        return {}
    try:
        files = reading.list_photographs(_IMAGE.value)
    except ValueError as error:
        raise ValueError(f"image: {error}") from None
    if not os.path.isdir(_IMAGE.value):
        return dict.fromkeys(names, files[0])
    files.sort(key=lambda file: len(file.stem))  # the longest match comes last and stays
    found = {
        name: file
        for file in files
        for name in names
        if name.startswith(file.stem) and not name[len(file.stem) :][:1].isalnum()
    }
    without = [name for name in names if name not in found]
    if without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        print(f"warning: image: none of the {len(files)} photographs in {_IMAGE.value} is named "
              f"like {', '.join(without[:3])}{more}; drawn without", file=sys.stderr)
    return found


def _open_photographs(
    files: dict[str, pathlib.Path], left_out: list[str]
) -> dict[str, np.ndarray]:
    """RGB arrays by face name; those that cannot be read are added to `left_out`."""
    opened = {}
    for file in dict.fromkeys(files.values()):
        try:
            opened[file] = reading.read_photograph(file)
        except ValueError as error:
            left_out.append(str(error))
    return {name: opened[file] for name, file in files.items() if file in opened}


def run() -> None:
    """Console script."""
    common.run(main, positional=True)
