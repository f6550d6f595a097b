"""Landmarks in another order, and what they look like then."""

import numpy as np
import pytest

import deepmds_jax as dm
from deepmds_jax import faces_by_name, landmark_order, suspicions, topologies
from deepmds_jax.data.formats.faces import make_face
from deepmds_jax.methods.deep_mds import Config

N = 51
NUM = 10  # faces in every batch; other files have as many, and share what is compiled


@pytest.fixture(scope="module")
def params():
    return dm.load_pretrained("flame51")


@pytest.fixture(scope="module")
def x2d(params):
    """(N, 2) the mean face 15 degrees to the side, orthographic."""
    sin, cos = np.sin(np.deg2rad(15)), np.cos(np.deg2rad(15))
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return (np.asarray(params.reference) @ turn.T)[:, :2]


def permuted(x2d, landmarks, instead):
    x2d = x2d.copy()
    x2d[landmarks] = x2d[instead]
    return x2d


BROW, EYE, OTHER_EYE = range(5), list(range(19, 25)), list(range(25, 31))
INNER = list(range(43, 51))
ORDERS = {
    "landmarks 0 to 4 (brow_outer_right to brow_inner_right) run the other way":
        (BROW, BROW[::-1]),
    "landmarks 19 to 24 (exocanthion_right to lower_lid_lateral_right) start elsewhere":
        (EYE, EYE[3:] + EYE[:3]),
    "landmarks 43 to 50 (inner_cheilion_right to lower_lip_inner_right) run the other way round":
        (INNER, INNER[4::-1] + INNER[:4:-1]),
    "landmarks 19 to 24 (exocanthion_right to lower_lid_lateral_right) and landmarks 25 to 30 "
    "(endocanthion_left to lower_lid_medial_left) are exchanged":
        (EYE + OTHER_EYE, OTHER_EYE + EYE),
}
AXES = {"mirrored?": [[-1, 0], [0, 1]], "with y upward?": [[1, 0], [0, -1]],
        "with x and y exchanged?": [[0, 1], [1, 0]]}


def test_each_wrong_order_is_named_and_the_right_one_is_not(params, x2d):
    rng = np.random.default_rng(0)
    given = {"right": x2d, "far, sheared": 300 * x2d @ [[1, 0.2], [0, 0.7]] + 1000,
             "hidden": x2d, **{text: permuted(x2d, *order) for text, order in ORDERS.items()},
             **{text: x2d @ np.array(axes, float) for text, axes in AXES.items()}}
    noise = rng.normal(scale=0.01, size=(N, 2))
    visible = np.ones(N, bool)
    faces = {name: make_face(points + np.ptp(points) / 3 * noise,
                             visible=visible & ((np.arange(N) > 6) | (name != "hidden")))
             for name, points in given.items()}
    assert len(faces) == NUM
    lifted, left_out = faces_by_name.lift_faces(params, faces)
    assert not left_out
    told = suspicions.describe(params, lifted)
    assert list(told) == [*ORDERS, *AXES]
    start = "these are not the landmarks of a face seen from the front; "
    for name, text in told.items():
        assert text == start + ("as if " if name in ORDERS else "") + name
    assert [name for name, face in lifted.items() if not face["converged"]] == list(told)


def test_landmarks_far_from_all_others_are_told_first(params, x2d):
    far, two, none = 300 * x2d + 500, 300 * x2d + 500, 300 * x2d + 500
    far[5] = 9999
    two[[5, 9]] = 65535, 9999
    none[5] = 9999
    visible = np.arange(N) != 5
    right = {f"right {i}": make_face(x2d) for i in range(NUM - 3)}
    lifted, _ = faces_by_name.lift_faces(params, right | {
        "far": make_face(far), "two": make_face(two), "none": make_face(none, visible=visible)})
    start = ("these are not the landmarks of a face seen from the front; "
             "landmark 5 (brow_inner_left)")
    assert suspicions.describe(params, lifted) == {
        "far": f"{start} lies far from all others",
        "two": f"{start} and 1 more lie far from the others"}


def test_gains_are_those_of_the_definition(params, x2d):
    """The quadratic form of each permuted face, by NumPy."""
    rng = np.random.default_rng(1)
    faces = np.stack([x2d, permuted(x2d, BROW, BROW[::-1])]) + rng.normal(scale=0.03,
                                                                         size=(2, N, 2))
    known = landmark_order.reorderings("flame51")
    gains = np.asarray(landmark_order.gains(faces.astype(np.float32), params.unexplained,
                                            "flame51"))
    assert gains.shape == (2, len(known.descriptions))
    form = np.asarray(params.unexplained, float)
    for found, points in zip(gains, faces, strict=True):
        left = np.einsum("na,nm,ma->", points, form, points)
        for k in range(0, len(found), 7):
            moved = known.weights[k].astype(bool)
            other = permuted(points, known.landmarks[k][moved], known.instead[k][moved])
            rest = np.einsum("na,nm,ma->", other, form, other)
            expected = (left - rest) / rest * 2 * N - known.min_gains[k]
            assert found[k] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", topologies.TOPOLOGIES)
def test_reorderings_are_permutations_that_change_something(name):
    known, num = landmark_order.reorderings(name), topologies.get(name).num_landmarks
    assert len(known.descriptions) > 10
    for landmarks, instead, weights in zip(*known[:3], strict=True):
        moved = weights.astype(bool)
        assert sorted(landmarks[moved]) == sorted(instead[moved])
        assert len(set(landmarks[moved])) == moved.sum()
        assert (landmarks[moved] != instead[moved]).sum() >= 2
        assert landmarks.max() < num


def test_things_without_parts_have_no_other_order():
    topologies.TOPOLOGIES["dots"] = topologies.Topology("dots", ("a", "b", "c"), None, ())
    try:
        assert landmark_order.reorderings("dots").descriptions == ()
        gains = landmark_order.gains(np.eye(3)[None, :, :2], np.eye(3), "dots")
        assert gains.shape == (1, 0)
    finally:
        del topologies.TOPOLOGIES["dots"]


def test_published_weights_tell_axes_alone(x2d):
    del x2d
    published = dm.load_pretrained("flame51_published")
    assert isinstance(published.config, Config)
    assert suspicions._reordered(published, np.zeros((2, N, 2), np.float32)) == [None, None]
