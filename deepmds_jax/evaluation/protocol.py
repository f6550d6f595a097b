"""The paper's protocol: runs methods on test faces and averages scores over random samples."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
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
      faces: F test faces, each in one view, as JAX or NumPy arrays; they go to the device one batch
        at a time.
      topology: the topology of the landmarks, or its name.

    Returns:
      By title, `Metrics` of (F,) and (F, N) NumPy arrays; NaN where a method predicted no face.

    Raises:
      ValueError: there are no faces, two methods share a title, or a method returns points of
        another shape.
    """
    num_faces = faces.x2d.shape[0]
    if not num_faces:
        raise ValueError("faces: expected at least one, got none")
    titles = [method.title for method in methods]
    if len(set(titles)) < len(titles):
        raise ValueError(f"methods: expected titles that differ, got {titles}")
    batch = min(_BATCH, num_faces)
    num_batches = -(-num_faces // batch)
    # All batches have one size, so that one program serves them all. The last batch is filled up
    # with the first faces, which are cut off below.
    index = np.arange(num_batches * batch) % num_faces
    host_faces = jax.device_get(faces)  # slices of NumPy arrays compile nothing
    results = {}
    for method in methods:
        predict = jax.jit(method.predict)
        parts = []
        for rows in tqdm.tqdm(index.reshape(-1, batch), desc=method.title, unit="batch"):
            part = jax.tree.map(lambda x, rows=rows: x[rows], host_faces)
            points = predict(part)
            if points.shape != part.points.shape:
                raise ValueError(f"method {method.title}: expected points {part.points.shape} of "
                                 f"{batch} faces, got {points.shape}")
            parts.append(jax.device_get(score(part.points, points, topology)))
        columns = zip(*parts, strict=True)
        results[method.title] = Metrics(*(np.concatenate(x)[:num_faces] for x in columns))
    return results


def draw_samples(
    key: jax.Array | int, num_faces: int, num_samples: int = NUM_SAMPLES, size: int = SAMPLE_SIZE
) -> np.ndarray:
    """Draws random samples of the test faces, each without replacement.

    The paper draws 10 samples of 500 from a test set of at least 5,000, so each sample is at most a
    tenth of it. A smaller test set gets smaller samples, so that each is still a tenth:
    `num_faces // num_samples`, but at least one face. `describe_samples` says so to the reader.

    Args:
      key: PRNG key, or the seed of one. The same key gives the same samples.
      num_faces: number of faces in the test set.
      num_samples: number of samples.
      size: maximal number of faces in a sample.

    Returns:
      (num_samples, size) int indices into the test set. A face may be in several samples.

    Raises:
      ValueError: a number is below 1.
    """
    for name, value in (("num_faces", num_faces), ("num_samples", num_samples), ("size", size)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    size = max(1, min(size, num_faces // num_samples))
    key = key if isinstance(key, jax.Array) else jax.random.key(key)
    keys = jax.random.split(key, num_samples)
    return np.asarray(_orders(keys, num_faces))[:, :size]


@partial(jax.jit, static_argnames="num_faces")
def _orders(keys, num_faces):
    return jax.vmap(lambda key: jax.random.permutation(key, num_faces))(keys)


def describe_samples(samples: np.ndarray, num_faces: int) -> str:
    """The samples in words, with the paper's beside them where ours are smaller."""
    number, size = samples.shape
    text = f"{number} random samples of {size:,} of {num_faces:,} test faces"
    smaller = size < SAMPLE_SIZE or number < NUM_SAMPLES
    paper = f" (the paper: {NUM_SAMPLES} of {SAMPLE_SIZE} of at least 5,000)"
    return text + paper * smaller


def sample_means(metrics: Metrics, samples: np.ndarray) -> Metrics:
    """Averages each criterion over the faces of each sample.

    Faces without a finite prediction are left out of every mean, that of `right_handed` included.
    A flat prediction has no depth correlation and is left out of that mean. The mean of a sample
    without any face left is NaN.

    Args:
      metrics: `Metrics` of F faces.
      samples: (S, size) indices from `draw_samples`.

    Returns:
      `Metrics` of (S,) and (S, N) float64 NumPy arrays.
    """
    return Metrics(*(_means(values, np.isfinite(metrics.mse), samples) for values in metrics))


def summarize(results: Mapping[str, Metrics], samples: np.ndarray) -> list[dict[str, Any]]:
    """Mean and standard deviation of the sample means, a row per method.

    Args:
      results: by title, from `evaluate`.
      samples: (S, size) indices from `draw_samples`.

    Returns:
      Rows with "method"; for each of `CRITERIA` its title (the mean) and "title sd" (the standard
      deviation over samples, with S - 1 in the denominator; None for a single sample); and "not
      finite", the number of faces in the whole test set without a finite prediction, which no mean
      includes. None where nothing is left to average.
    """
    rows = []
    for title, metrics in results.items():
        means = sample_means(metrics, samples)
        row: dict[str, Any] = {"method": title}
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
    """Means over groups of similar views: first by absolute yaw, then by kind of projection.

    A yaw bin includes its upper end (0-15 degrees also includes 0), so the paper's 45 degrees are
    in 30-45. An orthographic view is frontal if all three angles are 0.

    Args:
      results: by title, from `evaluate`.
      view: views of the F faces; None if they are not known.

    Returns:
      For each group that has a face, a row per method: "view", "faces" (the number of faces in the
      group), "method", the mean of each of `CRITERIA` over the faces with a finite prediction (None
      if there are none), and "not finite". No rows if the views are not known.
    """
    if view is None:
        return []
    rows = []
    for name, chosen in _view_groups(view).items():
        sample = np.flatnonzero(chosen)[None]
        for title, metrics in results.items():
            means = sample_means(metrics, sample)
            row: dict[str, Any] = {"view": name, "faces": sample.size, "method": title}
            for criterion in CRITERIA:
                (value,) = getattr(means, criterion.field)
                row[criterion.title] = float(value) if np.isfinite(value) else None
            rows.append(row | {"not finite": int(np.sum(~np.isfinite(metrics.mse[chosen])))})
    return rows


def _view_groups(view: View) -> dict[str, np.ndarray]:
    """By name, which faces belong to the group, (F,) bool; only groups that have a face."""
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


def _means(values: jax.Array | np.ndarray, valid: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """(S, ...) means of (F, ...) values over the valid faces of each sample."""
    values = np.asarray(values)
    valid = np.isfinite(values) & valid.reshape(-1, *[1] * (values.ndim - 1))
    total = np.sum(np.where(valid, values, 0)[samples], axis=1, dtype=float)
    count = np.sum(valid[samples], axis=1)
    return np.where(count > 0, total, np.nan) / np.maximum(count, 1)
