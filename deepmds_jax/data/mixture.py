"""Faces of several sources, by share, in one frame."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax.data.morphable_model import JawLines, MorphableModel, sample_points
from deepmds_jax.data.outline import jaw_landmarks
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

    @property
    def jaw_lines(self) -> JawLines | None:
        """Those of the first part that has some, see `pick`."""
        models = (part for part in self.parts if isinstance(part, MorphableModel))
        return next((model.jaw_lines for model in models if model.jaw_lines is not None), None)

    def draw(
        self, key: jax.Array, num_faces: int, *, test: bool = False, jaw_lines: bool = False
    ) -> jax.Array:
        """Shapes (num_faces, N, 3) with all of their expressions.

        Args:
          key: PRNG key; the same key gives the same shapes.
          num_faces: how many.
          test: whether scans are of the test subjects.
          jaw_lines: whether to add the points of the jaw lines, see `pick`.
        """
        pick_key, *keys = jax.random.split(key, 1 + len(self.parts))
        drawn = []
        for part, part_key, expression in zip(self.parts, keys, self.expressions, strict=True):
            if isinstance(part, MorphableModel):
                drawn.append(sample_points(
                    part, part_key, num_faces, expression=expression, jaw_lines=jaw_lines))
            else:
                rows = part.draw_rows(part_key, num_faces, test=test)
                drawn.append(jnp.take(part.points, rows, axis=0))
        return self.pick(pick_key, drawn)

    def pick(self, key: jax.Array, drawn: Sequence[jax.Array]) -> jax.Array:
        """One of the parts' shapes for each face, as often as its share says.

        Args:
          key: PRNG key.
          drawn: shapes of each part, (F, N, 3), or (F, N + J * C, 3) with the points of jaw lines
            behind them. Where some parts have lines, those of the others stay at their landmarks:
            what is not known does not move.
        """
        num_points = max(shapes.shape[1] for shapes in drawn)
        shapes = jnp.stack([self._with_lines(shapes, num_points) for shapes in drawn])
        logits = jnp.log(jnp.asarray(self.shares))
        part = jax.random.categorical(key, logits, shape=shapes.shape[1:2])
        return jnp.take_along_axis(shapes, part[None, :, None, None], axis=0)[0]

    def _with_lines(self, shapes: jax.Array, num_points: int) -> jax.Array:
        if shapes.shape[1] == num_points:
            return shapes
        jaw = np.array(jaw_landmarks(self.topology))
        per_line = (num_points - shapes.shape[1]) // len(jaw)
        return jnp.concatenate([shapes, jnp.take(shapes, np.repeat(jaw, per_line), axis=1)], axis=1)


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

    def move(linear_model):
        return dataclasses.replace(
            linear_model, mean=similarity(linear_model.mean),
            identity=linear_model.identity @ linear, expression=linear_model.expression @ linear)

    lines = part.jaw_lines and move(part.jaw_lines)
    return dataclasses.replace(move(part), jaw_lines=lines, unit=unit)
