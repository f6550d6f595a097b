"""The programs on a run of one's own: trained, scored, and used."""

import json
import pathlib

import numpy as np

from deepmds_jax import topologies

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def test_train_then_eval_then_reconstruct(tmp_path, succeed):
    succeed("train", "--dataset=synthetic", "--topology=ibug68", "--num_train=16",
            "--autoencoder_epochs=2", "--dissimilarity_epochs=1", "--workdir=run")
    text = succeed("eval", "--metric=all", "--weights=run", "--num_faces=16")
    rows = {row.split("  ")[0]: row for row in text.splitlines()}
    assert {"Deep-MDS", "mean shape", "posed mean"} <= rows.keys()
    content = json.loads((tmp_path / "results/synthetic_ibug68_all.json").read_text())
    assert [row["method"] for row in content["rows"]] == ["Deep-MDS", "mean shape", "posed mean"]
    assert content["num_faces"] == 16
    assert 0 < content["rows"][1]["MSE"] < 1e-2
    assert 60 < content["rows"][1]["DepthCorr (trace)"] <= 68
    assert (tmp_path / "results/synthetic_ibug68_all.csv").exists()
    succeed("reconstruct", EXAMPLES, "--weights=run/weights.safetensors", "--out=f.obj")
    assert (tmp_path / "f.obj").stat().st_size > 2 * 68 * 6


def test_things_of_ones_own_go_through_all_programs(tmp_path, monkeypatch, succeed):
    """The topology's file is only needed until the weights know it."""
    monkeypatch.setattr(topologies, "TOPOLOGIES", dict(topologies.TOPOLOGIES))
    (tmp_path / "kite.toml").write_text(
        'name = "kite"\nlandmarks = ["top", "right", "left", "tail", "nose"]\n'
        'edges = [["top", "right"], ["top", "left"]]\n')
    kite = np.array([[0, -2, 0], [-1, -1, 0.5], [1, -1, 0.5], [0, 3, 0], [0, -1, -1]])
    kites = kite * np.random.default_rng(0).uniform(0.5, 1.5, (40, 1, 3))
    (tmp_path / "kites").mkdir()
    np.savez(tmp_path / "kites" / "kites.npz", points=kites)
    data = ("--dataset=shapes", "--data_dir=kites")
    succeed("check", *data, "--topology=kite.toml")
    succeed("train", *data, "--topology=kite.toml", "--variant=published", "--num_train=16",
            "--autoencoder_epochs=1", "--dissimilarity_epochs=1", "--workdir=run")
    (tmp_path / "kite.toml").unlink()
    del topologies.TOPOLOGIES["kite"]
    text = succeed("eval", *data, "--weights=run", "--methods=deep_mds,posed_mean",
                   "--num_faces=16", "--metric=nme")
    assert "topology kite (N = 5)" in text
    assert "NME here is relative to the size of the shape" in text
    np.save(tmp_path / "seen.npy", kites[:3, :, :2])
    succeed("reconstruct", "seen.npy", "--weights=run", "--out=o.npz,o.ply")
    assert np.load(tmp_path / "o.npz")["points"].shape == (3, 5, 3)
