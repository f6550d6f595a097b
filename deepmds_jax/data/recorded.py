"""Faces that were recorded, one by one, and not drawn from a model."""

import pathlib
from collections.abc import Sequence

import flax.struct
import jax
import numpy as np


@flax.struct.dataclass
class ShapeSet:
    """Registered 3D scans without photographs: they are seen from drawn views, as models are.

    Attributes:
      points: (S, N, 3) float32, head frame.
      is_test: (S,) bool; no subject has faces in both parts.
      names: (S,) for people: subject/expression/file.
      topology: name of the landmark topology.
      unit: of length.
    """

    points: jax.Array
    is_test: np.ndarray = flax.struct.field(pytree_node=False)
    names: Sequence[str] = flax.struct.field(pytree_node=False)
    topology: str = flax.struct.field(pytree_node=False)
    unit: str = flax.struct.field(pytree_node=False)

    @property
    def mean(self) -> jax.Array:
        """(N, 3) mean of the training faces."""
        return self.points[~self.is_test].mean(axis=0)


@flax.struct.dataclass
class Recordings:
    """Photographs with their landmarks and the true shapes: all of them are for testing.

    Attributes:
      x2d: (S, N, 2) float32 pixels, x right, y down.
      points: (S, N, 3) float32, head frame (or any pose where the source knows none).
      names: (S,) file names without extension.
      images: (S,) paths of the photographs; None where there is none.
      topology: name of the landmark topology.
      unit: of length of `points`.
    """

    x2d: jax.Array
    points: jax.Array
    names: Sequence[str] = flax.struct.field(pytree_node=False)
    images: Sequence[pathlib.Path | None] = flax.struct.field(pytree_node=False)
    topology: str = flax.struct.field(pytree_node=False)
    unit: str = flax.struct.field(pytree_node=False)
