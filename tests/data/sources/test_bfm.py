import dataclasses
import shutil

import jax
import numpy as np
import pytest
import scipy.io

from deepmds_jax import topologies
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.sources import bfm, bfm_landmarks, synthetic
from deepmds_jax.methods import deep_mds, zhao

NUM_VERTICES = 53490


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A Basel Face Model 2009 with 2 components, written as MATLAB does."""
    folder = tmp_path_factory.mktemp("bfm")
    rng = np.random.default_rng(0)
    size = 3 * NUM_VERTICES
    mean = rng.normal(size=(size, 1)).astype(np.float32) * 1e5
    vertices = rng.permutation(NUM_VERTICES)
    marks = np.asarray(synthetic.load("bfm72").mean)
    mean.reshape(-1, 3)[vertices[:72]] = marks * [1e3, -1e3, -1e3]
    scipy.io.savemat(folder / "01_MorphableModel.mat", {
        "shapeMU": mean,
        "shapePC": rng.normal(size=(size, 2)).astype(np.float32),
        "shapeEV": np.array([[2000.0], [500.0]], np.float32),
        "texMU": rng.uniform(0, 255, (size, 1)).astype(np.float32),
        "texPC": rng.normal(size=(size, 3)).astype(np.float32),
        "texEV": np.array([[30.0], [20.0], [10.0]], np.float32),
        "tl": rng.integers(1, NUM_VERTICES + 1, (1000, 3)).astype(np.float64),
        "segbin": np.zeros((NUM_VERTICES, 4), np.uint8),
    })
    for name, variable, shape in [("landmarks_me_72", "landmarks", (1, 72)),
                                  ("landmarks_68", "landmarks_68", (68, 1))]:
        chosen = vertices[: max(shape)].reshape(shape) + 1
        scipy.io.savemat(folder / f"{name}.mat", {variable: chosen.astype(np.uint16)})
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bfm")


def change(folder, **entries):
    path = folder / "01_MorphableModel.mat"
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    content = {k: v for k, v in (content | entries).items() if v is not None}
    scipy.io.savemat(path, content)


@pytest.mark.parametrize(("topology", "file", "variable", "first"), [
    ("bfm72", "landmarks_me_72.mat", "landmarks", 0),
    ("ibug68", "landmarks_68.mat", "landmarks_68", 0),
    ("flame51", "landmarks_68.mat", "landmarks_68", 17),
])  # fmt: skip
def test_reads_the_model_at_the_landmarks_in_millimetres(original, topology, file, variable, first):
    content = scipy.io.loadmat(original / "01_MorphableModel.mat")
    vertex = int(scipy.io.loadmat(original / file)[variable].ravel()[first + 5]) - 1
    x, y, z = content["shapeMU"][3 * vertex : 3 * vertex + 3, 0]
    model = bfm.load(topology, original)
    np.testing.assert_allclose(np.asarray(model.mean)[5], [x / 1e3, -y / 1e3, -z / 1e3], rtol=1e-5)
    x, y, z = 500 * content["shapePC"][3 * vertex : 3 * vertex + 3, 1]
    mode = np.asarray(model.identity)[1, 5]
    np.testing.assert_allclose(mode, [x / 1e3, -y / 1e3, -z / 1e3], rtol=1e-5)
    num = topologies.get(topology).num_landmarks
    assert (model.identity.shape, model.expression.shape) == ((2, num, 3), (0, num, 3))
    assert (model.topology, model.unit) == (topology, "mm")


def test_the_dense_model_has_the_same_faces_and_their_colours(original):
    dense, model = bfm.load_dense("ibug68", original), bfm.load("ibug68", original)
    assert dense.shape.mean.shape == dense.colour.shape == (NUM_VERTICES, 3)
    for found, expected in zip(jax.tree.leaves(dense.shape), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(np.asarray(found)[..., dense.landmarks, :], expected)
    content = scipy.io.loadmat(original / "01_MorphableModel.mat")
    colour, colour_modes = np.asarray(dense.colour), np.asarray(dense.colour_modes)
    np.testing.assert_array_equal(np.asarray(dense.triangles) + 1, content["tl"])
    assert 0 <= colour.min() < 0.1 < 0.9 < colour.max() <= 1
    np.testing.assert_allclose(255 * colour[7], content["texMU"][21:24, 0], rtol=1e-5)
    assert colour_modes.shape == (3, NUM_VERTICES, 3)
    expected = content["texPC"][21:24, 2] * 10
    np.testing.assert_allclose(255 * colour_modes[2, 7], expected, rtol=1e-5)


def test_the_spec_draws_from_it(original):
    spec = specs.load_spec("bfm")
    assert spec.topologies == ("bfm72", "ibug68", "flame51")
    frontal = dataclasses.replace(spec, views=spec.views[2:])  # the others take longer to compile
    faces = open_dataset(frontal, "flame51", original).draw(jax.random.key(0), 3)
    assert faces.x2d.shape == (3, 51, 2)
    assert np.isfinite(np.asarray(faces.x2d)).all()


def test_missing_and_damaged_files_are_named(folder):
    assert bfm.check(folder) == []
    (folder / "landmarks_me_72.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"landmarks_me_72\.mat"):
        bfm.load("bfm72", folder)
    model = folder / "01_MorphableModel.mat"
    model.write_bytes(model.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"01_MorphableModel\.mat: expected a MATLAB file"):
        bfm.load("ibug68", folder)
    (folder / "landmarks_68.mat").write_bytes(b"")
    model_line, missing, damaged = bfm.check(folder)
    assert "01_MorphableModel.mat: expected a MATLAB file" in model_line
    assert missing == f"no {folder / 'landmarks_me_72.mat'}"
    assert "landmarks_68.mat: expected a MATLAB file" in damaged
    (folder / "landmarks_68.mat").unlink()
    assert bfm.check(folder) == [model_line, missing]


@pytest.mark.parametrize("vertices", [
    np.arange(NUM_VERTICES - 70, NUM_VERTICES + 2), np.arange(72), np.arange(1, 69),
])  # fmt: skip
def test_landmarks_outside_the_mesh_or_too_few_raise(folder, vertices):
    scipy.io.savemat(folder / "landmarks_me_72.mat", {"landmarks": vertices[None]})
    message = (f"expected 72 vertices from 1 to 53490, got {vertices.size} from {vertices[0]} "
               f"to {vertices[-1]}")
    with pytest.raises(ValueError, match=message):
        bfm.load("bfm72", folder)
    assert [message in line for line in bfm.check(folder)] == [True]


@pytest.mark.parametrize(("entries", "message"), [
    ({"shapeMU": np.zeros((159447, 1))}, r"expected 3 \* 53490 numbers .* got 159447"),
    ({"shapeEV": np.ones((5, 1))}, r"\(160470, 2\) and \(5, 1\)"),
    ({"texPC": np.ones((9, 3))}, r"texMU.*\(9, 3\)"),
    ({"texEV": np.full((3, 1), np.nan)}, "texEV has numbers that are not finite"),
    ({"tl": np.full((4, 3), 0.0)}, "triangles with vertices -1"),
    ({"tl": np.full((4, 3), 53491.0)}, "53490, counted from 0, in a mesh of 53490"),
    ({"tl": np.ones((4, 4))}, r"expected triangles \(T, 3\), got \(4, 4\)"),
    ({"tl": None}, "expected a MATLAB file with .*'tl'"),
    ({"texMU": "red"}, "holds no numbers"),
])  # fmt: skip
def test_wrong_models_say_what_is_wrong(folder, entries, message):
    change(folder, **entries)
    with pytest.raises(ValueError, match=rf"01_MorphableModel\.mat: .*{message}"):
        bfm.load_dense("bfm72", folder)
    assert len(bfm.check(folder)) == 1


def test_other_topology_raises(original):
    with pytest.raises(ValueError, match="'mediapipe468'"):
        bfm.load("mediapipe468", original)


def test_the_releases_68_vertices_are_in_ibugs_order(shared):
    """Seen from the 72, whose meaning is known: shared vertices have one name, others are near.

    Numbers of the mesh near each other are near on the face, within a feature.
    """
    folder = shared / "data" / "authors_release"
    known, ours = bfm._read_landmarks("bfm72", folder), bfm._read_landmarks("ibug68", folder)
    names, names68 = topologies.BFM72.landmarks, topologies.IBUG68.landmarks
    both = [(names[i], names68[j]) for i, a in enumerate(known) for j, b in enumerate(ours)
            if a == b]
    assert sorted(both) == [(name, name) for name in
                            ("labiale_inferius", "pronasale", "stomion_superius")]
    vertex = dict(zip(names, known, strict=True))
    vertex68 = dict(zip(names68, ours, strict=True))
    for name in ("menton", "subnasale", "labiale_superius"):
        assert abs(vertex[name] - vertex68[name]) == 1
    # From the subject's right to the left, the numbers of a feature's row increase.
    brows = [f"brow_{part}_{side}" for side, parts in (
        ("right", ("outer", "middle", "inner")), ("left", ("inner", "middle", "outer"))
    ) for part in parts]
    for row in (vertex, vertex68):
        assert np.all(np.diff([row[name] for name in brows]) > 0)
    for side, sign in (("right", 1), ("left", -1)):
        corners = [f"{corner}_{side}" for corner in ("exocanthion", "endocanthion")]
        for row in (vertex, vertex68):
            assert sign * (row[corners[1]] - row[corners[0]]) > 0
    # The mesh runs down its columns: the next vertex is the next below.
    assert vertex68["lower_lid_medial_left"] - vertex["palpebrale_inferius_left"] == 1
    assert np.all(np.diff(ours[6:11]) > 0)  # the lower jaw, past the menton


def test_names_fit_the_mean_and_what_contradicts_them_is_told(folder):
    path = folder / "landmarks_me_72.mat"
    vertices = scipy.io.loadmat(path)["landmarks"]
    order = topologies.get("bfm72").landmarks
    a, b = map(order.index, ("crista_philtri_left", "upper_lip_medial_left"))
    vertices[:, [a, b]] = vertices[:, [b, a]]
    scipy.io.savemat(path, {"landmarks": vertices})
    (line,) = bfm.check(folder)
    assert "landmarks_me_72.mat: other landmarks than those of bfm72, or in another order" in line
    assert "upper_lip_medial" in line


def test_doubts_are_of_partners_sides_and_orders():
    mean = np.asarray(synthetic.load("bfm72").mean)
    assert bfm_landmarks.doubts(mean) == []
    found = bfm_landmarks.doubts(mean * [-1, 1, 1])
    assert len(found) == 58
    assert set(found) == {f"{name} is on the other side of the face"
                          for name in topologies.get("bfm72").landmarks
                          if name.endswith(("_left", "_right"))}
    near = mean.copy()  # those are 3 % apart, and which of them is lower depends on the nose
    rows = [topologies.get("bfm72").landmarks.index(name) for name in ("supratip", "pronasale")]
    near[rows, 1] = near[rows, 1].mean() + np.ptp(mean[:, 0]) * np.array([0.005, -0.005])
    assert bfm_landmarks.doubts(near) == []
    moved = mean.copy()
    moved[topologies.get("bfm72").landmarks.index("menton")] = mean.min(0)
    found = bfm_landmarks.doubts(moved)
    assert found[0].startswith("menton and its partner are no mirror images of each other: ")
    assert found[-1] == "menton is not further down than pogonion"


def test_the_mean_that_the_authors_networks_draw_bears_the_names_out(shared):
    """x and y of what their autoencoder makes of faces, z of what Zhao's network makes of that."""
    released = shared / "data" / "authors_release"
    params = deep_mds.load_released(released, "bfm72")
    faces = open_dataset(specs.load_spec("synthetic"), "bfm72", released).draw(
        jax.random.key(0), 100, test=True)
    frontal = np.asarray(deep_mds.frontalize(params, faces.x2d)).mean(0, keepdims=True)
    seen = faces._replace(x2d=frontal)
    depths = zhao.as_method(zhao.load_released(released, "bfm72"), None).predict(seen)
    mean = np.asarray(depths)[0]
    assert bfm_landmarks.doubts(mean) == []
    found = {e.name: e for e in bfm_landmarks.evidence(mean)}
    assert max(e.off for e in found.values()) < 0.05
    sure = [e.nearest for e in found.values() if e.sure == "sure"]
    assert min(sure) > 0.02
