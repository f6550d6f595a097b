"""Figures 2 and 6, which show the networks themselves, find their weights."""

import dataclasses

import chex
import pytest

from deepmds_jax import load_pretrained, save_params
from deepmds_jax.evaluation.setting import Setting
from deepmds_jax.paper.experiments import Experiments
from deepmds_jax.paper.published import SCORES, Data

SYNTHETIC = Data("synthetic", "ibug68", "synthetic")


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    """Experiments of a user who has nothing in the working folder."""
    monkeypatch.chdir(tmp_path)
    return Experiments(Setting())


def test_without_a_run_the_shipped_weights_of_the_published_system_are_shown(experiments):
    assert SYNTHETIC in SCORES["table1"].data
    params = experiments.params(SYNTHETIC)
    shipped = load_pretrained("ibug68_published")
    assert params.config == shipped.config
    chex.assert_trees_all_equal(params, shipped)


def test_a_run_comes_before_them(experiments, tmp_path):
    own = load_pretrained("ibug68_published")
    own = dataclasses.replace(own, reference=-own.reference)
    save_params(tmp_path / "runs" / "synthetic_ibug68" / "weights.safetensors", own, {})
    chex.assert_trees_all_equal(experiments.params(SYNTHETIC), own)


def test_where_there_are_none_the_run_that_is_missing_is_named(experiments):
    with pytest.raises(ValueError, match=r"no training run runs/synthetic_bfm72; bin/train "):
        experiments.params(Data("synthetic", "bfm72", "synthetic"))


def test_a_run_of_the_anchored_system_is_not_shown_as_the_published_one(experiments, tmp_path):
    folder = tmp_path / "runs" / "synthetic_ibug68"
    save_params(folder / "weights.safetensors", load_pretrained("ibug68"), {})
    with pytest.raises(ValueError, match="weights of Deep-MDS, anchored; the figure shows"):
        experiments.params(SYNTHETIC)
