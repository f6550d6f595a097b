"""Writes faces.csv, the faces of make.R: PYTHONPATH=../../.. python make_faces.py"""

import csv

import jax
import numpy as np

from deepmds_jax.data.morphable_model import sample_shapes
from deepmds_jax.data.sources import synthetic

# With expressions: in a closed mouth the lips nearly meet, and at an optimum in 2D they can
# coincide, where stress-1 is not smooth and minimisers stop early.
model = synthetic.load("ibug68")
faces = np.asarray(sample_shapes(model, jax.random.key(1), 4, expression=True))
with open("faces.csv", "w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["face", "landmark", "x", "y", "z"])
    for face, landmark in np.ndindex(faces.shape[:2]):
        millimetres = (f"{coordinate:.3f}" for coordinate in faces[face, landmark])
        writer.writerow([face + 1, landmark, *millimetres])
