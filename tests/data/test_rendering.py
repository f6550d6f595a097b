import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from matplotlib.path import Path

from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.rendering import Appearance, crop, rasterize, render, sample_appearance
from deepmds_jax.data.sources import ict
from deepmds_jax.data.views import Choice, View, ViewGroup, sample_faces

NONE = np.zeros((1, 0), np.float32)
NUM_COLOUR_MODES = 2
_crop = jax.jit(crop)


@pytest.fixture(scope="module")
def sphere():
    """Of radius 1; the landmarks are the six points on the axes. White, but red where x > 0.5."""
    mesh = trimesh.creation.icosphere(subdivisions=5)
    points = np.asarray(mesh.vertices)
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    landmarks = np.argmin(np.linalg.norm(points - axes[:, None], axis=-1), axis=1)
    colour = np.where(points[:, :1] > 0.5, [[1.0, 0, 0]], [[1.0, 1, 1]])
    empty = np.zeros((0, *points.shape), np.float32)
    shape = MorphableModel(jnp.asarray(points, jnp.float32), empty, empty, "none", "mm")
    # Which way round a mesh names the corners must not matter.
    triangles = np.where(np.arange(len(mesh.faces))[:, None] % 2, mesh.faces, mesh.faces[:, ::-1])
    return DenseModel(shape, jnp.asarray(triangles), jnp.asarray(landmarks),
                      jnp.asarray(colour, jnp.float32),
                      np.zeros((NUM_COLOUR_MODES, *points.shape), np.float32), topology="none")


def look(light=(0.0, 0, -1), ambient=0.0, background=(0.0, 0, 1)):
    return Appearance(np.zeros((1, NUM_COLOUR_MODES), np.float32),
                      *(np.float32([x]) for x in (light, ambient, background)))


def picture(dense, appearance, yaw=0.0, scale=1.0, shift=0.0):
    yaw, zero, scale = (np.float32([x]) for x in (yaw, 0, scale))
    view = View(yaw, zero, zero, zero, np.zeros(1, np.int32), scale, np.float32([[shift, shift]]))
    return np.asarray(render(dense, NONE, NONE, appearance, view))[0]


def test_sphere_is_a_lambertian_disc_without_holes(sphere):
    image = picture(sphere, look(ambient=0.25))
    # The landmarks' box is 2 wide and the picture 3: the disc has a radius of 32 pixels.
    row, column = np.mgrid[:96, :96] + 0.5
    x, y = (column - 48) / 32, (row - 48) / 32
    radius = np.hypot(x, y)
    np.testing.assert_array_equal(image[radius > 1], np.tile([0, 0, 1], ((radius > 1).sum(), 1)))
    inner = (radius < 0.97) & (x < 0.4)
    expected = 0.25 + 0.75 * np.sqrt(1 - radius[inner] ** 2)
    np.testing.assert_allclose(image[inner], np.tile(expected[:, None], 3), atol=0.04)
    assert np.abs(image[inner].mean(1) - expected).mean() < 0.01


def test_picture_is_neither_mirrored_nor_upside_down(sphere):
    image = picture(sphere, look(light=(0.0, -1, 0)))  # from above: y is down
    assert image[:40, 40:56].mean() > 0.3
    np.testing.assert_array_equal(image[56:76, 40:56], 0)
    flat = picture(sphere, look(ambient=1.0))
    red = (flat[..., 0] > 0.9) & (flat[..., 1] < 0.1) & (flat[..., 2] < 0.1)
    assert np.flatnonzero(red.any(0)).min() == pytest.approx(48 + 16, abs=1)  # x = 0.5, right
    # Turned by 90 degrees to the image's right, the red side goes behind; to the left, in front.
    for yaw, expected in ((90.0, 0.0), (-90.0, np.pi * 32**2 * 0.75)):
        turned = picture(sphere, look(ambient=1.0), yaw)
        red = (turned[..., 0] > 0.9) & (turned[..., 1] < 0.1) & (turned[..., 2] < 0.1)
        assert red.sum() == pytest.approx(expected, abs=80)


def test_scale_and_shift_do_not_show(sphere):
    weak = picture(sphere, look(), scale=7.0, shift=2.0)
    np.testing.assert_array_equal(weak, picture(sphere, look()))


def test_colour_modes_add_up(sphere):
    modes = np.zeros_like(sphere.colour_modes)
    modes[0, :, 2], modes[1, :, 1] = -0.25, -0.5
    dense = dataclasses.replace(sphere, colour_modes=modes)
    image = picture(dense, look(ambient=1.0)._replace(colour=np.float32([[2, 1]])))
    np.testing.assert_allclose(image[48, 30], [1, 0.5, 0.5], atol=1e-5)


def test_rasterizes_triangles_of_every_size_exactly():
    rng = np.random.default_rng(0)
    size, num = 24, 150
    # From a thousandth of a pixel to beyond the picture, each parallel to it at its own depth.
    centre = rng.uniform(-5, size + 5, (num, 1, 2))
    corners = centre + rng.normal(size=(num, 3, 2)) * 10 ** rng.uniform(-3, 1.3, (num, 1, 1))
    depth = rng.permutation(num).astype(float)
    pixels = np.concatenate([corners, np.tile(depth[:, None, None], (1, 3, 1))], axis=2)
    triangles = np.arange(3 * num, dtype=np.int32).reshape(num, 3)
    triangles = np.concatenate([triangles, [[0, 0, 1], [2, 2, 2]]]).astype(np.int32)
    pixels = pixels.reshape(-1, 3).astype(np.float32)
    found = np.asarray(jax.jit(rasterize, static_argnames="size")(pixels, triangles, size))
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).reshape(-1, 2)
    expected = np.full(size * size, num + 2)
    for i in np.argsort(-depth):
        expected[Path(corners[i]).contains_points(grid)] = i
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 8


def test_crop_by_hand():
    corner, side = _crop(np.float32([[[1, 2], [5, 4], [3, 3]]]))
    np.testing.assert_allclose(side, [6])  # 1.5 times 4
    np.testing.assert_allclose(corner, [[0, 0]])


def test_appearance_varies_and_stays_in_range(sphere):
    found = jax.tree.map(np.asarray, sample_appearance(jax.random.key(0), sphere, 500))
    np.testing.assert_allclose(np.linalg.norm(found.light, axis=1), 1, atol=1e-5)
    assert (found.light[:, 2] < 0).all()  # from the viewer's side
    assert found.light[:, 0].std() > 0.2
    for x in (found.ambient, found.background):
        assert x.min() >= 0
        assert x.max() <= 1
    again = sample_appearance(jax.random.key(0), sphere, 500)
    np.testing.assert_array_equal(again.background, found.background)


def test_landmarks_are_drawn_where_they_are_projected(shared):
    folder = shared / "data" / "ict_facekit"
    dense, model = ict.load_dense("ibug68", folder), ict.load("ibug68", folder)
    # Nose tip, outer eye corners and chin, each with its neighbours in a colour of its own.
    marks = {30: (1.0, 0, 0), 36: (0.0, 1, 0), 45: (0.0, 0, 1), 8: (1.0, 1, 0)}
    colour = np.zeros(dense.colour.shape, np.float32)
    mean = np.asarray(dense.shape.mean)
    for i, rgb in marks.items():
        colour[np.linalg.norm(mean - mean[dense.landmarks[i]], axis=1) < 0.6] = rgb
    dense = dataclasses.replace(dense, colour=jnp.asarray(colour))
    views = (ViewGroup(1.0, Choice((-20.0, 20.0)), Choice((10.0,)), Choice((15.0,)),
                       Choice((30.0,))),)
    num = 8
    faces = sample_faces(jax.random.key(0), model, views, num, expression=True)
    appearance = jax.tree.map(lambda x: np.repeat(x, num, axis=0), look(ambient=1.0))
    appearance = appearance._replace(colour=np.zeros((num, 0), np.float32),
                                     background=np.zeros((num, 3), np.float32))
    images = np.asarray(render(dense, faces.identity, faces.expression, appearance, faces.view))
    assert np.isfinite(images).all()
    corner, side = map(np.asarray, _crop(faces.x2d))
    pixels = (np.asarray(faces.x2d) - corner[:, None]) / side[:, None, None] * 96
    for image, points in zip(images, pixels, strict=True):
        for i, rgb in marks.items():
            row, column = np.nonzero(np.abs(image - rgb).max(-1) < 0.1)
            assert np.hypot(column.mean() + 0.5 - points[i, 0], row.mean() + 0.5 - points[i, 1]) < 4
