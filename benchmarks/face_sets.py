"""Faces to measure on: seen with a detector's noise, of other models, of made-up definitions."""

import dataclasses
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data import specs
from deepmds_jax.data.augmentation import deform, deformation_basis
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.photos.face_model import fetch_face_model
from deepmds_jax.data.photos.mesh_landmarks import NUM_POINTS, to_landmarks
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import add_noise, sample_faces


def open_all(topology, root):
    """The data sets of ICT, of `synthetic` and of MakeHuman, whose folders lie in `root`."""
    found = map(specs.load_spec, ("ict_robust", "synthetic", "makehuman"))
    return [open_dataset(spec, topology, specs.find_folder(spec, root)) for spec in found]


def canonical(topology, root):
    """(1, N, 3) of MediaPipe's canonical face, from its model file in `face_landmarker` in `root`.

    The file is an archive, and fetched where it is missing. In its description of the mesh
    (mediapipe, face_geometry/protos) every number of a vertex, x, y, z, u and v, is a byte that
    names its field and four of a float.
    """
    with zipfile.ZipFile(fetch_face_model(root / "face_landmarker")) as archive:
        mesh = archive.read("geometry_pipeline_metadata_landmarks.binarypb")
    numbers = np.frombuffer(mesh, [("field", "u1"), ("value", "<f4")], 5 * NUM_POINTS[0], offset=8)
    vertices = numbers["value"].reshape(-1, 5)[:, :3] * np.array([1, -1, -1])  # y was up
    return to_landmarks(vertices, topology)[None].astype(np.float32)


def noisy_landmarks(topology, num_faces, noise, num_drawn):
    """(F, N, 2) float32 of faces of `synthetic`; beyond `num_drawn`, the same ones again.

    `noise` is in sizes of the face in the image.
    """
    views = specs.load_spec("synthetic").views
    x2d = np.asarray(sample_faces(jax.random.key(0), synthetic.load(topology), views,
                                  min(num_faces, num_drawn)).x2d)
    size = np.std(x2d, axis=(1, 2), keepdims=True)
    noisy = x2d + noise * size * np.random.default_rng(0).standard_normal(x2d.shape)
    return np.resize(noisy, (num_faces, *x2d.shape[1:])).astype(np.float32)


def half(model, first):
    """A morphable model with every other mode of identity and expression, from `first` on."""
    lines = model.jaw_lines
    if lines is not None:
        lines = dataclasses.replace(lines, identity=lines.identity[first::2],
                                    expression=lines.expression[first::2])
    return dataclasses.replace(model, identity=model.identity[first::2],
                               expression=model.expression[first::2], jaw_lines=lines)


def definitions(key, mean, topology, num):
    """(num, N, 3) ways in which others might place all landmarks, in the unit of the mean."""
    basis = deformation_basis(np.asarray(mean))
    mirror = topologies.get(topology).mirror
    means = jnp.broadcast_to(mean, (num, *mean.shape))
    return deform(key, means, basis, mirror, 1.0) - means + means.mean(axis=1)[:, None]


def with_noise(key, faces, noise, topology):
    """The faces with noise in each coordinate, a share of the distance of the outer eye corners."""
    names = topologies.get(topology).landmarks
    right, left = (faces.points[:, names.index(f"exocanthion_{s}")] for s in topologies.SIDES)
    eyes = jnp.linalg.norm(right - left, axis=-1)
    size = jnp.linalg.norm(faces.points - faces.points.mean(axis=1, keepdims=True), axis=(-2, -1))
    unit = eyes / size * faces.points.shape[1] ** 0.5
    errors = add_noise(key, faces, noise).x2d - faces.x2d
    return faces._replace(x2d=faces.x2d + unit[:, None, None] * errors)
