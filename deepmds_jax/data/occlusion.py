"""Self-occlusion: which landmarks the surface of the face hides from the viewer."""

import jax
import jax.numpy as jnp

from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.views import View, seen_with_depth
from deepmds_jax.geometry import size

# How far in front of a landmark a surface must lie to hide it, in root mean square distances of
# the landmarks to their centroid: 5 mm on a face. So lips and lids that touch do not hide each
# other, nor does a landmark hide behind the triangles around it, which are at its own depth.
MARGIN = 0.08


@jax.jit
def visible_landmarks(
    dense: DenseModel, identity: jax.Array, expression: jax.Array, view: View
) -> jax.Array:
    """Says which landmarks of faces of a dense model are seen. Pure.

    Args:
      dense: of V vertices and N landmarks.
      identity: (F, K) coefficients.
      expression: (F, E) weights.
      view: of the F faces.

    Returns:
      (F, N) bool, False where the face hides the landmark.
    """

    def one(arguments):
        identity, expression, view = jax.tree.map(lambda x: x[None], arguments)
        points = dense.shape.shapes(identity, expression)
        landmarks = points[:, dense.landmarks]
        seen = seen_with_depth(points, landmarks, view)[0]
        return ~hidden(seen[dense.landmarks], seen, dense.triangles, MARGIN * size(landmarks[0]))

    return jax.lax.map(one, (identity, expression, view))


def hidden(
    points: jax.Array, vertices: jax.Array, triangles: jax.Array, margin: jax.Array
) -> jax.Array:
    """Says whether a surface lies in front of points, along the third axis. Exact; pure.

    A point is hidden where, in the image, a triangle contains it and is nearer there by more than
    `margin`. Triangles hide whichever side they show.

    Args:
      points: (N, 3) image x and y, and depth, which grows away from the viewer.
      vertices: (V, 3) likewise.
      triangles: (T, 3) int vertices.
      margin: () depth.

    Returns:
      (N,) bool.
    """
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    p, q = b - a, c - a
    area = p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]
    inverse = 1 / jnp.where(area == 0, jnp.nan, area)  # edge-on: contains nothing
    # The barycentric weights u of b and v of c and the depth are linear functions of the image
    # point: with three factors each (of x, y and 1), a point and a triangle take six products.
    u = _row(q[:, 1] * inverse, -q[:, 0] * inverse, a, 0)
    v = _row(-p[:, 1] * inverse, p[:, 0] * inverse, a, 0)
    depth = _row(u[0] * p[:, 2] + v[0] * q[:, 2], u[1] * p[:, 2] + v[1] * q[:, 2], a, a[:, 2])

    def at_points(row):  # (T, N): the CPU reduces over the leading axis in whole vectors
        return row[0][:, None] * points[:, 0] + row[1][:, None] * points[:, 1] + row[2][:, None]

    u, v, depth = at_points(u), at_points(v), at_points(depth)
    return jnp.any((u >= 0) & (v >= 0) & (u + v <= 1) & (depth < points[:, 2] - margin), axis=0)


def _row(
    x: jax.Array, y: jax.Array, origin: jax.Array, value: jax.Array | float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Factors of x, y and 1 of the linear function with these slopes and a value at an origin."""
    return x, y, value - x * origin[:, 0] - y * origin[:, 1]
