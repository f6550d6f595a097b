"""Faces by name: which weights and faces fit, where lifted ones lie, and frames of a video."""

import dataclasses

import jax
import numpy as np
import pytest

import deepmds_jax as dm
from deepmds_jax import faces_by_name, suspicions
from deepmds_jax.data.formats.faces import make_face
from deepmds_jax.data.sources import synthetic
from deepmds_jax.geometry import project, rotation_from_angles
from deepmds_jax.methods import anchored, deep_mds
from deepmds_jax.topologies import FLAME51

N = 51
YAW = np.array([-20, 0, 10, 20, 15, -10], np.float32)  # degrees; six faces in every batch
NAMES = list("abcdef")
NO_FACE = "these are not the landmarks of a face seen from the front"


@pytest.fixture
def params(untrained):
    return untrained


@pytest.fixture(scope="module")
def x2d():
    """(6, N, 2) mean faces of these yaws, in pixels far from the origin, float64."""
    points = np.tile(synthetic.load("flame51").mean, (len(YAW), 1, 1))
    zero = np.zeros_like(YAW)
    flat = jax.jit(lambda: project(points, rotation_from_angles(YAW, zero, zero), zero))()
    return 2 * np.asarray(flat, np.float64) + 1e8


def landmarks(x2d, **fields):
    """Faces by name; of the fields, each has its own value."""
    values = [dict(zip(fields, each, strict=True)) for each in zip(*fields.values(), strict=True)]
    faces = [make_face(points, **own)
             for points, own in zip(x2d, values or [{}] * len(x2d), strict=True)]
    return dict(zip(NAMES, faces, strict=True))


@pytest.mark.parametrize(("sizes", "topology"), [
    ((68,), "ibug68"), ((51, 68), "flame51"), ((7, 51, 68), "flame51"), ((), "ibug68"),
    ((98,), "ibug68"), ((133,), "ibug68"), ((478,), "flame51"),
])
def test_weights_are_those_of_the_first_face_that_fits(sizes, topology):
    faces = {str(i): make_face(np.zeros((size, 2))) for i, size in enumerate(sizes)}
    loaded = faces_by_name.load_pretrained_for(faces)
    if not sizes:  # any will do
        assert loaded.config.topology in ("flame51", "ibug68")
    else:
        assert loaded.config.topology == topology
        assert isinstance(loaded, anchored.Params)  # shipped without _published


@pytest.mark.parametrize(("sizes", "lines"), [
    ((51, 68, 98), 1), ((68, 51), 0), ((51, 478), 0), ((51, 7), 0), ((98, 68), 0), ((7,), 0),
    ((), 0),
])
def test_faces_that_lose_landmarks_are_told(sizes, lines):
    faces = {f"f{size}": make_face(np.zeros((size, 2))) for size in sizes}
    told = faces_by_name.losing_landmarks(faces)
    assert len(told) == lines
    if told:
        assert told[0].startswith("warning: 2 of 3 faces have more landmarks than the 51 of ")
        assert ": f68, ...;" in told[0] and told[0].endswith("--weights=ibug68")


def test_no_weights_for_any_face(params):
    with pytest.raises(ValueError, match=r"the first face has 7; give others by --weights"):
        faces_by_name.load_pretrained_for(
            {"a": make_face(np.zeros((7, 2))), "b": make_face(np.zeros((8, 2)))})


def test_faces_that_do_not_fit_are_named(params):
    rng = np.random.default_rng(0)
    faces = {"few": rng.normal(size=(7, 2)), "good": rng.normal(size=(N, 2)),
             "one place": np.full((N, 2), 3.0), "a line": np.full((N, 2), 3.0)}
    faces["a line"][:, 0] = np.arange(N)
    faces = {name: make_face(points) for name, points in faces.items()}
    faces["hidden"] = make_face(rng.normal(size=(N, 2)), visible=np.arange(N) < 5)
    faces["some hidden"] = make_face(rng.normal(size=(N, 2)), visible=np.arange(N) < 6)
    fitting, left_out = faces_by_name.select_faces(faces, FLAME51, anchored)
    assert list(fitting) == ["good", "a line", "some hidden"]
    assert left_out == ["few: 7 landmarks, topology flame51 has 51",
                        "one place: all landmarks are equal",
                        "hidden: 5 of 51 landmarks are visible, expected at least 6"]
    fitting, left_out = faces_by_name.select_faces(faces, FLAME51, deep_mds)
    assert list(fitting) == ["good", "a line"]
    assert left_out[-1].startswith("some hidden: 45 landmarks are hidden, which Deep-MDS as publ")


def test_lifted_faces_lie_where_their_landmarks_are(params, x2d):
    faces, left_out = faces_by_name.lift_faces(params, landmarks(x2d))
    assert list(faces) == NAMES
    assert left_out == []
    assert suspicions.describe(params, faces) == {}
    for face, yaw, given in zip(faces.values(), YAW, x2d, strict=True):
        np.testing.assert_array_equal(face["x2d"], given)  # float64, as far from the origin
        size = np.ptp(given[:, 0])
        assert np.abs(face["image_points"][:, :2] - given).mean() < 0.05 * size
        np.testing.assert_allclose(face["translation"], given.mean(0), atol=0.05 * size)
        assert face["yaw"] == pytest.approx(yaw, abs=6)
        assert face["converged"]
        assert face["points"].shape == face["std"].shape == (N, 3)
        assert {"stress", "num_iters", "status", "rotation", "scale"} <= face.keys()


def test_faces_that_cannot_be_lifted_are_named_and_odd_ones_told(params, x2d):
    given = x2d - x2d.mean(1, keepdims=True)
    given[1, 3] = 1e300  # finite, but not in float32
    given[2, :, 0] *= -1
    with np.errstate(over="ignore", invalid="ignore"):
        faces, left_out = faces_by_name.lift_faces(params, landmarks(given))
    assert list(faces) == ["a", "c", "d", "e", "f"]
    assert left_out == ["b: the reconstruction is not finite"]
    assert suspicions.describe(params, faces) == {"c": f"{NO_FACE}; mirrored?"}


def test_faces_of_which_little_is_seen_are_told(params, x2d):
    seen = [np.arange(N) < count for count in (N, 23, 22, N, N, N)]  # trained with 23 of 51 or more
    faces, _ = faces_by_name.lift_faces(params, landmarks(x2d, visible=seen))
    told = suspicions.describe(params, faces)
    assert list(told) == ["c"]
    assert told["c"].startswith("22 of 51 landmarks are visible, fewer than in training: ")


def test_frames_are_lifted_in_time_and_lie_where_their_landmarks_are(params, x2d):
    given = x2d.copy()
    given[1] = 0
    frames = faces_by_name.lift_frames(params, landmarks(given), 10.0, None)
    assert list(frames) == NAMES
    assert [bool(frame["converged"]) for frame in frames.values()] == [
        True, False, True, True, True, True]
    for i, frame in enumerate(frames.values()):
        assert frame["seconds"] == pytest.approx(i / 10)
        if i != 1:
            off = np.abs(frame["image_points"][:, :2] - given[i]).mean()
            assert off < 0.05 * np.ptp(given[i, :, 0])
            assert frame["yaw"] == pytest.approx(YAW[i], abs=6)
    # Without smoothing the frame without a face has the shape of the one before.
    np.testing.assert_array_equal(frames["b"]["points"], frames["a"]["points"])
    smoothed = faces_by_name.lift_frames(params, landmarks(given), 10.0, dm.Smoothing())
    assert np.abs(smoothed["d"]["yaw"] - frames["d"]["yaw"]) > 1e-3


def test_videos_with_gaps_or_without_a_face_are_refused(params, x2d):
    with pytest.raises(ValueError, match=r"^fps: no frame shows a face"):
        faces_by_name.lift_frames(params, landmarks(np.zeros_like(x2d)), 10.0, None)
    with pytest.raises(ValueError, match=r"^fps: every frame is needed: b: 7 landmarks, topology"):
        faces_by_name.lift_frames(
            params, landmarks(x2d) | {"b": make_face(np.zeros((7, 2)))}, 10.0, None)
    faces_by_name.refuse_gaps([])
    with pytest.raises(ValueError, match=r"every frame is needed: a; b; c$"):
        faces_by_name.refuse_gaps(["a", "b", "c", "d"])


def test_two_frames_at_one_time_are_named(params, x2d):
    given = landmarks(x2d, frame=[0, 1, 5, 1, 6, 7], frame_number=[3, 4, 8, 4, 9, 10],
                      track=["film"] * 6)
    with pytest.raises(ValueError, match=(
        r"^fps: two frames of one face at 0\.1 s with 10 frames per second in film: "
        r"b \(frame 4\) and d \(frame 4\); expected each frame once, or several faces told apart "
        r"by face_id$"
    )):
        faces_by_name.lift_frames(params, given, 10.0, None)
    given = landmarks(x2d, seconds=[0.0, 0.1, 0.14, 0.3, 0.4, 0.5])
    with pytest.raises(ValueError, match=r"b and c; expected other frames per second$"):
        faces_by_name.lift_frames(params, given, 10.0, None)


def test_a_gap_in_time_is_one_to_the_smoothing(params, x2d):
    hidden = make_face(np.zeros_like(x2d[0]), found=False)
    a, b, c, d = map(make_face, x2d[:4])
    whole = {"a": a, "b": b, "1": hidden, "2": hidden, "c": c, "d": d}
    expected = faces_by_name.lift_frames(params, whole, 10.0, dm.Smoothing())
    for field, scale in (("frame", 1), ("seconds", 0.1)):
        gap = {name: dataclasses.replace(face, **{field: scale * time}) for name, face, time in
               zip("dabc", (d, a, b, c), (5, 0, 1, 4), strict=True)}
        frames = faces_by_name.lift_frames(params, gap, 10.0, dm.Smoothing())
        assert list(frames) == list("abcd")  # in the order of time
        for name, frame in frames.items():
            assert frame["seconds"] == pytest.approx(expected[name]["seconds"])
            np.testing.assert_allclose(frame["points"], expected[name]["points"], atol=1e-6)
            np.testing.assert_allclose(frame["yaw"], expected[name]["yaw"], atol=1e-3)
    far = {name: dataclasses.replace(face, frame=1000 * time) for name, face, time in
           zip("ab", (a, b), (0, 1), strict=True)}
    with pytest.raises(ValueError, match="fps: the times of frames are 100 apart"):
        faces_by_name.lift_frames(params, far, 10.0, None)
    with pytest.raises(ValueError, match="fps: 1 of 2 frames have no time"):
        faces_by_name.lift_frames(params, {"a": far["a"], "b": b}, 10.0, None)
