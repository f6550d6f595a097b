"""A data set ready to draw from: its spec, with its files read at one topology."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax.data import sources
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.morphable_model import MorphableModel, sample_coefficients
from deepmds_jax.data.occlusion import visible_landmarks
from deepmds_jax.data.outline import jaw_landmarks, slide
from deepmds_jax.data.recorded import Recordings, ShapeSet
from deepmds_jax.data.rendering import render, sample_appearance
from deepmds_jax.data.specs import DatasetSpec
from deepmds_jax.data.views import Faces, add_noise, sample_faces, view_shapes

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What faces are drawn from.

    Attributes:
      spec: of the dataset.
      source: what its source has read.
      folder: where its files lie.
    """

    spec: DatasetSpec
    source: MorphableModel | ShapeSet | Recordings
    folder: pathlib.Path

    @property
    def topology(self) -> str:
        """Name of the landmark topology."""
        return self.source.topology

    @property
    def mean(self) -> jax.Array:
        """(N, 3) mean face of a model or of the training scans; frame and unit of the source.

        Raises:
          ValueError: a set of test photographs has none.
        """
        if isinstance(self.source, Recordings):
            raise ValueError(f"dataset {self.spec.name}: photographs to test on have no mean face "
                             "of their own; name a model or scans for it")
        return self.source.mean

    @functools.cached_property
    def dense(self) -> DenseModel:
        """The whole surface of the model's faces, read on first use.

        Raises:
          ValueError: the source has none, or a file is missing or damaged.
        """
        source = sources.get(self.spec.source)
        if not isinstance(source, sources.DenseSource):
            raise ValueError(f"dataset {self.spec.name}: pictures and occlusion need a model of "
                             f"the whole face, which the source {self.spec.source!r} does not have")
        return _read(self.spec, lambda: source.load_dense(self.topology, self.folder))

    def draw_shapes(
        self, key: jax.Array, num_faces: int, *, jaw_lines: bool = False
    ) -> jax.Array:
        """Training faces (num_faces, N, 3) of a model or of scans, head frame, without views.

        Where the spec draws expressions, the faces of a model keep only a part of theirs, as far as
        `calm` of its augmentation says.

        Args:
          key: PRNG key; the same key gives the same faces.
          num_faces: how many.
          jaw_lines: whether to add, behind the landmarks, the points of the model's `JawLines` line
            by line, (num_faces, N + J * C, 3), if it has them and `outline` of the augmentation is
            not 0.

        Raises:
          ValueError: photographs have no faces for training.
        """
        source = self.source
        if isinstance(source, Recordings):
            raise ValueError(f"dataset {self.spec.name}: photographs are for testing")
        if isinstance(source, MorphableModel):
            shape_key, kept_key = jax.random.split(key)
            with_lines = jaw_lines and bool(self.spec.augmentation.outline)
            neutral = _sample_points(source, shape_key, num_faces, False, with_lines)
            if not self.spec.expression:
                return neutral
            expressive = _sample_points(source, shape_key, num_faces, True, with_lines)
            kept = jax.random.uniform(kept_key, (num_faces, 1, 1)) ** 2
            kept = 1 - self.spec.augmentation.calm * (1 - kept)
            return neutral + kept * (expressive - neutral)
        part = np.flatnonzero(~source.is_test).astype(np.int32)
        rows = jax.random.choice(key, jnp.asarray(part), (num_faces,))
        return source.points[rows]

    def draw(
        self, key: jax.Array, num_faces: int, *, test: bool = False, images: bool = False
    ) -> Faces:
        """Faces and a view of each: the same ones for the same key, with or without images.

        Models give new faces for every key; scans of the training or the test subjects are drawn
        with replacement; photographs without, and at most as many as there are.

        Args:
          key: PRNG key.
          num_faces: how many.
          test: whether scans are of the test subjects.
          images: whether to render pictures (96, 96) of a model's faces, 110 kB each.

        Raises:
          ValueError: `images`, or occlusion in the spec, where there is no dense model.
        """
        source = self.source
        if not isinstance(source, MorphableModel) and (images or self.spec.occlusion):
            raise ValueError(f"dataset {self.spec.name}: pictures and occlusion are of faces of a "
                             "dense model, and these are recorded")
        dense = self.dense if images or self.spec.occlusion else None
        row_key, view_key, noise_key, look_key = jax.random.split(key, 4)
        if isinstance(source, Recordings):
            rows = jax.random.permutation(row_key, len(source.names))[:num_faces]
            return Faces(source.x2d[rows], source.points[rows], row=rows.astype(jnp.int32))
        if isinstance(source, MorphableModel):
            faces = sample_faces(key, source, self.spec.views, num_faces, self.spec.expression)
        else:
            part = np.flatnonzero(source.is_test == test).astype(np.int32)
            rows = jax.random.choice(row_key, jnp.asarray(part), (num_faces,))
            faces = view_shapes(view_key, source.points[rows], self.spec.views)._replace(row=rows)
        if self.spec.outline and isinstance(source, MorphableModel) and source.jaw_lines:
            lines = source.jaw_lines.points(faces.identity, faces.expression)
            faces = slide(faces, lines, self.spec.outline, self.topology)
        if self.spec.noise:
            faces = add_noise(noise_key, faces, self.spec.noise)
        if self.spec.occlusion:
            visible = visible_landmarks(dense, faces.identity, faces.expression, faces.view)
            faces = faces._replace(visible=visible)
        if images:
            look = sample_appearance(look_key, dense, num_faces)
            pictures = render(dense, faces.identity, faces.expression, look, faces.view)
            faces = faces._replace(images=pictures)
        return faces


def open_dataset(spec: DatasetSpec, topology: str, folder: pathlib.Path) -> Dataset:
    """Reads the files of a dataset.

    Args:
      spec: which one.
      topology: one of the spec's.
      folder: where its files lie; ignored by a dataset that needs none.

    Raises:
      ValueError: a file is missing (says which, from where, and where to put it) or damaged; the
        dataset has no such topology; the spec names an unknown source, or has no views of shapes
        that need them.
    """
    if topology not in spec.topologies:
        raise ValueError(f"topology: {spec.name} has {list(spec.topologies)}, got {topology!r}")
    source = sources.get(spec.source)
    dataset = Dataset(spec, _read(spec, lambda: source.load(topology, folder)), folder)
    if not spec.views and not isinstance(dataset.source, Recordings):
        raise ValueError(f"dataset {spec.name}: its spec has no [[views]], which only photographs "
                         "can do without")
    outline = bool(spec.outline or spec.augmentation.outline) and bool(jaw_landmarks(topology))
    if outline and getattr(dataset.source, "jaw_lines", None) is None:
        raise ValueError(f"dataset {spec.name}: its spec has an outline, and the source "
                         f"{spec.source!r} does not know where the contour of the jaw runs")
    return dataset


def _sample_points(
    model: MorphableModel, key: jax.Array, num_faces: int, expression: bool, with_lines: bool
) -> jax.Array:
    """Landmarks of faces, and behind them the points of the jaw lines, if asked for and there."""
    drawn = sample_coefficients(model, key, num_faces, expression=expression)
    points = model.shapes(*drawn)
    if model.jaw_lines is None or not with_lines:
        return points
    return jnp.concatenate([points, model.jaw_lines.points(*drawn).reshape(num_faces, -1, 3)], 1)


def _read(spec: DatasetSpec, load: Callable[[], T]) -> T:
    try:
        return load()
    except FileNotFoundError as error:
        raise ValueError(f"dataset {spec.name}: {error}. {spec.obtain}") from error
    except OSError as error:  # no right to read it, a folder in its place, a broken disk
        raise ValueError(f"dataset {spec.name}: {error}") from error
