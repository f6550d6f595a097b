import dataclasses

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


TRIANGLE = topologies.Topology("triangle", ("chin", "eye_right", "eye_left"), (0, 2, 1),
                               ((0, 1), (0, 2), (1, 2)))


@pytest.fixture
def built_in(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(topologies, "TOPOLOGIES", dict(topologies.TOPOLOGIES))


def test_a_registered_topology_is_found_by_name(built_in):
    topologies.register(TRIANGLE)
    assert topologies.get("triangle") is TRIANGLE
    assert list(topologies.TOPOLOGIES) == ["ibug68", "flame51", "bfm72", "triangle"]
    with pytest.raises(ValueError, match="expected one of ibug68, flame51, bfm72, triangle"):
        topologies.get("ibug86")
    with pytest.raises(ValueError, match="topology: 'triangle' is taken"):
        topologies.register(TRIANGLE)


@pytest.mark.parametrize(("changes", "message"), [
    ({"name": "ibug68"}, "topology: 'ibug68' is taken, expected a name other than ibug68, flame51"),
    ({"landmarks": ("chin", "eye", "eye")}, "landmarks: .*'triangle', got eye more than once"),
    ({"mirror": (0, 2)}, "mirror: expected a partner for each of the 3 landmarks .* got 2"),
    ({"mirror": (1, 2, 0)}, "mirror: .* have each other in 'triangle', got 1 for landmark 0"),
    ({"mirror": (0, 2, 2)}, "mirror: .* got 2 for landmark 1"),
    ({"mirror": (0, 3, 1)}, "mirror: expected partners from 0 to 2 .* got 3 for landmark 1"),
    ({"mirror": (0, -1, 1)}, "mirror: .* got -1 for landmark 1"),
    ({"edges": ((0, 1), (1, 3))}, r"edges: .* from 0 to 2 in 'triangle', got \(1, 3\)"),
    ({"edges": ((-1, 1),)}, r"edges: .* got \(-1, 1\)"),
    ({"edges": ((1, 1),)}, r"edges: .* got \(1, 1\)"),
    ({"edges": ((0, 1, 2),)}, r"edges: .* got \(0, 1, 2\)"),
])
def test_a_topology_that_cannot_be_is_refused(built_in, changes, message):
    with pytest.raises(ValueError, match=message):
        topologies.register(dataclasses.replace(TRIANGLE, **changes))
    assert list(topologies.TOPOLOGIES) == ["ibug68", "flame51", "bfm72"]


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


HAND = """
name = "hand"
landmarks = ["wrist", "thumb", "index", "middle"]
edges = [["wrist", "thumb"], ["wrist", 2], [0, "middle"]]
"""
HAND_TOPOLOGY = topologies.Topology(
    "hand", ("wrist", "thumb", "index", "middle"), None, ((0, 1), (0, 2), (0, 3)))


def test_a_file_is_found_by_its_path_and_then_by_its_name(built_in, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(HAND)
    assert topologies.get(path) == topologies.get(str(path)) == HAND_TOPOLOGY
    assert topologies.get("hand") == HAND_TOPOLOGY
    path.write_text(HAND + 'mirror = [["thumb", "index"]]\n')
    with pytest.raises(ValueError, match=r"my\.toml: .*'hand' is known, with other mirror"):
        topologies.get(path)
    assert topologies.get("hand") == HAND_TOPOLOGY


@pytest.mark.parametrize(("mirror", "partners"), [
    ('[["thumb", "middle"]]', (0, 3, 2, 1)), ("[[1, 3], [0, 2]]", (2, 3, 0, 1)),
    ("[]", (0, 1, 2, 3)),  # all on the midline, which is not the same as no symmetry
])
def test_a_file_lists_the_pairs_that_change_places(built_in, tmp_path, mirror, partners):
    (tmp_path / "my.toml").write_text(f"{HAND}mirror = {mirror}\n")
    assert topologies.get(tmp_path / "my.toml").mirror == partners


@pytest.mark.parametrize(("old", "new", "message"), [
    ('name = "hand"', "", "expected name, landmarks and, .* got landmarks, edges"),
    ('name = "hand"', "name = 3", "expected a text as name"),
    ("landmarks = [", "landmark = [", "got name, landmark, edges"),
    ('"index",', '"thumb",', "got thumb more than once"),
    ('["wrist", 2]', '["wrist", 4]', "edges: .* indices from 0 to 3, got 4"),
    ('["wrist", 2]', '["wrist", "ring"]', "edges: .* got 'ring'"),
    ('["wrist", 2]', "2", "edges: expected pairs of landmarks, got 2"),
    ('["wrist", 2]', "[2, 2]", r"edges: .* got \(2, 2\)"),
    ("edges", "mirror = [[0, 1], [1, 2]]\nedges", r"mirror: .* got \[thumb, index\] besides"),
    ("edges", "mirror = [[0, 0]]\nedges", r"mirror: .* got \[wrist, wrist\]"),
    ("[[", "[", "TOML|Unclosed|Expected|Invalid"),
    ('name = "hand"', 'name = "ibug68"', "another one called 'ibug68' is known"),
])
def test_wrong_files_are_named_and_change_nothing(built_in, tmp_path, old, new, message):
    (tmp_path / "my.toml").write_text(HAND.replace(old, new))
    with pytest.raises(ValueError, match=rf"my\.toml: .*({message})"):
        topologies.get(tmp_path / "my.toml")
    assert list(topologies.TOPOLOGIES) == ["ibug68", "flame51", "bfm72"]
    with pytest.raises(ValueError, match=r"topology: no file .*none\.toml"):
        topologies.get(tmp_path / "none.toml")


@pytest.mark.parametrize("topology", [TRIANGLE, HAND_TOPOLOGY], ids=lambda t: t.name)
def test_a_topology_travels_as_text(built_in, topology):
    topologies.register(topology)
    text = topologies.to_json(topology.name)
    assert topologies.from_json(text) is topology  # known already
    del topologies.TOPOLOGIES[topology.name]
    assert topologies.from_json(text) == topology
    assert topologies.get(topology.name) == topology
    changed = text.replace("[0, 1]", "[1, 2]").replace("[0, 2]", "[1, 2]", 1)
    with pytest.raises(ValueError, match=f"'{topology.name}' is known, with other edges"):
        topologies.from_json(changed)
    for damaged in (text[:-9], "[]", '{"name": "hand"}'):
        with pytest.raises(ValueError, match="topology: expected the JSON of one"):
            topologies.from_json(damaged)
    assert topologies.to_json("ibug68") is None  # known everywhere
