"""bin/adapt: from landmark files to weights."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepmds_jax import load_params, load_pretrained, topologies
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.mds import Status
from deepmds_jax.methods.saved import read_metadata


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory):
    """25 synthetic faces, one of them mirrored, whose brows the detector puts higher."""
    import jax

    dataset = open_dataset(
        specs.load_spec("synthetic"), "flame51", tmp_path_factory.mktemp("none"))
    x2d = np.array(dataset.draw(jax.random.key(0), 25).x2d)
    x2d[:, :10, 1] -= 5
    x2d[3] *= [-1, 1]
    x2d[5, 30:36] = np.nan  # hidden
    return x2d


@pytest.fixture
def faces_file(tmp_path, landmarks):
    np.savez(tmp_path / "faces.npz", landmarks=landmarks)


@pytest.mark.usefixtures("without_refinement", "faces_file")
def test_weights_are_adapted_and_say_to_what(tmp_path, call):
    done = call("adapt", "faces.npz", "--out=mine.safetensors")
    assert done.status == 0, done.stderr
    assert "24 of 25 faces used" in done.stdout
    assert "faces#3: left out" in done.stderr
    assert "shift, mm" in done.stdout
    assert (tmp_path / "mine.png").stat().st_size > 10_000
    adapted, shipped = load_params(tmp_path / "mine.safetensors"), load_pretrained("flame51")
    moved = np.asarray(adapted.reference - shipped.reference)
    assert moved[:10, 1].mean() < moved[10:, 1].mean() - 0.03
    described = read_metadata(tmp_path / "mine.safetensors")
    assert described["adapted"] == "to 24 unlabelled faces, seed 0"
    assert described["data_licence"].startswith("MIT")
    done = call("reconstruct", "faces.npz", "--weights=mine.safetensors", "--out=o.npz")
    assert done.status == 0, done.stderr
    assert "weights flame51 of mine.safetensors; wrote" in done.stdout


@pytest.mark.usefixtures("without_refinement")
def test_a_template_makes_weights_of_its_own(tmp_path, monkeypatch, call):
    """6 points: too few to hide any, so nothing is tried on others, and it is quick."""
    rng = np.random.default_rng(0)
    template = rng.normal(size=(6, 3))
    np.savetxt(tmp_path / "kite.csv", template, delimiter=",", header="x,y,z", comments="")
    (tmp_path / "kite.toml").write_text('name = "kite6"\nlandmarks = ["a","b","c","d","e","f"]\n')
    turns = Rotation.random(20, rng=rng).as_matrix()
    kites = template + 0.1 * rng.normal(size=(20, 6, 3))
    np.savez(tmp_path / "kites.npz", landmarks=np.einsum("fij,fnj->fni", turns, kites)[..., :2])
    monkeypatch.setattr(topologies, "TOPOLOGIES", dict(topologies.TOPOLOGIES))
    # Training itself is tested elsewhere, and takes long to compile.
    done = call("adapt", "kites.npz", "--template=kite.csv", "--topology=kite.toml",
                "--out=kite.safetensors")
    assert done.status == 0, done.stderr
    assert "of 20 faces used" in done.stdout
    assert "posed mean shape of the template" in done.stdout
    params = load_params(tmp_path / "kite.safetensors")
    assert params.config.any_side
    assert params.reference.shape == (6, 3)
    assert read_metadata(tmp_path / "kite.safetensors")["data"].startswith(
        "shapes learnt from the template kite.csv")
    done = call("reconstruct", "kites.npz", "--weights=kite.safetensors", "--out=o.npz")
    assert done.status == 0, done.stderr
    with np.load(tmp_path / "o.npz") as lifted:  # half of them from behind, which is no fault
        behind = lifted["rotation"][:, 2, 2] < 0
        assert 3 < behind.sum() < 17
        assert (lifted["status"][behind] != Status.INVALID).mean() > 0.7


@pytest.mark.parametrize(("arguments", "message"), [
    (("faces.npz", "--out=m.safetensors", "--template=a.csv"),
     "error: topology: expected --topology=hand.toml, got none"),
    (("faces.npz", "--out=m.safetensors", "--template=a.csv", "--topology=flame51"),
     "error: a.csv: expected a file of one shape"),
    (("faces.npz", "--out=m.safetensors", "--smoothness=1"),
     "error: template: expected --template=hand.csv"),
    (("faces.npz", "--out=m.safetensors", "--template=a.csv", "--weights=flame51"),
     "error: weights: expected none with --template"),
    (("faces.npz", "--out=m.safetensors", "--image_size=640"),
     "error: image_size: expected WIDTH,HEIGHT in pixels, got 640"),
    (("faces.npz",), "error: out: expected --out=mine.safetensors, got none"),
    (("faces.npz", "--out=mine.npz"), "error: out: expected a .safetensors file, got mine.npz"),
    (("--out=mine.safetensors",), "error: expected landmark files or folders of them, got none"),
    (("faces.npz", "--out=m.safetensors", "--weights=ibug68"),
     "error: no faces to learn from: faces#0: 51 landmarks, topology ibug68 has 68"),
    (("faces.npz", "--out=m.safetensors", "--weights=flame51_published"),
     "error: params: Deep-MDS as published cannot be adapted"),
])
@pytest.mark.usefixtures("faces_file")
def test_bad_arguments_are_named(tmp_path, call, arguments, message):
    done = call("adapt", *arguments)
    assert done.status == 1
    assert done.stderr.startswith(message)
    assert not list(tmp_path.glob("*.safetensors"))


def test_parts_of_pictures_become_pixels(tmp_path, monkeypatch, call):
    given = np.random.default_rng(0).uniform(0.2, 0.8, (12, 51, 2))
    np.save(tmp_path / "parts.npy", given)
    taken = []

    def learn(params, x2d, visible, **_):
        taken.append(x2d)
        raise ValueError("enough")

    monkeypatch.setattr("deepmds_jax.adaptation.learn_shapes", learn)
    call("adapt", "parts.npy", "--out=mine.safetensors", "--image_size=640,480")
    np.testing.assert_allclose(taken[0], given * [640, 480], rtol=1e-6)
