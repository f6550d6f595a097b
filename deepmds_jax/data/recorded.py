"""Faces that were recorded one by one, not drawn from a model."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ShapeSet:
    """Registered 3D scans without photographs; like models, they are seen from drawn views.

    Attributes:
      points: (S, N, 3) float32, head frame.
      is_test: (S,) bool; no subject has faces in both parts. Static.
      names: (S,) for people to read: subject/expression/file. Static.
      topology: name of the landmark topology. Static.
      unit: of length. Static.
    """

    points: jax.Array
    is_test: np.ndarray = dataclasses.field(metadata={"static": True})
    names: Sequence[str] = dataclasses.field(metadata={"static": True})
    topology: str = dataclasses.field(metadata={"static": True})
    unit: str = dataclasses.field(metadata={"static": True})

    @property
    def mean(self) -> jax.Array:
        """(N, 3) mean of the training faces."""
        return jnp.take(self.points, np.flatnonzero(~self.is_test), axis=0).mean(axis=0)

    def draw_rows(self, key: jax.Array, num_faces: int, *, test: bool) -> jax.Array:
        """Rows (num_faces,) of faces to test or to train on, with replacement."""
        part = np.flatnonzero(self.is_test == test).astype(np.int32)
        return jax.random.choice(key, jnp.asarray(part), (num_faces,))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recordings:
    """Photographs with their landmarks and true shapes, all of them for testing.

    Attributes:
      x2d: (S, N, 2) float32 pixels, x right, y down.
      points: (S, N, 3) float32, head frame (or any pose where the source does not know it).
      names: (S,) file names without extension. Static.
      images: (S,) paths of the photographs; None where there is none. Static.
      topology: name of the landmark topology. Static.
      unit: of length of `points`. Static.
    """

    x2d: jax.Array
    points: jax.Array
    names: Sequence[str] = dataclasses.field(metadata={"static": True})
    images: Sequence[pathlib.Path | None] = dataclasses.field(metadata={"static": True})
    topology: str = dataclasses.field(metadata={"static": True})
    unit: str = dataclasses.field(metadata={"static": True})
