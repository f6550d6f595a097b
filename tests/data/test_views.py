import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepmds_jax.data.morphable_model import MorphableModel, sample_shapes
from deepmds_jax.data.views import (
    Choice,
    Uniform,
    ViewGroup,
    add_noise,
    sample_faces,
    view_shapes,
)


@pytest.fixture(scope="module")
def rigid():
    """A model without variation, so that its pose follows from the image."""
    mean = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    empty = np.zeros((0, 40, 3), np.float32)
    return MorphableModel(mean, empty, empty, topology="none", unit="mm")


TURNED = (ViewGroup(1.0, yaw=Uniform(-45, 45)),)
NUM_TURNED = 2000


def test_same_key_same_faces_other_key_others(rigid):
    a, b, c = (sample_faces(jax.random.key(i), rigid, TURNED, NUM_TURNED) for i in (0, 0, 1))
    np.testing.assert_array_equal(a.x2d, b.x2d)
    assert (np.abs(np.subtract(a.x2d, c.x2d)).max(axis=(1, 2)) > 1e-5).all()


def test_shares_and_ranges_are_those_of_the_spec(rigid):
    views = (
        ViewGroup(0.3, yaw=Uniform(10, 40), pitch=Uniform(-30, -5)),
        ViewGroup(0.2, yaw=Choice((-60.0, -20.0))),
        ViewGroup(0.5, roll=Choice((7.0,))),
    )
    num = 4000
    faces = sample_faces(jax.random.key(0), rigid, views, num)
    # Orthography of the turned mean: two axes by least squares, the third is their normal.
    centred = np.asarray(rigid.mean, np.float64) - rigid.mean.mean(axis=0)
    axes = np.swapaxes(faces.x2d, 1, 2) @ np.linalg.pinv(centred).T
    rotation = np.concatenate([axes, np.cross(axes[:, :1], axes[:, 1:])], axis=1)
    angles = Rotation.from_matrix(rotation).as_euler("ZXY", degrees=True)
    yaw, pitch, roll = (angles * [1, -1, -1]).T[::-1]
    first, third = yaw > 5, np.abs(roll - 7) < 0.1
    second = ~first & ~third
    # Three standard deviations of a binomial share at 4000 draws: 0.024.
    for found, share in ((first, 0.3), (second, 0.2), (third, 0.5)):
        assert abs(found.mean() - share) < 0.024
    assert (yaw[first].min(), yaw[first].max()) == pytest.approx((10, 40), abs=0.5)
    assert (pitch[first].min(), pitch[first].max()) == pytest.approx((-30, -5), abs=0.5)
    assert set(np.round(yaw[second])) == {-60.0, -20.0}
    np.testing.assert_allclose(yaw[third], 0, atol=0.05)


def test_shapes_have_the_modes_variances_and_expressions():
    mode, smile = np.zeros((2, 4, 3), np.float32)
    mode[1, 0], smile[2, 1] = 2, 1
    model = MorphableModel(np.ones((4, 3), np.float32), mode[None], smile[None],
                           topology="none", unit="mm")
    sample = jax.jit(sample_shapes, static_argnames=("num_shapes", "expression"))
    neutral = np.asarray(sample(model, jax.random.key(0), 5000))
    assert neutral[:, 1, 0].mean() == pytest.approx(1, abs=0.09)  # three standard errors
    assert neutral[:, 1, 0].std() == pytest.approx(2, abs=0.06)
    np.testing.assert_array_equal(neutral[:, 2, 1], 1)
    moved = np.asarray(sample(model, jax.random.key(0), 5000, expression=True))[:, 2, 1] - 1
    assert 0 <= moved.min() < 0.01
    assert 0.9 < moved.max() <= 1


def test_weak_perspective_scales_and_shifts_the_orthographic_image(rigid):
    weak = (ViewGroup(1.0, Uniform(-45, 45), scale=Uniform(2, 5), shift=Uniform(-0.5, 0.25)),)
    key = jax.random.key(3)
    plain = sample_faces(key, rigid, TURNED, NUM_TURNED)
    faces = sample_faces(key, rigid, weak, NUM_TURNED)
    np.testing.assert_array_equal(faces.view.yaw, plain.view.yaw)  # the same faces otherwise
    # Similarity from the plain to the weak image, by least squares; there is no rotation.
    x, y = (np.asarray(f.x2d, np.float64) for f in (plain, faces))
    middle_x, middle_y = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
    scale = ((x - middle_x) * (y - middle_y)).sum((1, 2)) / ((x - middle_x) ** 2).sum((1, 2))
    np.testing.assert_allclose(y - middle_y, scale[:, None, None] * (x - middle_x), atol=1e-4)
    radius = np.linalg.norm(rigid.mean - rigid.mean.mean(0)) / np.sqrt(40)
    shift = (middle_y - middle_x * scale[:, None, None])[:, 0] / (scale[:, None] * radius)
    assert (scale.min(), scale.max()) == pytest.approx((2, 5), abs=0.02)
    assert shift.min(0) == pytest.approx([-0.5, -0.5], abs=0.01)
    assert shift.max(0) == pytest.approx([0.25, 0.25], abs=0.01)
    assert abs(np.corrcoef(shift.T)[0, 1]) < 0.07  # three standard errors
    np.testing.assert_allclose(faces.view.scale, scale, rtol=1e-4)
    np.testing.assert_allclose(faces.view.shift, shift, atol=1e-4)


def test_noise_has_the_stated_deviation_in_every_view(rigid):
    views = (ViewGroup(0.5, Choice((80.0,))), ViewGroup(0.5, scale=Choice((3.0,))))
    # A face twice as large has twice the error.
    points = rigid.mean * np.float32([1, 2]).repeat(2000)[:, None, None]
    faces = view_shapes(jax.random.key(0), points, views)
    noisy = add_noise(jax.random.key(1), faces, 0.02)
    radius = np.linalg.norm(rigid.mean - rigid.mean.mean(0)) / np.sqrt(40)
    errors = np.subtract(noisy.x2d, faces.x2d)
    for group, scale in ((0, 1), (1, 3)):
        for size, part in ((1, slice(2000)), (2, slice(2000, None))):
            found = errors[part][np.asarray(faces.view.group)[part] == group]
            assert found.std() == pytest.approx(0.02 * radius * scale * size, rel=0.02)
            assert abs(found.mean()) < 0.02 * found.std()
    np.testing.assert_array_equal(noisy.points, faces.points)
