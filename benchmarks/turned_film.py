"""How well the angles of a face in a film come back: ICT faces that turn, drawn as a film.

  python benchmarks/turned_film.py --data_dir=ICT-FaceKit [--face_model=FILE]

Six random identities turn by up to 30 degrees of yaw, 8 of pitch and 12 of roll, in films of 3
seconds, seen by a camera with a field of view of 20 degrees; brows and irises are painted on, which
the mesh lacks. Each film goes the way of bin/reconstruct --video, once with the detector, once with
the true landmarks. Prints the table of docs/video.md.
"""

import dataclasses
import itertools
import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np
from absl import app, flags

from deepmds_jax.data.photos.detection import Detector, open_detector
from deepmds_jax.data.photos.films import open_film, write_film
from deepmds_jax.data.rendering import Appearance, crop, render
from deepmds_jax.data.sources import ict
from deepmds_jax.data.views import View, seen_with_depth
from deepmds_jax.evaluation import tables
from deepmds_jax.evaluation.reconstructed_films import reconstruct_film
from deepmds_jax.methods.saved import load_pretrained
from deepmds_jax.video import BOTH_WAYS

DATA = flags.DEFINE_string("data_dir", None, "ICT-FaceKit.", required=True)
MODEL = flags.DEFINE_string("face_model", None, "As bin/reconstruct takes it.")
FRAMES, RATE, SIZE, MARGIN, IDENTITIES = 75, 25, 256, 64, 6
SECONDS = np.arange(FRAMES) / RATE
ANGLES = {"yaw": 30 * np.sin(2 * np.pi * SECONDS / 3), "pitch": 8 * np.sin(2 * np.pi * SECONDS / 2),
          "roll": 12 * np.sin(2 * np.pi * SECONDS / 2.5)}
BROW, IRIS, PUPIL = (0.2, 0.13, 0.09), (70, 45, 30), (10, 10, 10)


def with_brows(dense):
    """The model with dark vertices along its brows."""
    points, colour = np.asarray(dense.shape.mean), np.array(dense.colour)
    for brow in (slice(17, 22), slice(22, 27)):
        corners = points[np.asarray(dense.landmarks)[brow]] + [0, 0.15, 0]
        line = np.concatenate([np.linspace(a, b, 8) for a, b in itertools.pairwise(corners)])
        distance = np.linalg.norm(points[:, None] - line, axis=-1).min(axis=1)
        colour[distance < 0.3] = BROW
    return dataclasses.replace(dense, colour=jnp.asarray(colour))


def draw(dense, identity):
    """(F, H, W, 3) pictures of a face that turns, and (F, 68, 2) its landmarks in them."""
    none = np.zeros(FRAMES, np.float32)
    view = View(*(ANGLES[key].astype(np.float32) for key in ("yaw", "pitch", "roll")), none + 20,
                none.astype(np.int32), none + 1, np.zeros((FRAMES, 2), np.float32))
    light = np.array([0.3, -0.5, -0.8], np.float32)
    look = Appearance(np.zeros((FRAMES, 0), np.float32),
                      np.tile(light / np.linalg.norm(light), (FRAMES, 1)), none + 0.45,
                      np.tile(np.array([0.2, 0.3, 0.35], np.float32), (FRAMES, 1)))
    identity = np.tile(identity, (FRAMES, 1))
    expression = np.zeros((FRAMES, dense.shape.expression.shape[0]), np.float32)
    pictures = np.asarray(render(dense, identity, expression, look, view, SIZE))
    pictures = np.rint(255 * pictures).astype(np.uint8)
    points = dense.shape.shapes(identity[:1], expression[:1])[:, dense.landmarks]
    points = jnp.repeat(points, FRAMES, axis=0)
    seen = seen_with_depth(points, points, view)[..., :2]
    corner, side = crop(seen)
    x2d = np.asarray((seen - corner[:, None]) * SIZE / side[:, None, None] - 0.5)
    y, x = np.mgrid[:SIZE, :SIZE]
    for picture, landmarks in zip(pictures, x2d, strict=True):
        grey = np.ptp(picture, axis=2) < 25
        sheet = grey & (picture.mean(axis=2) > 110)  # the eyes' are white
        for eye in (landmarks[36:42], landmarks[42:48]):
            off = np.hypot(*(np.stack([x, y], axis=-1) - eye.mean(axis=0)).transpose(2, 0, 1))
            radius = 0.25 * np.linalg.norm(eye[0] - eye[3])
            picture[sheet & (off < radius)] = IRIS
            picture[sheet & (off < 0.45 * radius)] = PUPIL
    border = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    return np.pad(pictures, border, mode="edge"), x2d + MARGIN


def main(_) -> None:
    """Draws, lifts and compares."""
    dense = with_brows(ict.load_dense("ibug68", pathlib.Path(DATA.value)))
    params = load_pretrained("flame51")
    rng = np.random.default_rng(0)
    found = {"true landmarks": [], "detector": []}
    with tempfile.TemporaryDirectory() as folder, open_detector(MODEL.value) as detector:
        for number in range(IDENTITIES):
            identity = rng.normal(size=dense.shape.identity.shape[0]).astype(np.float32)
            pictures, x2d = draw(dense, identity)
            path = pathlib.Path(folder, f"{number}.mp4")
            with write_film(path, RATE) as add:
                for picture in pictures:
                    add(picture)
            landmarks = iter(x2d[:, None, 17:])
            truth = Detector("truth", lambda _, faces=landmarks: next(faces),
                             lambda face, _: face, "")
            for name, eyes in (("true landmarks", truth), ("detector", detector)):
                lifted = reconstruct_film(params, open_film(path), eyes, BOTH_WAYS)
                (person,) = lifted.people.values()
                found[name].append([person[i] for i in range(FRAMES)])
    rows = []
    for name, films in found.items():
        for key, truth in ANGLES.items():
            came = np.array([[float(frame[key]) for frame in frames] for frames in films])
            off, slope = came - truth, np.polyfit(np.tile(truth, len(came)), came.ravel(), 1)[0]
            near = np.abs(ANGLES["yaw"]) <= 15
            rows.append({"landmarks": name, "angle": key, "slope": round(slope, 2),
                         "rms error (deg)": round(np.sqrt((off**2).mean()), 1),
                         "without its mean": round(off.std(axis=1).mean(), 1),
                         "to 15 deg of yaw": round(np.sqrt((off[:, near] ** 2).mean()), 1),
                         "largest": round(np.abs(off).max(), 1)})
    print(tables.to_text(rows))


if __name__ == "__main__":
    app.run(main)
