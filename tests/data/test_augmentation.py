"""What the augmentation of training faces does, by the statistics of many."""

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from deepmds_jax import topologies
from deepmds_jax.data.augmentation import (
    NO_AUGMENTATION,
    Augmentation,
    augmented_faces,
    deform,
    deformation_basis,
)
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import Choice, Uniform, ViewGroup
from deepmds_jax.geometry import project, rotation_from_angles

TOPOLOGY = topologies.get("ibug68")
NUM, NUM_DEFORMED = 4000, 40_000
# Root mean square distances to the centroid, as the module states them: length and deviation.
PROCESSES = ((0.53, 0.053), (0.17, 0.025), (0.0, 0.013))


@pytest.fixture(scope="module")
def mean():
    return np.asarray(synthetic.load("ibug68").mean)


@pytest.fixture(scope="module")
def basis(mean):
    return deformation_basis(mean)


@pytest.fixture(scope="module")
def standard(mean):
    centred = np.asarray(mean - mean.mean(0), np.float64)
    return centred / np.sqrt(np.mean(np.sum(centred**2, 1)))


@jax.jit
def _project(points, view):
    rotation = rotation_from_angles(view.yaw, view.pitch, view.roll)
    return project(points, rotation, view.field_of_view)


def exact(faces):
    """The image of the shapes by the numbers of the view, without noise; float64."""
    seen = np.asarray(_project(faces.points, faces.view))
    centred = faces.points - faces.points.mean(1, keepdims=True)
    unit = np.sqrt(np.mean(np.sum(centred**2, axis=2), axis=1))[:, None, None]
    shift = faces.view.shift[:, None] * unit
    return faces.view.scale.astype(np.float64)[:, None, None] * (seen + shift), unit


_augmented = jax.jit(augmented_faces, static_argnames=("views", "topology"))
_deform = jax.jit(deform, static_argnames="mirror")


def draw(mean, basis, base=0.0, seed=0, **augmentation):
    """Faces whose arrays are NumPy's."""
    points = np.broadcast_to(mean, (NUM, 68, 3))
    augmentation = Augmentation(*map(float, Augmentation(**augmentation)))
    faces = _augmented(jax.random.key(seed), points, VIEWS, base, augmentation, "ibug68", basis)
    return jax.tree.map(np.asarray, faces)


def errors_of(faces):
    """Differences from the exact image, in sizes of the face, as it is in the image."""
    image, unit = exact(faces)
    return (faces.x2d - image) / unit / faces.view.scale[:, None, None]


VIEWS = (
    ViewGroup(0.2, Uniform(-80, 80), Uniform(-35, 35), Uniform(-30, 30)),
    ViewGroup(0.2, Uniform(-80, 80), field_of_view=Uniform(0, 37), scale=Uniform(0.5, 3),
              shift=Uniform(-1, 1)),
    ViewGroup(0.2),
    ViewGroup(0.2, Choice((-30.0,))),
    ViewGroup(0.2, Choice((90.0,)), scale=Choice((2.0,))),
)
FRONTAL, TURNED, PROFILE = 2, 3, 4


def test_without_augmentation_faces_are_seen_as_their_view_says(mean, basis):
    faces = draw(mean, basis)
    assert Augmentation(0, 0, 0, 0) == NO_AUGMENTATION
    np.testing.assert_allclose(errors_of(faces), 0, atol=2e-5)
    np.testing.assert_allclose(faces.points - faces.points.mean(1, keepdims=True),
                               np.broadcast_to(mean - mean.mean(0), (NUM, 68, 3)), atol=1e-3)
    assert faces.visible.all()
    for angle, (low, high) in (("yaw", (-80, 80)), ("pitch", (-35, 35))):
        drawn = getattr(faces.view, angle)[faces.view.group == 0]
        assert scipy.stats.kstest(drawn, "uniform", (low, high - low)).pvalue > 1e-3
    np.testing.assert_allclose(np.bincount(faces.view.group) / NUM, 0.2, atol=0.02)


def test_other_keys_give_other_faces_and_the_same_key_the_same(mean, basis):
    everything = {"deformation": 1, "noise": 0.05, "missing": 0.5, "contour": 0.1}
    a, b, c = (draw(mean, basis, 0.01, seed, **everything) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert np.abs(a.points - c.points).max() > 1
    assert len(np.unique(a.points[:100, 3, 1])) == 100


def test_noise_has_the_unit_of_views_in_every_scale_and_perspective(mean, basis):
    """`noise` of every face, in root mean square distances of its landmarks, in image units."""
    faces = draw(mean, basis, base=0.02)
    errors = errors_of(faces)
    for group in range(len(VIEWS)):
        some = errors[faces.view.group == group]
        assert some.std() == pytest.approx(0.02, rel=0.01)
        assert abs(some.mean()) < 3e-4
    assert abs(np.corrcoef(errors[..., 0].ravel(), errors[..., 1].ravel())[0, 1]) < 0.01
    assert scipy.stats.kurtosis(errors.ravel()) == pytest.approx(0, abs=0.1)  # no outliers


def test_every_face_has_its_own_amount_of_noise_and_outliers(mean, basis):
    errors = errors_of(draw(mean, basis, base=0.01, seed=1, noise=0.05))
    # The median of the squares is robust to one in twenty that is three times as far off: the
    # quantile q of 0.95 F(q) + 0.05 F(q / 9) = 1 / 2, for F of a squared normal.
    chi = scipy.stats.chi2(1)
    middle = scipy.optimize.brentq(lambda q: 0.95 * chi.cdf(q) + 0.05 * chi.cdf(q / 9) - 0.5, 0, 2)
    amount = np.sqrt(np.median(errors.reshape(NUM, -1) ** 2, axis=1) / middle)
    u = np.sqrt(np.maximum(amount - 0.01, 0) / 0.05)
    quarters = np.quantile(u, [0.1, 0.25, 0.5, 0.75, 0.9])
    np.testing.assert_allclose(quarters, [0.1, 0.25, 0.5, 0.75, 0.9], atol=0.06)
    relative = errors / amount[:, None, None]
    square = np.sum(relative**2, axis=-1)  # of a landmark: its x and y are off together
    # Above 12, exp(-6) of the others and exp(-6 / 9) of the outliers.
    share = 0.95 * np.exp(-6) + 0.05 * np.exp(-6 / 9)
    assert np.mean(square > 12) == pytest.approx(share, rel=0.1)


@pytest.fixture(scope="module")
def some_missing(mean, basis):
    return draw(mean, basis, missing=0.6)


def test_half_of_the_faces_lack_landmarks_up_to_the_share(some_missing):
    visible = some_missing.visible
    share = 1 - visible.mean(axis=1)
    assert np.mean(share == 0) == pytest.approx(0.5 + 0.5 * 1 / 69 / 0.6, abs=0.03)
    assert share.max() < 0.85
    lacking = share[share > 0]
    assert lacking.mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(np.quantile(lacking, [0.25, 0.5, 0.75]), [0.15, 0.3, 0.45],
                               atol=0.04)
    np.testing.assert_allclose(1 - visible.mean(axis=0), 0.15, atol=0.03)  # no landmark more


def test_missing_landmarks_keep_their_places(some_missing):
    assert not some_missing.visible.all()
    np.testing.assert_allclose(errors_of(some_missing), 0, atol=2e-5)


def test_the_jaw_alone_slides_and_in_profile_alone(mean, basis):
    jaw = np.arange(68) < 17  # of iBUG's 68
    faces = draw(mean, basis, contour=0.1)
    slide, group = errors_of(faces), faces.view.group
    np.testing.assert_allclose(slide[:, ~jaw], 0, atol=2e-5)
    np.testing.assert_allclose(slide[group == FRONTAL], 0, atol=2e-5)
    # Amounts uniform up to 0.1 times the sine of the yaw, of a process of deviation 1.
    for turn, sine in ((TURNED, 0.5), (PROFILE, 1)):
        deviation = slide[group == turn][:, jaw].std()
        assert deviation == pytest.approx(0.1 * sine / np.sqrt(3), rel=0.1)
    slide = slide[group == PROFILE]
    # Smooth: neighbours go together, the ends of the jaw do not.
    flat = slide[..., 0] / np.abs(slide[:, jaw]).max(axis=(1, 2))[:, None]
    assert np.corrcoef(flat[:, 3], flat[:, 4])[0, 1] > 0.7
    assert abs(np.corrcoef(flat[:, 0], flat[:, 16])[0, 1]) < 0.2


def test_the_basis_makes_the_stated_covariances(basis, standard):
    square = np.sum((standard[:, None] - standard[None]) ** 2, -1)
    for factor, (length, deviation) in zip(np.asarray(basis, float), PROCESSES, strict=True):
        covariance = np.exp(-square / 2 / length**2) if length else np.eye(68)
        np.testing.assert_allclose(factor @ factor.T, deviation**2 * covariance,
                                   atol=1e-4 * deviation**2)


@pytest.fixture(scope="module")
def shifts(mean, basis):
    """How many faces were deformed, in their size, less the stretch of their axes."""
    max_amount = 2.0
    points = np.broadcast_to(mean, (NUM_DEFORMED, 68, 3))
    deformed = _deform(jax.random.key(2), points, basis, TOPOLOGY.mirror, max_amount)
    centred = mean - mean.mean(0)
    unit = np.sqrt(np.mean(np.sum(centred**2, 1)))
    return (np.asarray(deformed) - centred) / unit, centred / unit, max_amount


def test_deformations_have_the_stated_deviations(shifts, standard):
    """By side: half of the variance symmetric to all of it, so three quarters on average."""
    shift, centred, max_amount = shifts
    square = np.sum((standard[:, None] - standard[None]) ** 2, -1)
    across = square[np.arange(68), TOPOLOGY.mirror]
    mean_square = max_amount**2 / 5  # of the amount, the square of a uniform number
    stretch = 0.04**2 * centred**2
    alone = np.zeros(3)
    for length, deviation in PROCESSES:
        alone += deviation**2
        kernel = np.exp(-across / 2 / length**2) if length else (across < 1e-9).astype(float)
        # Var (s + m) / 2 times 2 is C (1 + k); across the midline x changes its sign.
        stretch = stretch + deviation**2 * (
            1 + 0.5 * kernel[:, None] * np.array([-1, 1, 1])
        )
    assert alone[0] == pytest.approx(0.053**2 + 0.025**2 + 0.013**2)
    np.testing.assert_allclose(np.mean(shift**2, axis=0), mean_square * stretch, rtol=0.1)
    np.testing.assert_allclose(shift.mean(axis=0), 0, atol=1e-3)


def test_neighbours_move_together_and_sides_alike(shifts, standard):
    shift, _, _ = shifts

    def correlation(i, j, axis):
        return np.corrcoef(shift[:, i, axis], shift[:, j, axis])[0, 1]

    def stated(i, j):
        """Of z at one side, far from the other."""
        apart = np.sum((standard[i] - standard[j]) ** 2)
        kernels = [d**2 * np.exp(-apart / 2 / n**2) if n else 0 for n, d in PROCESSES]
        alone = sum(d**2 for _, d in PROCESSES) + (0.04 * standard[[i, j], 2]) ** 2
        stretch = 0.04**2 * standard[i, 2] * standard[j, 2]
        return (sum(kernels) + stretch) / np.sqrt(alone[0] * alone[1])

    for i, j in ((1, 2), (17, 18), (36, 37), (3, 5)):
        assert correlation(i, j, 2) == pytest.approx(stated(i, j), abs=0.08), (i, j)
    assert abs(correlation(8, 36, 2)) < 0.2  # chin and eye
    # Ends of the jaw, too far apart to know of each other but by symmetry, and at y near 0.6.
    assert correlation(0, 16, 1) == pytest.approx(0.5, abs=0.12)
    assert correlation(0, 16, 0) < -0.3


def test_the_amount_of_deformation_differs_between_faces(shifts):
    shift, _, max_amount = shifts
    amount = np.sqrt(np.mean(shift**2, axis=(1, 2)))
    # Of a squared uniform number the median is a quarter of the greatest, the 90th percent 0.81.
    ratio = np.median(amount) / np.quantile(amount, 0.9)
    assert ratio == pytest.approx(0.25 / 0.81, abs=0.05)
    assert amount.min() < 1e-4 * max_amount


def test_deform_by_nothing_centres_alone(mean, basis):
    points = np.broadcast_to(mean + 5, (NUM, 68, 3))
    still = _deform(jax.random.key(0), points, basis, TOPOLOGY.mirror, 0.0)
    np.testing.assert_allclose(still, np.broadcast_to(mean - mean.mean(0), points.shape), atol=1e-4)


def test_what_has_no_symmetry_is_deformed_on_both_sides_apart(mean, basis):
    """The deviation of each landmark is the same, and partners move independently."""
    points = np.broadcast_to(mean, (NUM, *mean.shape))
    moved = np.asarray(_deform(jax.random.key(3), points, basis, None, 1.0)) - mean
    with_sides = np.asarray(_deform(jax.random.key(3), points, basis, TOPOLOGY.mirror, 1.0)) - mean
    assert moved.std() == pytest.approx(with_sides.std(), rel=0.05)
    jaw = list(TOPOLOGY.mirror[:5])  # far from their partners: 2 to 3 length scales

    def correlation(shifts):
        shifts = shifts - shifts.mean(0)
        pairs = shifts[:, :5, 1] * shifts[:, jaw, 1]
        return pairs.mean() / (shifts[:, :5, 1].std() * shifts[:, jaw, 1].std())

    assert correlation(with_sides) > 0.3
    assert abs(correlation(moved)) < 0.15
