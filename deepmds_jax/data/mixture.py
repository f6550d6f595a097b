"""Faces of several sources, by share, in one frame."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from deepmds_jax.data.morphable_model import MorphableModel, sample_shapes
from deepmds_jax.data.recorded import ShapeSet
from deepmds_jax.geometry import Similarity, procrustes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mixture:
    """Models and scans that faces are drawn from, each as often as its share says.

    Attributes:
      parts: in the frame, unit and topology of the first; see `mix`.
      shares: of the faces, one for each part; they sum to 1. Static.
      expressions: whether faces of each model have random expressions. Static.
    """

    parts: tuple[MorphableModel | ShapeSet, ...]
    shares: tuple[float, ...] = dataclasses.field(metadata={"static": True})
    expressions: tuple[bool, ...] = dataclasses.field(metadata={"static": True})

    @property
    def topology(self) -> str:
        """Name of the landmark topology."""
        return self.parts[0].topology

    @property
    def unit(self) -> str:
        """Unit of length."""
        return self.parts[0].unit

    @property
    def mean(self) -> jax.Array:
        """(N, 3) mean of the parts' means, by share."""
        means = jnp.stack([part.mean for part in self.parts])
        return jnp.tensordot(jnp.asarray(self.shares, means.dtype), means, axes=1)

    def draw(self, key: jax.Array, num_faces: int, *, test: bool = False) -> jax.Array:
        """Shapes (num_faces, N, 3) with all of their expressions; see `pick` for the parts'.

        Args:
          key: PRNG key; the same key gives the same shapes.
          num_faces: how many.
          test: whether scans are of the test subjects.
        """
        pick_key, *keys = jax.random.split(key, 1 + len(self.parts))
        drawn = []
        for part, part_key, expression in zip(self.parts, keys, self.expressions, strict=True):
            if isinstance(part, MorphableModel):
                drawn.append(sample_shapes(part, part_key, num_faces, expression=expression))
            else:
                drawn.append(part.points[part.draw_rows(part_key, num_faces, test=test)])
        return self.pick(pick_key, drawn)

    def pick(self, key: jax.Array, drawn: Sequence[jax.Array]) -> jax.Array:
        """One of the parts' shapes for each face, as often as its share says.

        Args:
          key: PRNG key.
          drawn: (F, N, 3) shapes of each part.
        """
        shapes = jnp.stack(drawn)
        logits = jnp.log(jnp.asarray(self.shares))
        part = jax.random.categorical(key, logits, shape=shapes.shape[1:2])
        return jnp.take_along_axis(shapes, part[None, :, None, None], axis=0)[0]


def mix(
    parts: Sequence[MorphableModel | ShapeSet],
    shares: Sequence[float],
    expressions: Sequence[bool],
) -> Mixture:
    """A mixture of sources with one topology, brought into the frame and unit of the first.

    Each is turned, scaled and shifted as a whole, by the similarity without reflection that takes
    its mean nearest to the first's.

    Args:
      parts: their frames and units may differ.
      shares: of the faces; they sum to 1.
      expressions: whether faces of each model have expressions.
    """
    first, *others = parts
    moved = [_moved(part, procrustes(part.mean, first.mean), first.unit) for part in others]
    return Mixture((first, *moved), tuple(shares), tuple(expressions))


@jax.default_matmul_precision("highest")
def _moved(
    part: MorphableModel | ShapeSet, similarity: Similarity, unit: str
) -> MorphableModel | ShapeSet:
    if isinstance(part, ShapeSet):
        return dataclasses.replace(part, points=similarity(part.points), unit=unit)
    linear = similarity.scale * similarity.rotation
    return dataclasses.replace(
        part, mean=similarity(part.mean), identity=part.identity @ linear,
        expression=part.expression @ linear, unit=unit)
