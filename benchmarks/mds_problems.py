"""The problems of benchmarks/mds.py, and the judge of their solutions."""

import pathlib
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.spatial.distance import pdist, squareform

from deepmds_jax.data.sources import synthetic

ICT_FACES = pathlib.Path(__file__).parents[2] / "shared/data/ict_facekit/ict68.npz"
TOPOLOGIES = {68: "ibug68", 72: "bfm72"}  # faces of so many landmarks


class Case(NamedTuple):
    """Problems of one kind.

    Attributes:
      data: "faces", shapes in 3D with 3 % of noise; or "general", normal points in 5D with 10 %.
      n: points of a problem.
      k: dimensions to embed them in.
      batches: batch sizes in which ours solves them.
    """

    data: str
    n: int
    k: int
    batches: tuple[int, ...]


def draw_problems(case: Case, num_problems: int) -> np.ndarray:
    """Dissimilarities (num_problems, n, n), float32: distances with multiplicative noise."""
    rng = np.random.default_rng(0)
    if case.data == "faces":
        noise, points = 0.03, _draw_faces(rng, case.n, num_problems)
    else:
        noise, points = 0.1, rng.standard_normal((num_problems, case.n, 5))
    return np.stack([_noisy_distances(p, noise, rng) for p in points])


def source_of_faces(n: int) -> str:
    """The model that faces of n landmarks are drawn from."""
    return "ICT-FaceKit" if n == 68 and ICT_FACES.exists() else f"synthetic {TOPOLOGIES[n]}"


def stress_of(problems: np.ndarray, points: np.ndarray, transform: str) -> np.ndarray:
    """Stress-1 (p,) of configurations (p, n, k) with the least-squares disparities, in float64."""
    pairs = zip(problems, points, strict=True)
    return np.array([_stress_of_one(*pair, transform) for pair in pairs])


def _draw_faces(rng, n, num_faces):
    """Landmarks (num_faces, n, 3) of random faces, each min-max scaled to [0, 1]."""
    if source_of_faces(n) == "ICT-FaceKit":
        with np.load(ICT_FACES) as model:
            mean, identity = model["mean"], model["identity"]
    else:
        model = synthetic.load(TOPOLOGIES[n])
        mean, identity = np.asarray(model.mean), np.asarray(model.identity)
    coefficients = rng.standard_normal((num_faces, len(identity)))
    points = mean + np.einsum("fk,knd->fnd", coefficients, identity)
    low, high = points.min((1, 2), keepdims=True), points.max((1, 2), keepdims=True)
    return (points - low) / (high - low)


def _noisy_distances(points, noise, rng):
    """Symmetric (n, n), each pair's distance times 1 + noise e, e ~ N(0, 1)."""
    distances = pdist(points)
    factors = 1 + noise * rng.standard_normal(len(distances))
    return squareform(np.abs(distances * factors)).astype(np.float32)


def _stress_of_one(dissimilarities, points, transform):
    delta, d = squareform(dissimilarities).astype(np.float64), pdist(points)
    if transform == "ratio":
        residual = d - delta * (delta @ d) / (delta @ delta)
    else:
        d = d[np.lexsort((d, delta))]  # ties in the order of the distances: the primary approach
        residual = d - isotonic_regression(d).x
    return np.sqrt((residual @ residual) / (d @ d))
