"""Pictures of faces of a dense model, drawn on the device."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.views import View, seen_with_depth
from deepmds_jax.geometry import rotation_from_angles

SIZE = 96  # pixels of a picture's side
_BLOCK = 8192  # pixels tested together; a picture of a face needs some 25,000


class Appearance(NamedTuple):
    """What F pictures show apart from shape and view.

    Attributes:
      colour: (F, C) coefficients of the dense model's colour modes.
      light: (F, 3) unit vector from the face towards the light, camera frame.
      ambient: (F,) share of the light that comes from everywhere.
      background: (F, 3) RGB in [0, 1].
    """

    colour: jax.Array
    light: jax.Array
    ambient: jax.Array
    background: jax.Array


@functools.partial(jax.jit, static_argnames="num_faces")
def sample_appearance(key: jax.Array, dense: DenseModel, num_faces: int) -> Appearance:
    """Draws random skin, light (from in front of the face) and background. Pure."""
    colour_key, light_key, ambient_key, background_key = jax.random.split(key, 4)
    colour = jax.random.normal(colour_key, (num_faces, dense.colour_modes.shape[0]))
    light = jnp.array([0.0, -0.3, -1.0]) + 0.5 * jax.random.normal(light_key, (num_faces, 3))
    light = light.at[:, 2].set(-jnp.abs(light[:, 2]))
    light = light / jnp.linalg.norm(light, axis=-1, keepdims=True)
    ambient = jax.random.uniform(ambient_key, (num_faces,), minval=0.2, maxval=0.7)
    background = jax.random.uniform(background_key, (num_faces, 3))
    return Appearance(colour, light, ambient, background)


@functools.partial(jax.jit, static_argnames="size")
@jax.default_matmul_precision("highest")
def render(
    dense: DenseModel,
    identity: jax.Array,
    expression: jax.Array,
    appearance: Appearance,
    view: View,
    size: int = SIZE,
) -> jax.Array:
    """Renders faces, cut out like the boxes of a face detector: by `crop` of their landmarks.

    A z-buffer at pixel centres, a matt (Lambertian) surface, one distant light. Pure.

    Args:
      dense: of V vertices and C colour modes.
      identity: (F, K) coefficients.
      expression: (F, E) weights.
      appearance: of the F faces.
      view: of the F faces; its scale and shift do not show in a picture that is cut out.
      size: height and width in pixels.

    Returns:
      (F, size, size, 3) float32 in [0, 1], RGB, first row at the top.
    """

    def one(arguments):
        identity, expression, look, view = jax.tree.map(lambda x: x[None], arguments)
        points = dense.shape.shapes(identity, expression)
        seen = seen_with_depth(points, points[:, dense.landmarks], view)
        corner, side = crop(seen[:, dense.landmarks, :2])
        pixels = (seen[0, :, :2] - corner) * size / side - 0.5  # 0 is the first pixel's centre
        pixels = jnp.concatenate([pixels, seen[0, :, 2:]], axis=-1)
        nearest = rasterize(pixels, dense.triangles, size)
        rotation = rotation_from_angles(view.yaw, view.pitch, view.roll)
        light = (look.light[:, None] @ rotation)[0, 0]  # into the head frame
        colour = dense.colour + jnp.einsum("fk,kvd->fvd", look.colour, dense.colour_modes)[0]
        return _shade(nearest, pixels, points[0], colour, dense.triangles, light,
                      look.ambient[0], look.background[0])

    return jax.lax.map(one, (identity, expression, appearance, view))


def crop(x2d: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The square that a picture of a face shows, with 1.5 times the longer side of its box.

    Args:
      x2d: (F, N, 2) image points; the square and their bounding box have the same centre.

    Returns:
      Upper left corner (F, 2) and side (F,), in the unit of `x2d`.
    """
    low, high = jnp.min(x2d, axis=-2), jnp.max(x2d, axis=-2)
    side = 1.5 * jnp.max(high - low, axis=-1)
    return (low + high - side[..., None]) / 2, side


def rasterize(pixels: jax.Array, triangles: jax.Array, size: int) -> jax.Array:
    """Finds the triangle that is seen at the centre of each pixel. Exact for any size; pure.

    The pixels in the bounding boxes of all triangles are numbered consecutively and tested in
    blocks. Depth and triangle share one integer, so that one minimum at each pixel finds both.

    Args:
      pixels: (V, 3) column, row and depth of the vertices; pixel centres are whole numbers.
      triangles: (T, 3) int vertices.
      size: height and width of the picture in pixels.

    Returns:
      (size * size,) int32 triangles, row by row from the top; T where there is none.
    """
    num = triangles.shape[0]
    levels = (2**31 - 1) // (num + 1) - 1
    near, far = jnp.min(pixels[:, 2]), jnp.max(pixels[:, 2])
    pixels = pixels.at[:, 2].set((pixels[:, 2] - near) / (far - near) * levels)
    corners = pixels[triangles]
    low = jnp.clip(jnp.ceil(jnp.min(corners[..., :2], axis=1)), 0, size)
    high = jnp.clip(jnp.floor(jnp.max(corners[..., :2], axis=1)), -1, size - 1)
    width, height = jnp.maximum(high - low + 1, 0).astype(jnp.int32).T
    low = low.astype(jnp.int32)
    count = width * height
    end = jnp.cumsum(count)

    def step(state):
        block, nearest = state
        number = block * _BLOCK + jnp.arange(_BLOCK, dtype=jnp.int32)
        triangle = jnp.searchsorted(end, number, side="right")
        triangle = jnp.minimum(triangle, num - 1).astype(jnp.int32)
        place = number - end[triangle] + count[triangle]
        columns = jnp.maximum(width[triangle], 1)
        x, y = low[triangle, 0] + place % columns, low[triangle, 1] + place // columns
        u, v = _barycentric(corners[triangle], x, y)
        inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (number < end[-1])
        za, zb, zc = corners[triangle, :, 2].T
        depth = jnp.clip(za + u * (zb - za) + v * (zc - za), 0, levels).astype(jnp.int32)
        at = jnp.where(inside, y * size + x, size * size)
        nearest = nearest.at[at].min(depth * (num + 1) + triangle, mode="drop")
        return block + 1, nearest

    empty = jnp.full((size * size,), levels * (num + 1) + num, jnp.int32)
    _, nearest = jax.lax.while_loop(lambda state: state[0] * _BLOCK < end[-1], step, (0, empty))
    return nearest % (num + 1)


def _barycentric(corners: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights (P,) of the second and third of (P, 3, 3) corners at x and y; NaN if edge-on."""
    a = corners[:, 0]
    p, q = corners[:, 1] - a, corners[:, 2] - a
    area = p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]
    inverse = 1 / jnp.where(area == 0, jnp.nan, area)
    x, y = x - a[:, 0], y - a[:, 1]
    return (x * q[:, 1] - y * q[:, 0]) * inverse, (y * p[:, 0] - x * p[:, 1]) * inverse


def _shade(
    nearest: jax.Array,
    pixels: jax.Array,
    points: jax.Array,
    colour: jax.Array,
    triangles: jax.Array,
    light: jax.Array,
    ambient: jax.Array,
    background: jax.Array,
) -> jax.Array:
    """The picture (size, size, 3) of the triangles that `rasterize` has found at its pixels."""
    corners = triangles[jnp.minimum(nearest, len(triangles) - 1)]
    size = int(len(nearest) ** 0.5)
    y, x = jnp.divmod(jnp.arange(len(nearest)), size)
    u, v = _barycentric(pixels[corners], x, y)
    albedo = jnp.einsum("pc,pcd->pd", jnp.stack([1 - u - v, u, v], axis=-1), colour[corners])
    a, b, c = jnp.moveaxis(points[corners], 1, 0)
    normal = jnp.cross(b - a, c - a)
    normal = normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)
    # Turned towards the viewer, in whichever order the mesh lists the corners of a triangle.
    a, b, c = jnp.moveaxis(pixels[corners], 1, 0)
    normal = normal * -jnp.sign(jnp.cross(b - a, c - a)[:, 2:])
    lit = albedo * (ambient + (1 - ambient) * jnp.maximum(normal @ light, 0))[:, None]
    picture = jnp.where((nearest < len(triangles))[:, None], jnp.clip(lit, 0, 1), background)
    return picture.reshape(size, size, 3)
