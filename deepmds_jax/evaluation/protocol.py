"""The paper's protocol: methods over test faces, and their scores over samples of these."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from deepmds_jax.data.views import Faces, View
from deepmds_jax.evaluation.metrics import CRITERIA, Metrics, score
from deepmds_jax.methods import Method
from deepmds_jax.topologies import Topology

NUM_SAMPLES = 10
SAMPLE_SIZE = 500

_BATCH = 250
_YAW_EDGES = (0, 15, 30, 45, 60, 90, 180)


def evaluate(
    methods: Sequence[Method], faces: Faces, topology: str | Topology
) -> dict[str, Metrics]:
    """Scores every method on every face.

    Args:
      methods: see `deepmds_jax.methods`; their titles differ.
      faces: F test faces and one view of each; images may stay NumPy arrays, a batch at a time
        goes to the device.
      topology: of the landmarks, or its name.

    Returns:
      By title, `Metrics` of (F,) and (F, N) NumPy arrays; NaN where a method gave no face.

    Raises:
      ValueError: no faces, two methods of one title, or a method whose points have another shape.
    """
    num_faces = faces.x2d.shape[0]
    if not num_faces:
        raise ValueError("faces: expected at least one, got none")
    titles = [method.title for method in methods]
    if len(set(titles)) < len(titles):
        raise ValueError(f"methods: expected titles that differ, got {titles}")
    batch = min(_BATCH, num_faces)
    num_batches = -(-num_faces // batch)
    # Whole batches compile once: the last one is filled up with the first faces, cut off below.
    index = np.arange(num_batches * batch) % num_faces
    results = {}
    for method in methods:
        run = jax.jit(functools.partial(_score, method, topology))
        parts = [
            jax.device_get(run(jax.tree.map(lambda x, rows=rows: x[rows], faces)))
            for rows in tqdm.tqdm(index.reshape(-1, batch), desc=method.title, unit="batch")
        ]
        columns = zip(*parts, strict=True)
        results[method.title] = Metrics(*(np.concatenate(x)[:num_faces] for x in columns))
    return results


def _score(method: Method, topology: str | Topology, faces: Faces) -> Metrics:
    points = method.predict(faces)
    if points.shape != faces.points.shape:
        raise ValueError(f"method {method.title}: expected points {faces.points.shape} of "
                         f"{faces.x2d.shape[0]} faces, got {points.shape}")
    return score(faces.points, points, topology)


def draw_samples(
    key: jax.Array | int, num_faces: int, num_samples: int = NUM_SAMPLES, size: int = SAMPLE_SIZE
) -> np.ndarray:
    """Random samples of the test faces, each without replacement.

    The paper draws 10 samples of 500 from a test set of at least 5,000, so of a tenth. Of fewer
    faces the samples are smaller, to stay a tenth each: `num_faces // num_samples`, at least one
    face. See `describe_samples` for what to tell the reader.

    Args:
      key: PRNG key, or a seed of one. The same key gives the same samples.
      num_faces: of the test set.
      num_samples: how many samples.
      size: faces in each, at most.

    Returns:
      (num_samples, size) int places in the test set. A face may be in several samples.

    Raises:
      ValueError: a number below 1.
    """
    for name, value in (("num_faces", num_faces), ("num_samples", num_samples), ("size", size)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    size = max(1, min(size, num_faces // num_samples))
    key = key if isinstance(key, jax.Array) else jax.random.key(key)
    keys = jax.random.split(key, num_samples)
    return np.stack([jax.random.permutation(k, num_faces)[:size] for k in keys])


def describe_samples(samples: np.ndarray, num_faces: int) -> str:
    """What the samples are, in words, and that the paper's are larger where they are."""
    number, size = samples.shape
    text = f"{number} random samples of {size:,} of {num_faces:,} test faces"
    smaller = size < SAMPLE_SIZE or number < NUM_SAMPLES
    paper = f" (the paper: {NUM_SAMPLES} of {SAMPLE_SIZE} of at least 5,000)"
    return text + paper * smaller


def sample_means(metrics: Metrics, samples: np.ndarray) -> Metrics:
    """Means over the faces of each sample.

    Faces that the method gave no finite prediction for are left out of every mean, that of
    `right_handed` too, and a flat one, which has no depth correlation, of that mean; a sample of
    such faces only has NaN.

    Args:
      metrics: of F faces.
      samples: (S, size) places from `draw_samples`.

    Returns:
      `Metrics` of (S,) and (S, N) float64 arrays.
    """
    return Metrics(*(_means(values, np.isfinite(metrics.mse), samples) for values in metrics))


def summarize(results: Mapping[str, Metrics], samples: np.ndarray) -> list[dict[str, Any]]:
    """A row per method: mean and standard deviation of the sample means of each criterion.

    Args:
      results: from `evaluate`.
      samples: (S, size) places from `draw_samples`.

    Returns:
      Rows of "method"; for each of `CRITERIA` its title (the mean) and "title sd" (the standard
      deviation over samples, with S - 1; None of one sample); and "not finite", how many of all
      faces the method gave no finite prediction for: they are in no mean. None where nothing is
      left to average.
    """
    rows = []
    for title, metrics in results.items():
        means = sample_means(metrics, samples)
        row = {"method": title}
        for criterion in CRITERIA:
            values = getattr(means, criterion.field)
            values = values[np.isfinite(values)]
            row[criterion.title] = float(np.mean(values)) if values.size else None
            row[f"{criterion.title} sd"] = (
                float(np.std(values, ddof=1)) if values.size > 1 else None
            )
        rows.append(row | {"not finite": int(np.sum(~np.isfinite(metrics.mse)))})
    return rows


def by_pose(results: Mapping[str, Metrics], view: View | None) -> list[dict[str, Any]]:
    """Means over the faces seen alike: rows by absolute yaw, then by projection.

    Bins of yaw hold their upper end (0-15 degrees also 0), so that the paper's 45 degrees are in
    30-45. Orthographic views are frontal where all three angles are 0.

    Args:
      results: from `evaluate`.
      view: of the F faces; None where it is not known.

    Returns:
      For each group of views that has a face, a row per method: "view", "faces" (how many have
      that view), "method", the mean of each of `CRITERIA` over the faces with a finite prediction
      (None if there is none), and "not finite". No rows where the view is not known.
    """
    if view is None:
        return []
    rows = []
    for name, chosen in _view_groups(view).items():
        sample = np.flatnonzero(chosen)[None]
        for title, metrics in results.items():
            means = sample_means(metrics, sample)
            row = {"view": name, "faces": sample.size, "method": title}
            for criterion in CRITERIA:
                (value,) = getattr(means, criterion.field)
                row[criterion.title] = float(value) if np.isfinite(value) else None
            rows.append(row | {"not finite": int(np.sum(~np.isfinite(metrics.mse[chosen])))})
    return rows


def _view_groups(view: View) -> dict[str, np.ndarray]:
    """(F,) bool membership of each group that has a face, by name."""
    angles = (view.yaw, view.pitch, view.roll, view.field_of_view)
    yaw, pitch, roll, field_of_view = (np.abs(np.asarray(x)) for x in angles)
    groups = {}
    for low, high in itertools.pairwise(_YAW_EDGES):
        groups[f"yaw {low}-{high}°"] = (yaw <= high) & ((yaw > low) | (low == 0))
    perspective = field_of_view > 0
    turned = (yaw > 0) | (pitch > 0) | (roll > 0)
    groups |= {
        "orthographic, frontal": ~perspective & ~turned,
        "orthographic, turned": ~perspective & turned,
        "perspective": perspective,
    }
    return {name: chosen for name, chosen in groups.items() if chosen.any()}


def _means(values: np.ndarray, valid: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """(S, ...) means of (F, ...) values over the valid faces of each sample."""
    valid = np.isfinite(values) & valid.reshape(-1, *[1] * (values.ndim - 1))
    total = np.sum(np.where(valid, values, 0)[samples], axis=1, dtype=float)
    count = np.sum(valid[samples], axis=1)
    return np.where(count > 0, total, np.nan) / np.maximum(count, 1)
