"""Landmarks over time: the filter by hand, lost frames, and what smoothing is for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import bound

import deepmds_jax as dm
from deepmds_jax.data.sources import synthetic
from deepmds_jax.geometry import procrustes, project, rotation_from_angles
from deepmds_jax.methods import deep_mds
from deepmds_jax.video import BOTH_WAYS, LIVE, one_euro, smooth

RATE = 25.0
NUM_FRAMES = 60

ALL = np.ones((NUM_FRAMES, 51), bool)

lift_alone = jax.jit(dm.reconstruct_detailed)
turn = jax.jit(rotation_from_angles)
align = jax.jit(procrustes)


def lift(params, x2d, visible=ALL, smoothing=None):
    """The sequence, on the host. Always with `visible`: one program serves all tests."""
    return jax.device_get(dm.reconstruct_sequence(
        params, x2d, visible, frame_rate=RATE, smoothing=smoothing))


@pytest.fixture
def params(untrained):
    return untrained


@pytest.fixture(scope="module")
def video():
    """True shape, angles (3, T), and noisy landmarks of a mean face that nods and turns."""
    face = np.asarray(synthetic.load("flame51").mean)
    seconds = np.arange(NUM_FRAMES, dtype=np.float32) / RATE
    angles = np.stack([30 * np.sin(2.0 * seconds), 10 * np.cos(1.5 * seconds), 5 * seconds])
    x2d = jax.jit(project)(np.tile(face, (NUM_FRAMES, 1, 1)), turn(*angles),
                           np.zeros(NUM_FRAMES, np.float32))
    noise = np.random.default_rng(1).normal(size=x2d.shape)  # mm; the eyes are 90 apart
    return face, angles, np.asarray(x2d) + noise.astype(np.float32)


def run_filter(values, filter_, good=None, rate=RATE):
    values = np.asarray(values, np.float32)[:, None, None]
    good = np.ones(len(values), bool) if good is None else np.asarray(good)
    smoothed, gap = one_euro(values, good, jnp.full((1, 1), -7.0), rate, filter_)
    return np.asarray(smoothed)[:, 0, 0], np.asarray(gap)


def test_a_constant_passes_and_a_step_fades_in():
    filter_ = dm.OneEuro(cutoff=2.0, speed=0.0)
    np.testing.assert_allclose(run_filter([3.0] * 5, filter_)[0], 3.0)
    # Without speed this is an exponential mean: what is left of a step falls by 1 - alpha a frame.
    alpha = 1 / (1 + RATE / (2 * np.pi * 2.0))
    left = 1 - run_filter([0.0] + [1.0] * 10, filter_)[0]
    np.testing.assert_allclose(left, (1 - alpha) ** np.arange(11), rtol=1e-5)


def test_a_ramp_is_followed_at_the_cutoff_of_its_speed():
    # In the end the result runs behind by a constant d, and its slope is the ramp's; the filter
    # takes (d + one step) * rate for the speed. With beta = 0: (1 - alpha) (d + step) = d.
    step, cutoff = 0.2, 1.0
    ramp = step * np.arange(400)
    for speed in (0.0, 0.5):
        behind = ramp - run_filter(ramp, dm.OneEuro(cutoff, speed))[0]
        d = behind[-1]
        seen = (d + step) * RATE
        alpha = 1 / (1 + RATE / (2 * np.pi * (cutoff + speed * seen)))
        assert d == pytest.approx((1 - alpha) * (d + step), rel=1e-3)
    # Closed form for beta = 0: a lag of 1 / (2 pi cutoff) seconds.
    late = ramp - run_filter(ramp, dm.OneEuro(cutoff, 0.0))[0]
    assert late[-1] == pytest.approx(step * RATE / (2 * np.pi * cutoff), rel=1e-4)
    assert behind[-1] < 0.5 * late[-1]


def test_the_second_frame_by_hand():
    # From 0 to 1 at 10 frames/s; derivative cutoff 1 Hz: alpha_d = 1 / (1 + 10 / 2 pi) = 0.38587,
    # speed 3.8587 /s; cutoff 1 + 0.5 * 3.8587 = 2.92935 Hz: alpha = 1 / (1 + 10 / 18.4057).
    found, _ = run_filter([0.0, 1.0], dm.OneEuro(1.0, 0.5), rate=10.0)
    assert found[1] == pytest.approx(0.64796, abs=2e-5)


def test_gaps_are_held_and_counted():
    good = [False, True, True, False, False, True]
    values = [np.nan, 1.0, 1.0, np.nan, 99.0, 2.0]
    found, gap = run_filter(values, dm.OneEuro(1.0, 0.0), good)
    np.testing.assert_allclose(found[:5], [-7, 1, 1, 1, 1])
    np.testing.assert_array_equal(gap[1:], [0, 0, 1, 2, 0])
    alpha = 1 / (1 + RATE / (2 * np.pi * 3))  # three frames since the last good one
    assert found[5] == pytest.approx(1 + alpha, rel=1e-5)
    # From both ends a gap is bridged: 1/2 in its middle, and no start where there is a later one.
    both = smooth(np.array([9.0, 0, 0, 0, 9, 9, 9, 2, 2], np.float32)[:, None, None],
                  np.array([0, 1, 1, 1, 0, 0, 0, 1, 1], bool), jnp.full((1, 1), -7.0), RATE,
                  dm.OneEuro(1e6, 0.0), True)[:, 0, 0]
    np.testing.assert_allclose(both, [0, 0, 0, 0, 0.5, 1, 1.5, 2, 2], atol=1e-3)


def test_without_smoothing_every_frame_is_as_by_itself(params, video):
    x2d = video[2]
    visible = np.random.default_rng(2).random(x2d.shape[:-1]) > 0.2
    found = lift(params, x2d, visible)
    alone = lift_alone(params, x2d, visible)
    for name in ("points", "rotation", "status", "std"):
        np.testing.assert_allclose(getattr(found, name), getattr(alone, name),
                                   atol=bound(5e-5, 1e-4))
    angles = turn(found.yaw, found.pitch, found.roll)
    np.testing.assert_allclose(angles, found.rotation, atol=1e-5)


def test_frames_far_off_and_in_any_unit_are_as_near_ones(params, video):
    x2d = video[2].astype(np.float64)
    near = lift(params, x2d)
    for changed in (x2d + 1e9, 1e-25 * x2d, np.float32(1e20) * video[2]):
        far = lift(params, changed)
        np.testing.assert_array_equal(far.status, near.status)
        np.testing.assert_allclose(far.points, near.points, atol=2e-4)


def test_another_start_leads_to_the_same_shape(params, video):
    x2d = video[2]
    found = jax.device_get(lift_alone(params, x2d, ALL))
    far = found.points + 0.4 * np.random.default_rng(3).normal(size=found.points.shape)
    again = jax.device_get(lift_alone(params, x2d, ALL, init=(5 * far + 3).astype(np.float32)))
    np.testing.assert_allclose(again.points, found.points, atol=5e-3)
    assert np.mean(again.num_iters) > np.mean(found.num_iters)


@pytest.mark.parametrize("smoothing", [BOTH_WAYS, LIVE])
def test_smoothing_takes_jitter_away_and_adds_no_error(params, video, smoothing):
    face, angles, x2d = video
    plain, found = (lift(params, x2d, smoothing=way) for way in (None, smoothing))

    def shape_error(result):
        return np.asarray(align(result.points, face)(result.points)) - face

    def pose_error(result):
        return np.stack([result.yaw, result.pitch, result.roll]) - angles

    for error, axis in ((shape_error, 0), (pose_error, 1)):
        before, after = error(plain), error(found)
        jitters = [np.sqrt((np.diff(e, 2, axis=axis) ** 2).mean()) for e in (before, after)]
        assert jitters[1] < 0.8 * jitters[0]
        assert np.sqrt((after**2).mean()) < 1.02 * np.sqrt((before**2).mean())
    np.testing.assert_allclose(np.mean(np.sum(found.points**2, -1), -1), 1, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.det(found.rotation), 1, rtol=1e-4)


@pytest.mark.parametrize("smoothing", [None, BOTH_WAYS, LIVE])
def test_lost_frames_are_flagged_and_filled_and_poison_nothing(params, video, smoothing):
    x2d = np.array(video[2])
    visible = np.ones(x2d.shape[:-1], bool)
    lost = np.zeros(NUM_FRAMES, bool)
    lost[[0, 20, 21, 22, 30, 40]] = True
    visible[[0, 20]] = False
    x2d[[0, 20]] = np.nan
    visible[21, 5:] = False
    x2d[22] = 320.0  # all landmarks equal
    x2d[40, :, 0] *= -1  # mirrored, the landmarks not renamed
    visible[30, :46] = False

    found = lift(params, x2d, visible, smoothing)
    assert all(np.isfinite(array).all() for array in found)
    assert (found.status[lost] == dm.mds.Status.INVALID).all()
    assert found.converged[~lost].all()
    assert (found.std[lost] == 1).all()
    assert (found.std[~lost] < 1).all()
    # What is held is near the frames around, and without smoothing it is the last good one.
    whole = lift(params, video[2], smoothing=smoothing)
    np.testing.assert_allclose(found.yaw[20:40], whole.yaw[20:40], atol=15)
    np.testing.assert_allclose(found.points[1:], whole.points[1:], atol=0.15)
    if smoothing is None:
        for name in ("points", "rotation"):
            held = getattr(found, name)
            np.testing.assert_array_equal(held[20:23], held[[19] * 3])
            np.testing.assert_allclose(held[23], getattr(whole, name)[23], atol=1e-5)
    if smoothing != BOTH_WAYS:
        np.testing.assert_allclose(found.points[0], params.reference, atol=1e-5)
        assert found.yaw[0] == 0


def test_a_video_without_any_face_is_finite_and_flagged(params):
    for smoothing in (None, BOTH_WAYS, LIVE):
        found = lift(params, np.zeros((NUM_FRAMES, 51, 2)), smoothing=smoothing)
        assert not found.converged.any()
        np.testing.assert_allclose(found.points, np.tile(params.reference, (NUM_FRAMES, 1, 1)),
                                   atol=1e-5)


def test_live_frames_know_nothing_of_later_ones(params, video):
    x2d = video[2]
    one, other = (lift(params, x, smoothing=LIVE) for x in (x2d, np.tile(x2d[:30], (2, 1, 1))))
    for name in ("points", "rotation"):
        a, b = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(a[:30], b[:30], atol=1e-5)
        assert np.abs(a[30:] - b[30:]).max() > 1e-2


def test_jit_vmap_and_leading_axes_agree(params, video):
    """And the default, of all landmarks visible."""
    forth, back = video[2], video[2][::-1]
    compiled = jax.jit(jax.vmap(lambda x2d: dm.reconstruct_sequence(params, x2d, frame_rate=RATE)))

    def run(*videos):
        """Two videos in a leading axis, mapped over another axis of one."""
        found = jax.device_get(compiled(np.stack(videos)[None]))
        assert found.points.shape == (1, 2, NUM_FRAMES, 51, 3)
        assert found.yaw.shape == found.converged.shape == (1, 2, NUM_FRAMES)
        return jax.tree.map(lambda array: array[0], found)

    batch = run(forth, back)
    broken = forth.copy()
    broken[30, 3] = np.inf  # where nothing can be raised
    damaged = run(broken, back)
    assert not damaged.converged[0, 30]
    assert all(np.isfinite(array).all() for array in damaged)
    np.testing.assert_allclose(damaged.points[0], batch.points[0], atol=0.15)
    single = lift(params, back, smoothing=BOTH_WAYS)
    for name in ("points", "rotation", "std"):
        np.testing.assert_allclose(getattr(batch, name)[1], getattr(single, name), atol=2e-5)
        np.testing.assert_array_equal(getattr(damaged, name)[1], getattr(batch, name)[1])
    # The video played backward is smoothed alike from both ends.
    np.testing.assert_allclose(batch.points[1, ::-1], batch.points[0], atol=1e-4)


def test_the_published_system_too(video):
    config = deep_mds.Config("flame51", transform="ratio", max_iters=5)  # compiles in less time
    params = dataclasses.replace(dm.load_pretrained("flame51_published"), config=config)
    x2d = video[2].copy()
    x2d[3] = 0
    found = dm.reconstruct_sequence(params, x2d, frame_rate=RATE)
    assert found.std is None
    assert found.points.shape == (NUM_FRAMES, 51, 3)
    assert all(np.isfinite(array).all() for array in found if array is not None)
    assert found.status[3] == dm.mds.Status.INVALID
    with pytest.raises(ValueError, match="visible: expected none with Deep-MDS as published"):
        dm.reconstruct_sequence(params, x2d, ALL, frame_rate=RATE)


@pytest.mark.parametrize(("change", "message"), [
    ({"frame_rate": None}, "frame_rate: smoothing needs it"),
    ({"frame_rate": 0}, "frame_rate: expected a number above 0, got 0"),
    ({"frame_rate": -25.0}, "frame_rate: expected a number above 0, got -25"),
    ({"frame_rate": float("nan")}, "frame_rate: expected a number above 0, got nan"),
    ({"frame_rate": "25"}, "frame_rate: expected a number above 0, got '25'"),
    ({"smoothing": dm.Smoothing(shape=dm.OneEuro(0.0, 1.0))}, r"smoothing\.shape\.cutoff"),
    ({"smoothing": dm.Smoothing(pose=dm.OneEuro(1.0, -1.0))}, r"smoothing\.pose\.speed.*of 0 or"),
    ({"smoothing": False}, "^smoothing: expected a Smoothing, or None for none, got False$"),
    ({"smoothing": dm.OneEuro(1.0, 1.0)}, "^smoothing: expected a Smoothing, .* got OneEuro"),
    ({"smoothing": dm.Smoothing(pose=1.0)}, r"^smoothing\.pose: expected a OneEuro, got 1\.0$"),
    ({"smoothing": dm.Smoothing(both_ways="no")}, r"^smoothing\.both_ways: .* got 'no'$"),
    ({"x2d": np.zeros((51, 2))}, r"x2d: expected \(\.\.\., frames, 51, 2\).*got \(51, 2\)"),
    ({"x2d": np.zeros((0, 51, 2))}, "at least one frame"),
    ({"x2d": np.full((4, 51, 2), np.nan)}, "x2d: 4 of 4 frames have landmarks that are not finite"),
    ({"visible": np.ones(51, bool)}, r"visible: expected \(60, 51\) like x2d, got \(51,\)"),
])
def test_bad_input_is_told(params, video, change, message):
    arguments = {"x2d": video[2], "frame_rate": RATE} | change
    with pytest.raises(ValueError, match=message):
        dm.reconstruct_sequence(params, **arguments)
