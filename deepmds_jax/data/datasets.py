"""A data set ready to draw from: its spec, with its files read at one topology."""

import dataclasses
import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.recorded import Recordings, ShapeSet
from deepmds_jax.data.specs import DatasetSpec
from deepmds_jax.data.views import Faces, sample_faces, view_shapes


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What faces are drawn from.

    Attributes:
      spec: of the dataset.
      source: what its files hold.
      folder: where they lie.
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
        """(N, 3) the mean face of a model or of the training scans.

        Raises:
          ValueError: a set of test photographs has none.
        """
        if isinstance(self.source, Recordings):
            raise ValueError(f"dataset {self.spec.name}: photographs to test on have no mean face "
                             "of their own; name a model or scans for it")
        return self.source.mean

    def draw(self, key: jax.Array, num_faces: int, *, test: bool = False) -> Faces:
        """Faces and a view of each: the same ones for the same key.

        Models give new faces for every key; scans of the training or the test subjects are drawn
        with replacement; photographs without, and at most as many as there are.
        """
        source = self.source
        if isinstance(source, MorphableModel):
            return sample_faces(key, source, self.spec.views, num_faces, self.spec.expression)
        row_key, view_key = jax.random.split(key)
        if isinstance(source, Recordings):
            rows = jax.random.permutation(row_key, len(source.names))[:num_faces]
            return Faces(source.x2d[rows], source.points[rows], row=rows.astype(jnp.int32))
        part = np.flatnonzero(source.is_test == test)
        rows = jax.random.choice(row_key, jnp.asarray(part, jnp.int32), (num_faces,))
        faces = view_shapes(view_key, source.points[rows], self.spec.views)
        return faces._replace(row=rows)


def open_dataset(spec: DatasetSpec, topology: str, folder: pathlib.Path) -> Dataset:
    """Reads the files of a dataset; `folder` is not looked at where it needs none.

    Raises:
      ValueError: a file is missing (says which, from where, and where to put it) or damaged, or
        the dataset has no such topology.
    """
    if topology not in spec.topologies:
        raise ValueError(f"topology: {spec.name} has {list(spec.topologies)}, got {topology!r}")
    source = importlib.import_module(f"deepmds_jax.data.{spec.source}")
    if not spec.obtain:
        return Dataset(spec, source.load(topology), folder)
    try:
        return Dataset(spec, source.load(topology, folder), folder)
    except FileNotFoundError as error:
        raise ValueError(f"dataset {spec.name}: {error}. {spec.obtain}") from error
