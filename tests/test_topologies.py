import h5py
import numpy as np
import pytest

from deepmds_jax import topologies

ALL = pytest.mark.parametrize("topology", topologies.TOPOLOGIES.values(), ids=lambda t: t.name)


@pytest.mark.parametrize(("name", "count"), [("ibug68", 68), ("flame51", 51), ("bfm72", 72)])
def test_number_of_landmarks(name, count):
    topology = topologies.get(name)
    assert topology.name == name
    assert topology.num_landmarks == len(set(topology.landmarks)) == len(topology.mirror) == count


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'ibug86', expected one of ibug68, flame51, bfm72"):
        topologies.get("ibug86")


@ALL
def test_mirror_swaps_sides_and_undoes_itself(topology):
    mirror = np.array(topology.mirror)
    np.testing.assert_array_equal(mirror[mirror], np.arange(topology.num_landmarks))
    for i, name in enumerate(topology.landmarks):
        partner = topology.landmarks[mirror[i]]
        if name.endswith("_right"):
            assert partner == name.replace("_right", "_left")
        elif not name.endswith("_left"):
            assert partner == name


@ALL
def test_edges_join_different_landmarks_once_and_symmetrically(topology):
    edges = {frozenset(edge) for edge in topology.edges}
    assert len(edges) == len(topology.edges)
    assert all(len(edge) == 2 and edge < set(range(topology.num_landmarks)) for edge in edges)
    assert edges == {frozenset(topology.mirror[i] for i in edge) for edge in edges}


def test_ibug68_mirror_is_the_well_known_one():
    pairs = [(0, 16), (7, 9), (8, 8), (17, 26), (21, 22), (27, 27), (30, 30), (31, 35), (32, 34)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (51, 51), (55, 59), (56, 58), (57, 57)]
    pairs += [(60, 64), (61, 63), (62, 62), (65, 67), (66, 66)]
    for a, b in pairs:
        assert topologies.IBUG68.mirror[a] == b


def test_flame51_is_ibug68_without_the_jaw():
    assert topologies.FLAME51.landmarks == topologies.IBUG68.landmarks[17:]
    assert [i + 17 for i in topologies.FLAME51.mirror] == list(topologies.IBUG68.mirror[17:])
    assert len(topologies.FLAME51.edges) == len(topologies.IBUG68.edges) - 16


def test_expand_sides():
    assert topologies.expand_sides("gonion* menton") == (
        "gonion_right menton",
        "gonion_left menton",
    )
    assert topologies.expand_sides("menton") == ("menton",)


def _assert_sides_and_mirror(topology, x, y, tolerance):
    """x right, y any way: the named sides are where they should be, partners reflect each other."""
    for name, value in zip(topology.landmarks, x, strict=True):
        if name.endswith(("_right", "_left")):
            assert (value > 0) == name.endswith("_left"), name
    points = np.stack([x, y], axis=-1)
    reflected = points[list(topology.mirror)] * [-1, 1]
    distances = np.linalg.norm(reflected[:, None] - points[None], axis=-1)
    np.testing.assert_array_equal(distances.argmin(1), np.arange(len(points)))
    assert distances.diagonal().max() < tolerance


def test_ibug68_against_the_ict_mean_face(shared):
    mean = np.load(shared / "data/ict_facekit/ict68.npz")["mean"]
    _assert_sides_and_mirror(topologies.IBUG68, mean[:, 0], mean[:, 1], tolerance=0.1)


def test_bfm72_against_the_authors_mean_frontal_face(shared):
    """The last bias of their autoencoder is the mean face it outputs: x and y, face 0.62 wide."""
    path = shared / "data/authors_release/AE_occ2orth_BFM.h5"
    with h5py.File(path) as file:
        mean = file["batch_normalization_6/batch_normalization_6/beta:0"][:].reshape(72, 2)
    x = mean[:, 0] - mean[topologies.BFM72.landmarks.index("menton"), 0]
    _assert_sides_and_mirror(topologies.BFM72, x, mean[:, 1], tolerance=0.02)
