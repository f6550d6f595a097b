"""How far a detector's landmarks are from those placed by hand on the example photographs.

  python benchmarks/detectors.py [--face_model=FILE]

Prints the table of docs/photographs.md: mean distances in % of that of the outer eye corners.
"""

import pathlib

import numpy as np
from absl import app, flags

from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.data.photos.detection import find_faces, open_detector
from deepmds_jax.evaluation import tables

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
MODEL = flags.DEFINE_string("face_model", None, "As bin/reconstruct takes it.")


def main(_) -> None:
    """Finds the face in each photograph, and measures."""
    rows = []
    with open_detector(MODEL.value) as detector:
        for file in ("collins.pts", "hopper.json"):
            placed = read_landmarks(EXAMPLES / file)[file.partition(".")[0]].points
            photograph = (EXAMPLES / file).with_suffix(".jpg")
            (face,) = find_faces(detector, [photograph])[0][photograph]
            off = np.linalg.norm(detector.landmarks(face, "ibug68")[:, :2] - placed, axis=1)
            off *= 100 / np.linalg.norm(placed[36] - placed[45])
            rows.append({"photograph": photograph.name, "51 points": round(off[17:].mean(), 1),
                         "17 of the jaw": round(off[:17].mean(), 1)})
    print(tables.to_text(rows))


if __name__ == "__main__":
    app.run(main)
