"""A data set ready to draw from: its spec, with its files read at one topology."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data import sources
from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.mixture import Mixture, mix
from deepmds_jax.data.morphable_model import MorphableModel, sample_points
from deepmds_jax.data.occlusion import visible_landmarks
from deepmds_jax.data.outline import jaw_landmarks, slide
from deepmds_jax.data.photos.cut_out import cut_out
from deepmds_jax.data.recorded import Recordings, ShapeSet
from deepmds_jax.data.rendering import render, sample_appearance
from deepmds_jax.data.specs import DatasetSpec, find_folder
from deepmds_jax.data.views import Faces, add_noise, sample_faces, view_shapes
from deepmds_jax.geometry.frames import FRAMES

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What faces are drawn from.

    Attributes:
      spec: of the dataset.
      source: what its source has read.
      folder: where its files lie; of a mix, see `specs.find_folder`.
    """

    spec: DatasetSpec
    source: MorphableModel | ShapeSet | Recordings | Mixture
    folder: pathlib.Path

    @property
    def topology(self) -> str:
        """Name of the landmark topology."""
        return self.source.topology

    @property
    def mean(self) -> jax.Array:
        """(N, 3) mean face of a model, of the training scans, or of all parts of a mix.

        Frame and unit are those of the source, or of the first one of a mix.

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
        source = None if self.spec.mix else sources.get(self.spec.source)
        if not isinstance(source, sources.DenseSource):
            raise ValueError(f"dataset {self.spec.name}: pictures and occlusion need a model of "
                             f"the whole face, which the source {self.spec.source!r} does not have")
        return _read(self.spec, lambda: source.load_dense(self.topology, self.folder))

    def draw_shapes(
        self, key: jax.Array, num_faces: int, *, jaw_lines: bool = False
    ) -> jax.Array:
        """Training faces (num_faces, N, 3) of models or of scans, head frame, without views.

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
        source, calm = self.source, self.spec.augmentation.calm
        if isinstance(source, Recordings):
            raise ValueError(f"dataset {self.spec.name}: photographs are for testing")
        with_lines = jaw_lines and bool(self.spec.augmentation.outline)
        if not isinstance(source, Mixture):
            expression = self.spec.expression
            return _training_shapes(source, key, num_faces, expression, calm, with_lines)
        pick_key, *keys = jax.random.split(key, 1 + len(source.parts))
        parts = zip(source.parts, keys, source.expressions, strict=True)
        return source.pick(pick_key, [
            _training_shapes(part, part_key, num_faces, expression, calm, with_lines)
            for part, part_key, expression in parts])

    def draw(
        self, key: jax.Array, num_faces: int, *, test: bool = False, images: bool = False
    ) -> Faces:
        """Faces and a view of each: the same ones for the same key, with or without images.

        Models give new faces for every key; scans of the training or the test subjects are drawn
        with replacement; photographs without, and at most as many as there are. Faces of a mix know
        neither coefficients nor rows, which mean another thing in each part.

        Args:
          key: PRNG key.
          num_faces: how many.
          test: whether scans are of the test subjects.
          images: whether to render pictures (96, 96) of a model's faces, or to cut them out of
            photographs, 110 kB each.

        Raises:
          ValueError: `images`, or occlusion in the spec, where there is no dense model; a
            photograph is missing or damaged.
        """
        source = self.source
        if isinstance(source, Recordings) and not self.spec.occlusion:
            return self._recorded(jax.random.split(key, 4)[0], num_faces, images)
        if not isinstance(source, MorphableModel) and (images or self.spec.occlusion):
            raise ValueError(f"dataset {self.spec.name}: pictures and occlusion are of faces of a "
                             "dense model, and these are recorded, or of several sources")
        dense = self.dense if images or self.spec.occlusion else None
        row_key, view_key, noise_key, look_key = jax.random.split(key, 4)
        assert not isinstance(source, Recordings)
        if isinstance(source, MorphableModel):
            faces = sample_faces(key, source, self.spec.views, num_faces, self.spec.expression)
        elif isinstance(source, Mixture):
            points = source.draw(
                row_key, num_faces, test=test, jaw_lines=bool(self.spec.outline))
            points, behind = jnp.split(points, [len(source.mean)], axis=1)
            faces = view_shapes(view_key, points, self.spec.views)
            if behind.shape[1]:
                lines = behind.reshape(num_faces, len(jaw_landmarks(self.topology)), -1, 3)
                faces = slide(faces, lines, self.spec.outline, self.topology)
        else:
            rows = source.draw_rows(row_key, num_faces, test=test)
            points = jnp.take(source.points, rows, axis=0)
            faces = view_shapes(view_key, points, self.spec.views)._replace(row=rows)
        if self.spec.outline and isinstance(source, MorphableModel) and source.jaw_lines:
            assert faces.identity is not None and faces.expression is not None
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

    def _recorded(self, key: jax.Array, num_faces: int, images: bool) -> Faces:
        """Photographs, each at most once."""
        source = self.source
        assert isinstance(source, Recordings)
        rows = jax.random.permutation(key, len(source.names))[:num_faces]
        x2d, points = (jnp.take(x, rows, axis=0) for x in (source.x2d, source.points))
        faces = Faces(x2d, points, row=rows.astype(jnp.int32))
        if not images:
            return faces
        paths = [source.images[int(row)] for row in rows]
        try:
            pictures = cut_out(paths, np.asarray(faces.x2d))
        except ValueError as error:
            raise ValueError(f"dataset {self.spec.name}: {error}") from error
        return faces._replace(images=jnp.asarray(pictures))


def open_dataset(spec: DatasetSpec, topology: str, folder: pathlib.Path) -> Dataset:
    """Reads the files of a dataset.

    Args:
      spec: which one.
      topology: name, or path of the file, of one of the spec's; any where it names none.
      folder: where its files lie, see `specs.find_folder` for those of a mix; ignored by a dataset
        that needs none.

    Raises:
      ValueError: a file is missing (says which, from where, and where to put it) or damaged; the
        dataset has no such topology; the spec names an unknown source, mixes photographs, or has no
        views of shapes that need them.
    """
    load = None if spec.mix else sources.get(spec.source).load
    topology = topologies.get(topology).name
    if spec.topologies and topology not in spec.topologies:
        raise ValueError(f"topology: {spec.name} has {list(spec.topologies)}, got {topology!r}")
    if load is None:
        source = _open_mixture(spec, topology, folder)
    else:
        source = _in_frame(spec, _read(spec, lambda: load(topology, folder)))
    dataset = Dataset(spec, source, folder)
    if not spec.views and not isinstance(dataset.source, Recordings):
        raise ValueError(f"dataset {spec.name}: its spec has no [[views]], which only photographs "
                         "can do without")
    outline = bool(spec.outline or spec.augmentation.outline) and bool(jaw_landmarks(topology))
    if outline and getattr(dataset.source, "jaw_lines", None) is None:
        raise ValueError(f"dataset {spec.name}: its spec has an outline, and the source "
                         f"{spec.source!r} does not know where the contour of the jaw runs")
    return dataset


def _training_shapes(
    source: MorphableModel | ShapeSet,
    key: jax.Array,
    num_faces: int,
    expression: bool,
    calm: float,
    with_lines: bool,
) -> jax.Array:
    if isinstance(source, ShapeSet):
        return source.points[source.draw_rows(key, num_faces, test=False)]
    shape_key, kept_key = jax.random.split(key)
    neutral = sample_points(source, shape_key, num_faces, jaw_lines=with_lines)
    if not expression:
        return neutral
    expressive = sample_points(source, shape_key, num_faces, expression=True, jaw_lines=with_lines)
    kept = jax.random.uniform(kept_key, (num_faces, 1, 1)) ** 2
    kept = 1 - calm * (1 - kept)
    return neutral + kept * (expressive - neutral)


def _open_mixture(spec: DatasetSpec, topology: str, folder: pathlib.Path) -> Mixture:
    parts = []
    for part in spec.mix:
        source = open_dataset(part.spec, topology, find_folder(part.spec, folder)).source
        if not isinstance(source, MorphableModel | ShapeSet):
            raise ValueError(f"dataset {spec.name}: mix: expected models and scans, got "
                             f"{part.spec.name}, which are photographs")
        parts.append(source)
    return mix(parts, [part.share for part in spec.mix],
               [part.spec.expression for part in spec.mix])


def _in_frame(
    spec: DatasetSpec, source: MorphableModel | ShapeSet | Recordings
) -> MorphableModel | ShapeSet | Recordings:
    """The source with its shapes turned from the frame that the spec states to the head frame."""
    if spec.frame == "camera":
        return source
    if not isinstance(source, ShapeSet):
        raise ValueError(f"dataset {spec.name}: frame: the source {spec.source!r} knows that of "
                         f"its files, got {spec.frame!r}")
    signs = jnp.asarray(FRAMES[spec.frame], source.points.dtype)
    return dataclasses.replace(source, points=source.points * signs)


def _read(spec: DatasetSpec, load: Callable[[], T]) -> T:
    try:
        return load()
    except FileNotFoundError as error:
        raise ValueError(f"dataset {spec.name}: {error}. {spec.obtain}") from error
    except OSError as error:  # no right to read it, a folder in its place, a broken disk
        raise ValueError(f"dataset {spec.name}: {error}") from error
