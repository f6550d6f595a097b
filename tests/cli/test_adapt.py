"""bin/adapt: from landmark files to weights."""

import numpy as np
import pytest

from deepmds_jax import load_params, load_pretrained
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.methods.anchored import stages
from deepmds_jax.methods.saved import read_metadata


@pytest.fixture
def landmarks(tmp_path):
    """60 synthetic faces, one of them mirrored, whose brows the detector puts higher."""
    import jax

    dataset = open_dataset(specs.load_spec("synthetic"), "flame51", tmp_path)
    x2d = np.array(dataset.draw(jax.random.key(0), 60).x2d)
    x2d[:, :10, 1] -= 5
    x2d[3] *= [-1, 1]
    x2d[5, 30:36] = np.nan  # hidden
    np.savez(tmp_path / "faces.npz", landmarks=x2d)
    return x2d


def test_weights_are_adapted_and_say_to_what(tmp_path, monkeypatch, landmarks, call):
    monkeypatch.setattr(stages, "_REFINEMENT_FACES", 256)
    monkeypatch.setattr(stages, "_REFINEMENT", stages.Training(1, 1, 1e-5))
    monkeypatch.setattr(stages, "CALIBRATION_FACES", 64)
    done = call("adapt", "faces.npz", "--out=mine.safetensors")
    assert done.status == 0, done.stderr
    assert "59 of 60 faces used" in done.stdout
    assert "faces#3: left out" in done.stderr
    assert "shift, mm" in done.stdout
    assert (tmp_path / "mine.png").stat().st_size > 10_000
    adapted, shipped = load_params(tmp_path / "mine.safetensors"), load_pretrained("flame51")
    moved = np.asarray(adapted.reference - shipped.reference)
    assert moved[:10, 1].mean() < moved[10:, 1].mean() - 0.03
    described = read_metadata(tmp_path / "mine.safetensors")
    assert described["adapted"] == "to 59 unlabelled faces, seed 0"
    assert described["data_licence"].startswith("MIT")
    done = call("reconstruct", "faces.npz", "--weights=mine.safetensors", "--out=o.npz")
    assert done.status == 0, done.stderr


@pytest.mark.parametrize(("arguments", "message"), [
    (("faces.npz",), "error: out: expected --out=mine.safetensors, got none"),
    (("faces.npz", "--out=mine.npz"), "error: out: expected a .safetensors file, got mine.npz"),
    (("--out=mine.safetensors",), "error: expected landmark files or folders of them, got none"),
    (("faces.npz", "--out=m.safetensors", "--weights=ibug68"),
     "error: no faces to learn from: faces#0: 51 landmarks, topology ibug68 has 68"),
    (("faces.npz", "--out=m.safetensors", "--weights=flame51_published"),
     "error: params: Deep-MDS as published cannot be adapted"),
])
def test_bad_arguments_are_named(tmp_path, landmarks, call, arguments, message):
    done = call("adapt", *arguments)
    assert done.status == 1
    assert done.stderr.startswith(message)
    assert not list(tmp_path.glob("*.safetensors"))
