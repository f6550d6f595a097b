"""A morphable model of the whole face surface, for what landmarks alone do not show."""

import dataclasses

import jax

from deepmds_jax.data.morphable_model import MorphableModel


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DenseModel:
    """Shape and colour of a face mesh with V vertices.

    The coefficients are those of the source's landmark model: the same identity and expression
    give the same face.

    Attributes:
      shape: the V vertices, head frame (x right, y down, z away from the viewer).
      triangles: (T, 3) int32 vertices.
      landmarks: (N,) int32 the vertex of each landmark.
      colour: (V, 3) float32 mean RGB in [0, 1].
      colour_modes: (C, V, 3) float32 offsets, one standard deviation each; C may be 0.
      topology: of the landmarks. Static.
    """

    shape: MorphableModel
    triangles: jax.Array
    landmarks: jax.Array
    colour: jax.Array
    colour_modes: jax.Array
    topology: str = dataclasses.field(metadata={"static": True})
