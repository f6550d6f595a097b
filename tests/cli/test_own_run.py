"""The programs on a run of one's own: trained, scored, and used."""

import json
import pathlib

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.usefixtures("quick_compilation")
def test_train_then_eval_then_reconstruct(tmp_path, succeed):
    succeed("train", "--dataset=synthetic", "--topology=ibug68", "--num_train=160",
            "--autoencoder_epochs=2", "--dissimilarity_epochs=1", "--workdir=run")
    text = succeed("eval", "--metric=all", "--weights=run", "--num_faces=30")
    rows = {row.split("  ")[0]: row for row in text.splitlines()}
    assert {"Deep-MDS", "mean shape", "posed mean"} <= rows.keys()
    content = json.loads((tmp_path / "results/synthetic_ibug68_all.json").read_text())
    assert [row["method"] for row in content["rows"]] == ["Deep-MDS", "mean shape", "posed mean"]
    assert content["num_faces"] == 30
    assert 0 < content["rows"][1]["MSE"] < 1e-2
    assert 60 < content["rows"][1]["DepthCorr (trace)"] <= 68
    assert (tmp_path / "results/synthetic_ibug68_all.csv").exists()
    succeed("reconstruct", EXAMPLES, "--weights=run/weights.safetensors", "--out=f.obj")
    assert (tmp_path / "f.obj").stat().st_size > 2 * 68 * 6
