"""What can be said about two shapes without the truth, by hand."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepmds_jax.evaluation.agreement import add_aligned, compare_shapes
from deepmds_jax.topologies import Topology

# Eye corners, ears, and two points in the middle; eyes are 2 apart.
TOPOLOGY = Topology(
    "some", ("exocanthion_right", "exocanthion_left", "ear_right", "ear_left", "nose", "chin"),
    (1, 0, 3, 2, 4, 5), ((4, 5),),
)
SHAPE = np.array([[-1, -1, 0], [1, -1, 0], [-1.5, 0, 2], [1.5, 0, 2], [0, 0, -1], [0, 2, 0.5]])


def make_face(points, offset=(0.0, 0.0)):
    """A face seen from the front, 50 pixels to a unit."""
    placed = 50 * points + [300, 200, 0]
    return {"points": points, "image_points": placed, "x2d": placed[:, :2] + offset}


@pytest.fixture(scope="module")
def compared():
    """Rows of faces whose other shape is ours turned, mirrored, and with the nose to one side."""
    bent = SHAPE + np.array([[0, 0, 0]] * 4 + [[0.6, 0, 0]] + [[0, 0, 0]])
    turned = 7 * Rotation.from_euler("xyz", [10, 40, 20], degrees=True).apply(SHAPE) + 3
    faces = {"turned": make_face(SHAPE), "mirrored": make_face(bent, (3.0, -4.0)),
             "bent": make_face(SHAPE, (0.0, 2.0))}
    others = {"bent": bent, "mirrored": bent * [1, 1, -1], "unknown": SHAPE[:3], "turned": turned}
    rows = compare_shapes(faces, others, "Other", TOPOLOGY)
    assert [row["face"] for row in rows] == list(faces)
    assert all(list(row) == ["face", "reprojection (%)", "asymmetry (%)", "Other's (%)",
                             "difference (%)", "depth correlation", "same handedness"]
               for row in rows)
    return {row["face"]: row for row in rows}


def test_reprojection_is_in_per_cent_of_the_eye_distance(compared):
    # The eyes are 100 pixels apart; offsets are 0, 5 and 2 pixels.
    found = [compared[name]["reprojection (%)"] for name in ("turned", "mirrored", "bent")]
    assert found == pytest.approx([0, 5, 2], abs=1e-4)


def test_a_shape_that_is_only_turned_agrees(compared):
    row = compared["turned"]
    assert row["asymmetry (%)"] == pytest.approx(0, abs=1e-3)
    assert row["Other's (%)"] == pytest.approx(0, abs=1e-3)
    assert row["difference (%)"] == pytest.approx(0, abs=1e-3)
    assert row["depth correlation"] == pytest.approx(1, abs=1e-5)
    assert row["same handedness"] is True


def test_a_mirrored_shape_is_noticed(compared):
    row = compared["mirrored"]
    assert row["same handedness"] is False
    assert row["difference (%)"] > 10
    # Mirroring keeps the asymmetry.
    assert row["asymmetry (%)"] == pytest.approx(row["Other's (%)"], rel=1e-4)


def similarity(source, target):
    """`source` on `target`, by SciPy."""
    a, b = source - source.mean(0), target - target.mean(0)
    a = Rotation.align_vectors(b, a)[0].apply(a)
    return np.sum(a * b) / np.sum(a * a) * a + target.mean(0)


def test_asymmetry_and_difference_are_distances_after_alignment(compared):
    row = compared["bent"]
    bent = SHAPE + np.array([[0, 0, 0]] * 4 + [[0.6, 0, 0]] + [[0, 0, 0]])
    mirrored = bent[list(TOPOLOGY.mirror)] * [-1, 1, 1]
    for title, source, target in (("Other's (%)", mirrored, bent),
                                  ("difference (%)", bent, SHAPE)):
        distances = np.linalg.norm(similarity(source, target) - target, axis=1)
        assert row[title] == pytest.approx(100 * distances.mean() / 2, rel=1e-4)
        assert row[title] > 5
    assert row["asymmetry (%)"] == pytest.approx(0, abs=1e-3)
    assert row["same handedness"] is True


def test_the_other_shape_is_drawn_aligned_after_each_face():
    others = {"a": 0.1 * Rotation.from_euler("y", 70, degrees=True).apply(SHAPE) + 5, "b": SHAPE}
    faces = {name: make_face(SHAPE.astype(np.float32)) for name in "ab"}
    picture = np.zeros((4, 4, 3), np.uint8)
    drawn, images = add_aligned(faces, {"b": picture}, others, "Other")
    assert list(drawn) == ["a", "Other: a", "b", "Other: b"]
    assert drawn["a"] is faces["a"]
    assert set(drawn["Other: a"]) == {"x2d", "points"}
    np.testing.assert_array_equal(drawn["Other: a"]["x2d"], faces["a"]["x2d"])
    for name in "ab":
        np.testing.assert_allclose(drawn[f"Other: {name}"]["points"], SHAPE, atol=1e-5)
    assert list(images) == ["b", "Other: b"] and images["Other: b"] is picture


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"prediction: expected \(\.\.\., 6, 3\) for topology"):
        compare_shapes({"a": make_face(SHAPE)}, {"a": SHAPE[:5]}, "Other", TOPOLOGY)
