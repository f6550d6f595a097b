import dataclasses
import json
import shutil

import h5py
import jax
import numpy as np
import pytest

from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.sources import bfm2017

NAME = "model2017-1_bfm_nomouth.h5"
# As in the real files, some of some 65 names.
NAMED = {
    "center.nose.tip": 30, "right.eye.corner_outer": 36, "right.eye.corner_inner": 39,
    "left.eye.corner_inner": 42, "left.eye.corner_outer": 45, "right.lips.corner": 48,
    "left.lips.corner": 54, "center.lips.upper.outer": 51, "center.lips.lower.outer": 57,
}  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A model of 200 vertices with 3 shape, 2 expression and 4 colour components (statismo)."""
    tmp_path = tmp_path_factory.mktemp("bfm2017")
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(200, 3)).astype(np.float32) * 60
    landmarks = rng.permutation(200)[:68]
    named = [{"id": name, "coordinates": (mean[landmarks[i]] + 2.0).tolist()}
             for name, i in NAMED.items()]
    named.append({"id": "left.ear.tragus.tip", "coordinates": [72.5, 4.9, 14.0]})
    with h5py.File(tmp_path / NAME, "w") as file:
        for part, average, size in [
            ("shape", mean, 3), ("expression", rng.normal(size=(200, 3)), 2),
            ("color", rng.uniform(size=(200, 3)), 4),
        ]:
            group = file.create_group(f"{part}/model")
            group["mean"] = average.ravel().astype(np.float32)
            group["pcaBasis"] = rng.normal(size=(600, size)).astype(np.float32)
            group["pcaVariance"] = (np.arange(size) + 2.0).astype(np.float32) ** 2
            group["noiseVariance"] = np.zeros(1)
        file["shape/representer/points"] = mean.T
        file["shape/representer/cells"] = rng.integers(0, 200, (3, 390)).astype(np.int32)
        file["metadata/landmarks/json"] = json.dumps(named)
        file["version/majorVersion"] = 0
    lines = " ".join(map(str, landmarks[:17])) + "  # jaw\n" + "\n".join(map(str, landmarks[17:]))
    (tmp_path / "landmarks_68.txt").write_text(f"# iBUG\n{lines}\n")
    return tmp_path


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bfm2017")


def landmarks_of(folder):
    lines = (folder / "landmarks_68.txt").read_text().splitlines()
    return np.array([int(v) for line in lines for v in line.split("#")[0].split()])


def test_reads_shape_and_expression_as_one_normal_distribution(folder):
    vertices = landmarks_of(folder)
    frame = np.array([1, -1, -1])
    model = bfm2017.load("ibug68", folder)
    with h5py.File(folder / NAME) as file:
        means = [file[f"{part}/model/mean"][:].reshape(200, 3) for part in ("shape", "expression")]
        np.testing.assert_allclose(model.mean, sum(means)[vertices] * frame, rtol=1e-5, atol=1e-5)
        for part, first, number in [("shape", 0, 3), ("expression", 3, 2)]:
            basis = file[f"{part}/model/pcaBasis"][:]
            for k in range(number):  # standard deviations 2, 3, ...
                expected = (k + 2) * basis[:, k].reshape(200, 3)[vertices] * frame
                found = np.asarray(model.identity)[first + k]
                np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (model.identity.shape, model.expression.shape) == ((5, 68, 3), (0, 68, 3))
    assert (model.topology, model.unit) == ("ibug68", "mm")
    inner = bfm2017.load("flame51", folder)
    np.testing.assert_array_equal(inner.identity, np.asarray(model.identity)[:, 17:])


def test_the_dense_model_has_the_same_faces_and_their_colours(folder):
    dense, model = bfm2017.load_dense("flame51", folder), bfm2017.load("flame51", folder)
    for found, expected in zip(jax.tree.leaves(dense.shape), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(np.asarray(found)[..., dense.landmarks, :], expected)
    with h5py.File(folder / NAME) as file:
        np.testing.assert_array_equal(dense.triangles.T, file["shape/representer/cells"])
        colour = file["color/model/mean"][:].reshape(200, 3)
        np.testing.assert_allclose(dense.colour, colour, rtol=1e-6)
        mode = 5 * file["color/model/pcaBasis"][:, 3].reshape(200, 3)
        np.testing.assert_allclose(np.asarray(dense.colour_modes)[3], mode, rtol=1e-5)


@pytest.mark.parametrize("name", ["model2019_bfm.h5", "model2019_fullHead.h5"])
def test_reads_the_files_of_2019_and_draws_from_them(folder, name):
    (folder / NAME).rename(folder / name)
    spec = specs.load_spec("bfm2017")
    assert spec.topologies == ("ibug68", "flame51")
    frontal = dataclasses.replace(spec, views=spec.views[2:])  # the others take longer to compile
    faces = open_dataset(frontal, "flame51", folder).draw(jax.random.key(0), 3)
    assert faces.x2d.shape == (3, 51, 2)
    assert np.isfinite(np.asarray(faces.x2d)).all()
    assert bfm2017.check(folder) == []


@pytest.mark.parametrize("kind", [np.bytes_, "int8", "bytes in a row"])
def test_reads_the_named_points_however_text_is_stored(folder, kind):
    with h5py.File(folder / NAME, "a") as file:
        text = file["metadata/landmarks/json"][()]
        del file["metadata/landmarks/json"]
        file["metadata/landmarks/json"] = (
            np.frombuffer(text, np.int8) if kind == "int8"
            else [text] if kind == "bytes in a row" else np.bytes_(text)
        )
    _swap_eyes(folder)
    with pytest.raises(ValueError, match=r"landmarks_68\.txt: .* another mesh, or another order"):
        bfm2017.load("ibug68", folder)


def _swap_eyes(folder):
    vertices = landmarks_of(folder)
    vertices[[36, 39]] = vertices[[39, 36]]
    (folder / "landmarks_68.txt").write_text(" ".join(map(str, vertices)))


@pytest.mark.parametrize(("text", "message"), [
    ("", "expected 68 vertices, got 0"),
    (" ".join(map(str, range(51))), "expected 68 vertices, got 51"),
    ("1.5 " * 68, "expected whole numbers"),
    (" ".join(map(str, range(133, 201))), "133 to 200, counted from 0, but .* has 200"),
    (" ".join(map(str, range(-1, 67))), "vertices -1 to 66"),
    (" ".join(map(str, range(68))), "another mesh"),
])  # fmt: skip
def test_wrong_landmarks_say_what_is_wrong(folder, text, message):
    (folder / "landmarks_68.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"landmarks_68\.txt: .*{message}"):
        bfm2017.load("ibug68", folder)
    assert len(bfm2017.check(folder)) == 1


@pytest.mark.parametrize(("name", "value", "message"), [
    ("shape/representer/cells", np.full((3, 4), 200), "200, counted from 0, in a mesh of 200"),
    ("shape/representer/cells", np.zeros((4, 9), int), r"\(T, 3\), got \(9, 4\)"),
    ("expression/model/pcaBasis", np.zeros((300, 2)), r"\(300, 2\)"),
    ("color/model/pcaVariance", np.full(4, -1.0), "a variance is negative"),
    ("shape/model/mean", np.full(600, np.inf), "not finite"),
    ("metadata/landmarks/json", "{", "Expecting property name"),
    ("metadata/landmarks/json", "[3]", "not subscriptable"),
    ("expression/model/mean", None, "doesn't exist"),
])  # fmt: skip
def test_wrong_models_say_what_is_wrong(folder, name, value, message):
    with h5py.File(folder / NAME, "a") as file:
        del file[name]
        if value is not None:
            file[name] = value
    with pytest.raises(ValueError, match=rf"{NAME}: expected a Basel Face Model .*{message}"):
        bfm2017.load_dense("ibug68", folder)
    assert len(bfm2017.check(folder)) == 1


def test_missing_and_damaged_files_are_named(folder):
    path = folder / NAME
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=rf"{NAME}: expected a Basel Face Model 2017 or 2019"):
        bfm2017.load("ibug68", folder)
    path.unlink()
    (folder / "landmarks_68.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"model201\[79\]"):
        bfm2017.load("ibug68", folder)
    assert len(bfm2017.check(folder)) == 2


def test_two_models_raise(folder):
    (folder / "model2019_bfm.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"one model.*model2017-1.*model2019_bfm\.h5"):
        bfm2017.load("ibug68", folder)
    with pytest.raises(ValueError, match="'bfm72'"):
        bfm2017.load("bfm72", folder)


@pytest.mark.parametrize("damage", ["a third of a vertex", "a named point in two dimensions"])
def test_a_file_whose_numbers_are_no_points_is_named(folder, damage):
    with h5py.File(folder / NAME, "r+") as file:
        if damage == "a third of a vertex":
            for part in ("shape", "expression", "color"):
                for name, size in (("mean", (601,)), ("pcaBasis", (601, 2)), ("pcaVariance", 2)):
                    del file[f"{part}/model/{name}"]
                    file[f"{part}/model/{name}"] = np.ones(size, np.float32)
        else:
            del file["metadata/landmarks/json"]
            point = {"id": "center.nose.tip", "coordinates": [1, 2]}
            file["metadata/landmarks/json"] = json.dumps([point])
    with pytest.raises(ValueError, match=NAME):
        bfm2017.load("ibug68", folder)


def test_a_folder_in_place_of_the_landmarks_is_a_problem(folder):
    (folder / "landmarks_68.txt").unlink()
    (folder / "landmarks_68.txt").mkdir()
    (problem,) = bfm2017.check(folder)
    assert "landmarks_68.txt" in problem
