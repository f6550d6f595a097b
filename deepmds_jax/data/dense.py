"""A morphable model of the whole face surface, for what landmarks alone cannot tell."""

import flax.struct
import jax

from deepmds_jax.data.morphable_model import MorphableModel


@flax.struct.dataclass
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
      topology: of the landmarks.
    """

    shape: MorphableModel
    triangles: jax.Array
    landmarks: jax.Array
    colour: jax.Array
    colour_modes: jax.Array
    topology: str = flax.struct.field(pytree_node=False)
