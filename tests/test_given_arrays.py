"""What comes in that is no landmarks, or none at all."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

import deepmds_jax as dm
from deepmds_jax import given_arrays
from deepmds_jax.lifting import reconstruct_detailed

N = 51
NUM = 10  # faces in a batch, as in test_landmark_order: what is compiled serves both
FACE: Any = np.random.default_rng(0).normal(size=(N, 2)) * 100 + 300
SEEN: Any = np.ones(N, bool)

# Compiled once for all kinds of one dtype.
lift_each = jax.jit(jax.vmap(dm.reconstruct, (None, 0, 0)))
lift_film = jax.jit(functools.partial(dm.reconstruct_sequence, smoothing=None))


@pytest.fixture(scope="module", params=["flame51", "flame51_published"])
def params(request):
    return dm.load_pretrained(request.param)


@pytest.fixture(scope="module")
def anchored():
    return dm.load_pretrained("flame51")


@pytest.mark.parametrize("lead", [(0,), (2, 0)])
def test_no_faces_give_no_shapes(params, lead):
    none: Any = np.zeros((*lead, N, 2), np.float32)
    lifted = reconstruct_detailed(params, none)
    assert lifted.points.shape == (*lead, N, 3)
    assert lifted.status.shape == lead
    assert lifted.status.dtype == np.int32
    assert jax.eval_shape(dm.reconstruct, params, none).shape == (*lead, N, 3)


def test_no_faces_with_visible_give_no_shapes(anchored):
    none: Any = np.zeros((0, N, 2), np.float32)
    visible: Any
    for visible in (np.ones((0, N), bool), SEEN):
        assert dm.reconstruct(anchored, none, visible).shape == (0, N, 3)


def test_no_videos_give_no_sequences(params):
    none: Any = np.zeros((0, 4, N, 2), np.float32)
    lifted = dm.reconstruct_sequence(params, none, frame_rate=25)
    assert lifted.points.shape == (0, 4, N, 3)
    assert lifted.rotation.shape == (0, 4, 3, 3)
    assert lifted.yaw.shape == lifted.status.shape == (0, 4)


def masked(array):
    return np.ma.masked_array(array, mask=np.arange(array.size).reshape(array.shape) < 2)


WRONG_LANDMARKS: dict[str, tuple[Any, str]] = {
    "complex": (FACE + 1j, "real numbers, got complex"),
    "masked": (masked(FACE), "an array without a mask, got a masked one; say by visible"),
    "text": (FACE.astype(str), "real numbers, got <U"),
    "truth": (FACE > 300, "real numbers, got bool"),
    "objects": (FACE.astype(object), "real numbers, got object"),
    "ragged": ([[1.0, 2.0], [3.0]], "an array: "),
}
WRONG_VISIBLE: dict[str, tuple[Any, str]] = {
    "text": (np.full(N, "no"), "True or False, got <U2"),
    "nan": (np.full(N, np.nan), "True or False, got nan"),
    "half": (np.where(SEEN, 0.5, 1), "True or False, got 0.5"),
    "complex": (np.full(N, 1j), "True or False, got complex"),
    "masked": (masked(SEEN), "without a mask"),
}
WRONG_INIT: dict[str, tuple[Any, str]] = {
    "nan": (np.full((N, 3), np.nan), "finite points, got 153 numbers that are not"),
    "equal": (np.ones((2, N, 3)), "a shape, got one whose points are all equal"),
    "complex": (np.full((N, 3), 1j), "real numbers, got complex"),
    "masked": (masked(np.ones((N, 3))), "without a mask"),
}


@pytest.mark.parametrize("kind", WRONG_LANDMARKS)
def test_landmarks_that_are_none_are_named(anchored, kind):
    given, message = WRONG_LANDMARKS[kind]
    with pytest.raises(ValueError, match=f"^x2d: expected {message}"):
        dm.reconstruct(anchored, given)
    video: Any = [given] if kind == "ragged" else given[None]
    with pytest.raises(ValueError, match=f"^x2d: expected {message}"):
        dm.reconstruct_sequence(anchored, video, frame_rate=25)
    with pytest.raises(ValueError, match=f"^x2d: expected {message}"):
        dm.place_in_image(np.zeros((N, 3)), given)


@pytest.mark.parametrize("kind", WRONG_VISIBLE)
def test_visible_that_is_no_truth_is_named(anchored, kind):
    given, message = WRONG_VISIBLE[kind]
    with pytest.raises(ValueError, match=f"^visible: expected .*{message}"):
        dm.reconstruct(anchored, FACE, given)
    with pytest.raises(ValueError, match=f"^visible: expected .*{message}"):
        dm.reconstruct_sequence(anchored, FACE[None], given[None], frame_rate=25)
    with pytest.raises(ValueError, match=f"^visible: expected .*{message}"):
        dm.place_in_image(np.zeros((N, 3)), FACE, given)


UNTRUE: dict[str, Any] = {"confidences": np.where(np.arange(N) < 40, 0.9, 0.1).astype(np.float32),
                          "minus one": np.where(np.arange(N) < 40, 1, -1),
                          "nan": np.where(np.arange(N) < 40, 1, np.nan).astype(np.float32)}


@pytest.mark.parametrize("kind", UNTRUE)
def test_under_jit_a_visible_that_is_no_truth_makes_its_face_unknown_and_no_other(anchored, kind):
    hidden = np.arange(N) < 40
    given = np.tile(hidden.astype(UNTRUE[kind].dtype), (NUM, 1))
    given[1] = UNTRUE[kind]
    faces = np.tile(FACE, (NUM, 1, 1)).astype(np.float32)
    found = jax.jit(reconstruct_detailed)(anchored, faces, given)
    expected = jax.jit(reconstruct_detailed)(anchored, faces, np.tile(hidden, (NUM, 1)))
    others = np.arange(NUM) != 1
    np.testing.assert_array_equal(found.points[others], expected.points[others])
    assert np.isnan(found.points[1]).all() and found.status[1] == dm.mds.Status.INVALID
    alone = jax.jit(dm.reconstruct)(anchored, faces, given[1])  # for all faces
    assert np.isnan(alone).all()
    assert np.isnan(lift_each(anchored, faces, given)[1]).all()

    video = lift_film(anchored, faces, given)
    assert video.status[1] == dm.mds.Status.INVALID
    np.testing.assert_array_equal(video.points[1], video.points[0])

    shape = np.asarray(anchored.reference)
    placed = jax.jit(dm.place_in_image)(shape, faces, given)
    assert all(np.isnan(value[1]).all() and np.isfinite(value[0]).all() for value in placed)
    known = np.eye(3, dtype=np.float32)  # less to compile, and placed by fewer numbers
    placed = jax.jit(dm.place_in_image)(shape, faces[0], given, rotation=known)
    assert all(np.isnan(value[1]).all() and np.isfinite(value[0]).all() for value in placed)


@pytest.mark.parametrize("kind", WRONG_INIT)
def test_a_start_that_is_no_shape_is_named(anchored, kind):
    given, message = WRONG_INIT[kind]
    with pytest.raises(ValueError, match=f"^init: expected .*{message}"):
        reconstruct_detailed(anchored, FACE, init=given)


def test_what_says_the_same_is_taken():
    given_arrays.check_truth("visible", SEEN.astype(int))
    given_arrays.check_truth("visible", SEEN.astype(np.float32))
    given_arrays.check_truth("visible", [True, False])
    given_arrays.check_numbers("x2d", np.ma.masked_array(FACE, mask=False))
    given_arrays.check_numbers("x2d", FACE.astype(np.float16))
    given_arrays.check_numbers("x2d", FACE.astype(int).tolist())
    jax.eval_shape(lambda x: given_arrays.check_truth("visible", x), SEEN.astype(int))
    with pytest.raises(ValueError, match="x2d: expected real numbers, got complex64"):
        jax.eval_shape(lambda x: given_arrays.check_numbers("x2d", x), FACE.astype(np.complex64))
