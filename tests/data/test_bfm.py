import numpy as np
import pytest
import scipy.io

from deepmds_jax.data import bfm


@pytest.fixture
def folder(tmp_path):
    """A Basel Face Model of 100 vertices and 2 components, written as MATLAB does."""
    rng = np.random.default_rng(0)
    scipy.io.savemat(tmp_path / "01_MorphableModel.mat", {
        "shapeMU": rng.normal(size=(300, 1)).astype(np.float32) * 1e5,
        "shapePC": rng.normal(size=(300, 2)).astype(np.float32),
        "shapeEV": np.array([[2000.0], [500.0]], np.float32),
    })
    landmarks = rng.permutation(100)[None, :72] + 1
    scipy.io.savemat(tmp_path / "landmarks_me_72.mat", {"landmarks": landmarks.astype(np.uint16)})
    return tmp_path


def test_reads_the_model_at_the_landmarks_in_millimetres(folder):
    content = scipy.io.loadmat(folder / "01_MorphableModel.mat")
    vertex = scipy.io.loadmat(folder / "landmarks_me_72.mat")["landmarks"][0, 5] - 1
    x, y, z = content["shapeMU"][3 * vertex : 3 * vertex + 3, 0]
    model = bfm.load("bfm72", folder)
    np.testing.assert_allclose(model.mean[5], [x / 1e3, -y / 1e3, -z / 1e3], rtol=1e-5)
    x, y, z = 500 * content["shapePC"][3 * vertex : 3 * vertex + 3, 1]
    np.testing.assert_allclose(model.identity[1, 5], [x / 1e3, -y / 1e3, -z / 1e3], rtol=1e-5)
    assert (model.identity.shape, model.expression.shape) == ((2, 72, 3), (0, 72, 3))


def test_missing_and_damaged_files_are_named(folder):
    (folder / "landmarks_me_72.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"landmarks_me_72\.mat"):
        bfm.load("bfm72", folder)
    model = folder / "01_MorphableModel.mat"
    model.write_bytes(model.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"01_MorphableModel\.mat: expected a MATLAB file"):
        bfm.load("bfm72", folder)


def test_landmark_outside_the_mesh_raises(folder):
    scipy.io.savemat(folder / "landmarks_me_72.mat", {"landmarks": np.arange(31, 103)[None]})
    with pytest.raises(ValueError, match="within the 100 vertices, got 72 up to 101"):
        bfm.load("bfm72", folder)


def test_other_topology_raises(folder):
    with pytest.raises(ValueError, match="'ibug68'"):
        bfm.load("ibug68", folder)
