"""Lifts landmark files to 3D.

  bin/reconstruct examples --image=examples
  bin/reconstruct face.pts --image=face.jpg --out=face.npz,face.obj
  bin/reconstruct landmarks/*.npy --weights=runs/ict_flame51 --out=faces.json

Takes .pts, .json, .csv, .npy, .npz and .mat files, or folders of them; writes .npz, .json, .csv,
.obj and .ply, and with --image or --picture a picture. A file that cannot be read is left out and
named at the end.
"""

import os
import pathlib
import sys

import jax
import numpy as np
from absl import flags

from deepmds_jax import topologies, weights
from deepmds_jax.cli import common
from deepmds_jax.data.landmark_files import list_landmark_files, read_landmarks
from deepmds_jax.data.shape_files import check_format, write_shapes
from deepmds_jax.evaluation import figures, tables
from deepmds_jax.extras import require
from deepmds_jax.geometry import place_in_image
from deepmds_jax.reconstruct import Params, reconstruct_detailed

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_MAX_DRAWN = 20  # rows of a picture that can still be looked at

_WEIGHTS = flags.DEFINE_string(
    "weights", None,
    "Shipped (a topology), a .safetensors file, or a training run's workdir; default: the shipped "
    "weights for that number of landmarks.",
)
_OUT = flags.DEFINE_list("out", ["out/faces.npz"], "Files for the shapes; endings tell the format.")
_IMAGE = flags.DEFINE_string(
    "image", None,
    "The photograph, or a folder of photographs named like their landmark files; draws a picture.",
)
_PICTURE = flags.DEFINE_string(
    "picture", None, "Picture, .png, .svg or .pdf; default with --image: the first --out as .png."
)


def main(paths: list[str]) -> None:
    """Lifts the landmark files in `paths` as the flags say."""
    for out in _OUT.value:
        check_format(out)
    picture = _PICTURE.value
    if picture is None and _IMAGE.value is not None:
        picture = pathlib.Path(_OUT.value[0]).with_suffix(".png")
    if picture is not None:
        figures.check_format(picture)

    landmarks, left_out = _read(paths)
    params = _load_weights(landmarks)
    topology = topologies.get(params.config.topology)
    landmarks = _fitting(landmarks, topology, left_out)
    drawn = list(landmarks)[:_MAX_DRAWN] if picture is not None else []
    photographs = _open_photographs(_find_photographs(drawn))
    faces = _lift(params, landmarks, left_out) if landmarks else {}
    if faces:
        print(tables.to_text([_summary(name, face) for name, face in faces.items()]))
        for out in _OUT.value:
            write_shapes(out, faces, topology)
        if picture is not None:
            shown = {name: faces[name] for name in drawn if name in faces}
            if len(shown) < len(faces):
                print(f"the picture shows {len(shown)} of {len(faces)} faces")
            figures.save_figure(figures.draw_reconstructions(shown, topology, photographs), picture)
        written = [*_OUT.value, *([str(picture)] if picture is not None else [])]
        print(f"{len(faces)} faces, weights {params.config.topology}; wrote", *written)
    if left_out:
        print("left out:", *left_out, sep="\n  ", file=sys.stderr)
        sys.exit(1)


def _read(paths: list[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Landmarks by face name, and a line for each file that could not be read."""
    if not paths:
        raise ValueError("expected landmark files or folders of them, got none; "
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
    sizes = {topologies.get(name).num_landmarks: name for name in weights.pretrained_names()}
    found = [len(points) for points in landmarks.values()]
    known = [n for n in found if n in sizes]
    if found and not known:
        raise ValueError(f"weights are shipped for {list(sizes)} landmarks, the first face has "
                         f"{found[0]}; give others by --weights")
    return weights.load_pretrained(sizes[known[0]] if known else weights.pretrained_names()[0])


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
        **result._asdict(),
        "converged": result.converged,
        **{f"image_{k}" if k == "points" else k: v for k, v in place._asdict().items()},
    }
    arrays = jax.device_get(arrays)
    faces = {}
    for i, name in enumerate(landmarks):
        if np.isfinite(arrays["points"][i]).all():
            faces[name] = {key: array[i] for key, array in arrays.items()}
        else:
            left_out.append(f"{name}: the reconstruction is not finite")
    return faces


def _summary(name: str, face: dict[str, np.ndarray]) -> tables.Row:
    angles = {f"{key} (deg)": round(float(face[key]), 1) for key in ("yaw", "pitch", "roll")}
    return {
        "face": name, **angles, "stress-1": float(face["stress"]),
        "iterations": int(face["num_iters"]), "converged": "yes" if face["converged"] else "no",
    }


def _find_photographs(names) -> dict[str, pathlib.Path]:
    """Photographs by face name: the one given, or those whose file name begins the face's."""
    if _IMAGE.value is None:
        return {}
    path = pathlib.Path(_IMAGE.value)
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"image: no such file or folder: {path}")
        return dict.fromkeys(names, path)
    files = [file for file in path.iterdir() if file.suffix.lower() in _IMAGE_SUFFIXES]
    files.sort(key=lambda file: len(file.stem))  # the longest match comes last and stays
    return {
        name: file
        for file in files
        for name in names
        if name.startswith(file.stem) and not name[len(file.stem) :][:1].isalnum()
    }


def _open_photographs(files: dict[str, pathlib.Path]) -> dict[str, np.ndarray]:
    """RGB arrays by face name, turned as viewers show them."""
    if not files:
        return {}
    image = require("PIL.Image", extra="pictures")
    transpose = require("PIL.ImageOps", extra="pictures").exif_transpose
    photographs = {}
    for name, file in files.items():
        try:
            photographs[name] = np.asarray(transpose(image.open(file)).convert("RGB"))
        except Exception as error:  # Pillow raises many kinds on damaged files
            raise ValueError(f"image: cannot read {file}: {error}") from error
    return photographs


def run() -> None:
    """Console script."""
    common.run(main, positional=True)
