"""Weights in the layout of the Hugging Face Hub, written and loaded."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import deepmds_jax as dm
from deepmds_jax import exports
from deepmds_jax.exports import functions
from deepmds_jax.weights.hub import FILE_NAME

pytestmark = pytest.mark.every_platform

pytest.importorskip("onnxruntime", reason="needs deepmds-jax[export]")
hub = pytest.importorskip("huggingface_hub", reason="needs deepmds-jax[hub]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functions, "_NUM_SAMPLES", 60)  # as test_exports, whose programs these are
        path = tmp_path_factory.mktemp("to_share")
        dm.export(dm.load_pretrained("flame51"), path, ["hf"],
                  description={"data": "made-up faces", "data_licence": "MIT, (c) somebody"})
        return path


def test_the_folder_has_all_that_the_hub_shows(folder):
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "example.py", "flame51.onnx", "flame51.stablehlo", FILE_NAME}
    card = hub.ModelCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "deepmds-jax"
    assert "onnx" in card.data.tags
    assert "made-up faces (MIT, (c) somebody)" in card.content
    assert "| flame51.onnx |" in card.content


def test_the_example_runs(folder):
    done = subprocess.run([sys.executable, "example.py"], cwd=folder, capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": str(
                              pathlib.Path(dm.__file__).parents[1])})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(51, 3) True\n"


def test_weights_come_from_the_hub_by_its_cache(folder, tmp_path, monkeypatch):
    """The cache as the hub's own client lays it out; there is no network."""
    commit = "0" * 40
    repository = tmp_path / "models--owner--faces"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / FILE_NAME).write_bytes((folder / FILE_NAME).read_bytes())
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.file_download.constants, "HF_HUB_CACHE", str(tmp_path))
    loaded, shipped = dm.load_pretrained("hf://owner/faces"), dm.load_pretrained("flame51")
    jax.tree.map(np.testing.assert_array_equal, loaded, shipped)
    assert dm.load_weights(f"hf://owner/faces@{commit}")[1]["data"] == "made-up faces"
    with pytest.raises(ValueError, match=r"^hf://owner/none: no model.safetensors from the hub: "):
        dm.load_pretrained("hf://owner/none")


def test_bad_addresses_and_what_has_no_weights(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="hf://faces: expected hf://owner/name or"):
        dm.load_pretrained("hf://faces")
    with pytest.raises(ValueError, match="format: hf shares weights, and smacof has none"):
        dm.export(exports.Smacof("ratio", 6), tmp_path, ["hf"])
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'deepmds-jax\[hub\]'"):
        dm.load_pretrained("hf://owner/faces")
