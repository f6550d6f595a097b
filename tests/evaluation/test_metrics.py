import itertools
import math

import jax
import numpy as np
import pytest
from lapack import lapack_scores
from scipy.spatial.transform import Rotation

from deepmds_jax.data.sources import synthetic
from deepmds_jax.evaluation.metrics import CRITERIA, Metrics, error_unit, score
from deepmds_jax.topologies import Topology

# A multiple of 5, 6 and 8: shapes with so few landmarks are repeated to N, which changes no mean.
# So one compiled program scores them all.
N = 120
SHAPE = (2, 4, N, 3)
NAMES = ("exocanthion_right", "exocanthion_left", *(f"point_{i}" for i in range(2, N)))
TOPOLOGY = Topology("some", NAMES, tuple(range(N)), ())
NUM_FACES = 100  # of a topology that is built in


def score_some(truth, prediction):
    """Metrics of one face (n, 3), or of up to eight (F, n, 3), where N is a multiple of n."""
    def fill(points):
        points = np.tile(np.float32(points), (N // points.shape[-2], 1))
        return np.resize(points, SHAPE)  # the faces again and again

    found = jax.device_get(score(fill(truth), fill(prediction), TOPOLOGY))
    assert found.nme.shape == SHAPE[:2]
    faces = slice(len(truth)) if truth.ndim == 3 else 0
    return Metrics(*(values.reshape(8, *values.shape[2:])[faces] for values in found))


def score_all(truth, predictions, topology):
    """Metrics of up to 100 predictions (F, N, 3) of one face (N, 3)."""
    filled = np.resize(np.float32(predictions), (NUM_FACES, *truth.shape))
    truth = np.float32(np.broadcast_to(truth, filled.shape))
    found = jax.device_get(score(truth, filled, topology))
    return Metrics(*(values[: len(predictions)] for values in found))


def test_agrees_with_lapack():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(5, N, 3)) * [1, 1, 0.5] + [0, 0, 2]
    turns = Rotation.random(5, rng=rng).as_matrix()
    prediction = 50 * (truth + 0.1 * rng.normal(size=truth.shape)) @ turns + 700
    # The last is the fourth one mirrored: the release allows a reflection, NME does not.
    truth[4], prediction[4] = truth[3], prediction[3] * [1, 1, -1]
    found = score_some(truth, prediction)
    for i in range(5):
        expected = lapack_scores(truth[i], prediction[i], (0, 1))
        for field, value in expected._asdict().items():
            np.testing.assert_allclose(getattr(found, field)[i], value, rtol=2e-4, atol=1e-5,
                                       err_msg=field)
    assert found.right_handed.tolist() == [True, True, True, True, False]
    assert found.mse[4] == pytest.approx(float(found.mse[3]), rel=1e-3)
    assert found.nme[4] > 3 * found.nme[3]


def test_a_similar_shape_is_perfect():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(N, 3))
    moved = 7 * truth @ Rotation.random(rng=rng).as_matrix() + 3
    found = score_some(truth, moved)
    assert found.mse == pytest.approx(0, abs=1e-10)
    assert found.depthcorr == pytest.approx(N, rel=1e-5)
    assert found.depth_correlation == pytest.approx(1, rel=1e-5)
    assert found.nme == pytest.approx(0, abs=1e-5)
    assert found.right_handed


def test_mse_by_hand():
    # A square pyramid that fills [0, 1] already; the predicted apex is at half the height. By
    # symmetry nothing is rotated. Centred, x and y are +-0.5 at the four corners, z is -0.2 there
    # and 0.8 at the apex (predicted: -0.1 and 0.4). The residual of the best scale a.b / a.a is
    # b.b - (a.b)^2 / a.a.
    base = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]
    truth, prediction = (np.float32([*base, [0.5, 0.5, z]]) for z in (1, 0.5))
    dot, square = 2 + 4 * 0.2 * 0.1 + 0.8 * 0.4, 2 + 4 * 0.1**2 + 0.4**2  # 2.4, 2.2
    total = 2 + 4 * 0.2**2 + 0.8**2  # 2.8
    expected = (total - dot**2 / square) / 15
    assert score_some(truth, prediction).mse == pytest.approx(expected, rel=1e-5)


def test_depthcorr_by_hand():
    # The corners of a box (+-1, +-2, +-3), predicted as (+-1, +-2, +-1): nothing is rotated, and
    # correlation does not feel scale and shift. Opposite corners correlate alike, so there are
    # four kinds: of (1, 2, 3) with (1, 2, 1), centred (-1, 0, 1) and (-1, 2, -1) / 3, it is 0; of
    # (1, 2, -3) with (1, 2, -1), centred the same and (1, 4, -5) / 3, 24 / sqrt(14 * 42); of
    # (1, -2, 3) with (1, -2, 1), centred (1, -8, 7) / 3 and the same, 24 / sqrt(114 * 6); of
    # (-1, 2, 3) with (-1, 2, 1), centred (-7, 2, 5) / 3 and (-5, 4, 1) / 3, 48 / sqrt(78 * 42).
    corners = np.float32(list(itertools.product([-1, 1], repeat=3)))
    found = score_some(corners * np.float32([1, 2, 3]), corners * np.float32([1, 2, 1]))
    trace = 2 * (0 + 24 / math.sqrt(588) + 24 / math.sqrt(684) + 48 / math.sqrt(3276))
    assert found.depthcorr == pytest.approx(trace * N / 8, rel=1e-5)
    assert found.depthcorr_share == pytest.approx(trace / 8, rel=1e-5)


RING = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]


def on_axis(*depths):
    """Four points around the z axis, and points on it at some depths."""
    return np.float32([*RING, *([0, 0, depth] for depth in depths)])


def test_depth_correlation_and_handedness_by_hand():
    # True depths 0, 0, 0, 0, 1, 3 (mean 2/3, sum of squares 10) and predicted ones 0, 0, 0, 0, 2,
    # 1 (mean 1/2, sum of squares 5): by symmetry the covariance is diag(2, 2, c) with
    # c = 1 * 2 + 3 * 1 - 6 * 2/3 * 1/2 = 3, positive: the best orthogonal map is no reflection.
    truth = on_axis(1, 3)
    found = score_some(truth, on_axis(2, 1))
    expected = 3 / math.sqrt((10 - 6 * 4 / 9) * (5 - 6 / 4))
    assert found.depth_correlation == pytest.approx(expected, rel=1e-5)
    assert found.right_handed
    # The other depth reverses c, and the map: the release turns it back, so the correlation stays.
    mirrored = score_some(truth, on_axis(-2, -1))
    assert mirrored.depth_correlation == pytest.approx(expected, rel=1e-5)
    assert not mirrored.right_handed


def test_nme_by_hand():
    # The six points at distance 1 on the axes; those on z are predicted at 1/2. By symmetry
    # nothing is rotated, and the scale is a.b / a.a = (4 + 2/2) / (4 + 2/4) = 10/9. Errors: 1/9 of
    # the first four, 1 - 5/9 of the others; over the distance 2 of the first two.
    found = score_some(on_axis(1, -1), on_axis(0.5, -0.5))
    expected = np.tile([1 / 18] * 4 + [2 / 9] * 2, N // 6)
    np.testing.assert_allclose(found.landmark_errors, expected, rtol=1e-5)
    assert found.nme == pytest.approx(1 / 9, rel=1e-5)


def test_flat_and_nearly_flat_faces():
    truth = np.asarray(synthetic.load("ibug68").mean)
    turn = Rotation.from_euler("xyz", [10, 40, 20], degrees=True).as_matrix()
    depths = [1, 1e-3, 1e-4, 0, -1e-4, -1]
    expected = [True, True, True, False, False, False]
    flattened = [truth * [1, 1, depth] @ turn for depth in depths]
    pixels = [300 + 2 * truth * [1, 1, depth] for depth in depths]
    found = score_all(truth, np.stack([*flattened, *pixels]), "ibug68").right_handed
    assert found.tolist() == 2 * expected


def test_a_flat_face_in_any_pose_has_no_handedness_and_a_nearly_flat_one_has():
    rng = np.random.default_rng(6)
    truth = np.asarray(synthetic.load("flame51").mean, float)
    turns = Rotation.random(NUM_FACES, rng=rng).as_matrix()
    for depth, expected in ((0, False), (1e-3, True), (-1e-3, False)):
        for offset in (0, np.ptp(truth)):  # rounding grows with the distance from the origin
            flattened = truth * [1, 1, depth] @ turns + offset
            found = score_all(truth, flattened, "flame51").right_handed
            assert (found == expected).all(), (depth, offset, found.sum())


def test_handedness_of_noisy_flat_faces_is_that_of_lapack():
    rng = np.random.default_rng(4)
    truth = np.asarray(synthetic.load("flame51").mean, float)
    size = np.ptp(truth)
    prediction = truth * [1, 1, 0.02] + 0.02 * size * rng.normal(size=(NUM_FACES, 51, 3))
    found = score_all(truth, prediction, "flame51")
    expected = [lapack_scores(truth, p, (19, 28)).right_handed for p in prediction]
    assert 10 < sum(expected) < 90  # such noise mirrors some
    assert found.right_handed.tolist() == expected


@pytest.mark.parametrize(
    ("topology", "eyes"), [("ibug68", (36, 45)), ("flame51", (19, 28)), ("bfm72", (0, 56))]
)
def test_every_topology_has_its_outer_eye_corners(topology, eyes):
    truth = np.asarray(synthetic.load(topology).mean, float)
    prediction = truth + np.random.default_rng(3).normal(size=truth.shape)
    (found,) = score_all(truth, prediction[None], topology).landmark_errors
    expected = lapack_scores(truth, prediction, eyes).landmark_errors
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_a_prediction_that_is_not_finite_is_nan_and_alone():
    truth = np.random.default_rng(2).normal(size=(3, N, 3)).astype(np.float32)
    prediction = truth.copy()
    prediction[0, 4, 1] = np.nan
    prediction[2] = np.inf
    found = score_some(truth, prediction)
    for field, values in found._asdict().items():
        if field == "right_handed":
            assert values.tolist() == [False, True, False]
        else:
            assert np.isnan(values[[0, 2]]).all(), field
            assert np.isfinite(values[1]).all(), field


def test_is_one_face_at_a_time_under_jit_and_vmap():
    rng = np.random.default_rng(5)
    truth, prediction = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    batched = score(truth, prediction, TOPOLOGY)
    one = jax.jit(jax.vmap(jax.vmap(lambda t, p: score(t, p, TOPOLOGY))))(truth, prediction)
    assert batched.nme.shape == SHAPE[:2] and batched.landmark_errors.shape == SHAPE[:3]
    assert batched.right_handed.dtype == bool
    for a, b in zip(batched, one, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_criteria_are_fields_of_one_number():
    assert {c.field for c in CRITERIA} == set(Metrics._fields) - {"landmark_errors"}
    truth = on_axis(1, 3)
    good, bad = (score_some(truth, on_axis(*z)) for z in ((1, 2.9), (-3, -1)))
    for criterion in CRITERIA:
        better = float(getattr(good, criterion.field)) - float(getattr(bad, criterion.field))
        assert better * criterion.better > 0, criterion


def test_refuses_what_it_cannot_score():
    face = np.ones((68, 3), np.float32)
    with pytest.raises(ValueError, match=r"truth: expected \(\.\.\., 51, 3\) for topology flame51"):
        score(face, face, "flame51")
    with pytest.raises(ValueError, match=r"prediction: expected \(\.\.\., 68, 3\).*\(68, 2\)"):
        score(face, face[:, :2], "ibug68")
    with pytest.raises(ValueError, match="topology: got 'hands'"):
        score(face, face, "hands")


def test_without_eye_corners_errors_are_relative_to_the_size_of_the_shape():
    truth = np.random.default_rng(5).normal(size=SHAPE[-2:]).astype(np.float32)
    prediction = truth + 0.1 * np.random.default_rng(6).normal(size=truth.shape).astype(np.float32)
    thing = Topology("thing", (*(f"point_{i}" for i in range(N - 1)), "exocanthion_left"), None, ())
    found = score(truth, prediction, thing)
    size = np.sqrt(np.mean(np.sum((truth - truth.mean(0)) ** 2, axis=1)))
    on_face = lapack_scores(truth, prediction, (0, 1)).nme
    expected = on_face * np.linalg.norm(truth[0] - truth[1]) / size
    assert found.nme == pytest.approx(expected, rel=1e-4)
    assert found.landmark_errors.mean() == pytest.approx(expected, rel=1e-4)
    assert (error_unit(thing), error_unit(TOPOLOGY)) == (
        "the size of the shape", "the outer interocular distance")
