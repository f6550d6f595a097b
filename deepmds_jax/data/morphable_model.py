"""A linear model of landmark shapes, which every 3D morphable face model reduces to."""

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class MorphableModel:
    """shape = mean + sum_k a_k identity_k + sum_e b_e expression_e.

    Coordinates are head-frame landmarks: x right, y down, z away from the viewer.

    Attributes:
      mean: (N, 3) float32 mean landmarks.
      identity: (K, N, 3) float32 offsets, one standard deviation each: a_k ~ N(0, 1).
      expression: (E, N, 3) float32 offsets at full strength, b_e in [0, 1]. E may be 0.
      topology: name of the landmark topology.
      unit: unit of length, "mm", "cm" or "m".
    """

    mean: jax.Array
    identity: jax.Array
    expression: jax.Array
    topology: str = flax.struct.field(pytree_node=False)
    unit: str = flax.struct.field(pytree_node=False)


def sample_shapes(
    model: MorphableModel, key: jax.Array, num_shapes: int, *, expression: bool = False
) -> jax.Array:
    """Draws shapes (num_shapes, N, 3) in the model's unit and frame.

    Args:
      model: the model.
      key: PRNG key; the same key gives the same shapes.
      num_shapes: how many.
      expression: whether expression weights are drawn from U[0, 1]^2 products (mostly weak, as in
        talking faces) or left at zero, the neutral face.
    """
    identity_key, expression_key = jax.random.split(key)
    dtype = model.mean.dtype
    a = jax.random.normal(identity_key, (num_shapes, model.identity.shape[0]), dtype)
    shapes = model.mean + jnp.einsum("fk,knd->fnd", a, model.identity)
    if expression:
        size = (2, num_shapes, model.expression.shape[0])
        b = jnp.prod(jax.random.uniform(expression_key, size, dtype), axis=0)
        shapes = shapes + jnp.einsum("fe,end->fnd", b, model.expression)
    return shapes
