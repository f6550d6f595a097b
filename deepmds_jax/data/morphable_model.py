"""A linear model of landmark shapes, which every 3D morphable face model reduces to."""

import dataclasses

import jax
import jax.numpy as jnp

from deepmds_jax.programs import one_program


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JawLines:
    """Points of a model's surface that the jaw landmarks move to where the contour is seen.

    From each of the J landmarks of `outline.jaw_landmarks` a line of C points runs forward over the
    cheek; the landmark itself, which comes before them, is not among them. The points move with the
    coefficients of the model that they belong to.

    Attributes:
      mean: (J, C, 3) float32, in the unit and frame of the model.
      identity: (K, J, C, 3) float32 offsets.
      expression: (E, J, C, 3) float32 offsets.
    """

    mean: jax.Array
    identity: jax.Array
    expression: jax.Array

    @jax.default_matmul_precision("highest")
    def points(self, identity: jax.Array, expression: jax.Array) -> jax.Array:
        """Points (F, J, C, 3) of coefficients (F, K) and expression weights (F, E)."""
        return (
            self.mean
            + jnp.einsum("fk,kjcd->fjcd", identity, self.identity)
            + jnp.einsum("fe,ejcd->fjcd", expression, self.expression)
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MorphableModel:
    """shape = mean + sum_k a_k identity_k + sum_e b_e expression_e.

    Coordinates are head-frame landmarks: x right, y down, z away from the viewer.

    Attributes:
      mean: (N, 3) float32 mean landmarks.
      identity: (K, N, 3) float32 offsets, one standard deviation each: a_k ~ N(0, 1).
      expression: (E, N, 3) float32 offsets at full strength, b_e in [0, 1]. E may be 0.
      topology: name of the landmark topology. Static.
      unit: unit of length, "mm", "cm" or "m". Static.
      jaw_lines: where the jaw landmarks move along the surface; None where it is not known.
    """

    mean: jax.Array
    identity: jax.Array
    expression: jax.Array
    topology: str = dataclasses.field(metadata={"static": True})
    unit: str = dataclasses.field(metadata={"static": True})
    jaw_lines: JawLines | None = None

    @one_program
    @jax.default_matmul_precision("highest")
    def shapes(self, identity: jax.Array, expression: jax.Array) -> jax.Array:
        """Shapes (F, N, 3) of coefficients (F, K) and expression weights (F, E)."""
        return (
            self.mean
            + jnp.einsum("fk,knd->fnd", identity, self.identity)
            + jnp.einsum("fe,end->fnd", expression, self.expression)
        )


def sample_coefficients(
    model: MorphableModel, key: jax.Array, num_faces: int, *, expression: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Draws identity coefficients (num_faces, K) and expression weights (num_faces, E).

    Args:
      model: the model.
      key: PRNG key; the same key gives the same faces.
      num_faces: how many.
      expression: whether to draw the expression weights, each the product of two U[0, 1] numbers
        (mostly weak, as in talking faces), or to leave them at zero, the neutral face.
    """
    identity_key, expression_key = jax.random.split(key)
    dtype = model.mean.dtype
    identity = jax.random.normal(identity_key, (num_faces, model.identity.shape[0]), dtype)
    shape = (num_faces, model.expression.shape[0])
    if not expression:
        return identity, jnp.zeros(shape, dtype)
    weights = jax.random.uniform(expression_key, (2, *shape), dtype)
    return identity, jnp.prod(weights, axis=0)


def sample_shapes(
    model: MorphableModel, key: jax.Array, num_shapes: int, *, expression: bool = False
) -> jax.Array:
    """Draws shapes (num_shapes, N, 3) in the model's unit and frame; see `sample_coefficients`."""
    return model.shapes(*sample_coefficients(model, key, num_shapes, expression=expression))


def sample_points(
    model: MorphableModel,
    key: jax.Array,
    num_shapes: int,
    *,
    expression: bool = False,
    jaw_lines: bool = False,
) -> jax.Array:
    """Shapes as `sample_shapes` draws them, (num_shapes, N, 3), or with their jaw lines behind.

    Returns:
      With `jaw_lines`, (num_shapes, N + J * C, 3) where the model has these, line by line.
    """
    drawn = sample_coefficients(model, key, num_shapes, expression=expression)
    points = model.shapes(*drawn)
    if model.jaw_lines is None or not jaw_lines:
        return points
    return jnp.concatenate([points, model.jaw_lines.points(*drawn).reshape(num_shapes, -1, 3)], 1)
