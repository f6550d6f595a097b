"""Parts of the published system give way to the truth."""

import pathlib

import jax
import numpy as np
import pytest

from deepmds_jax import load_pretrained
from deepmds_jax.evaluation.setting import Setting
from deepmds_jax.lifting import reconstruct
from deepmds_jax.paper import replaced_parts

NUM_FACES = 24


@pytest.fixture(scope="module")
def drawn():
    dataset = Setting(pathlib.Path("nowhere")).open("synthetic", "flame51")
    return dataset, dataset.draw(jax.random.key(0), NUM_FACES, test=True)


@pytest.fixture(scope="module")
def params():
    return load_pretrained("flame51_published")


def test_nothing_replaced_is_the_system_as_published(drawn, params):
    _, faces = drawn
    method = replaced_parts.as_method(params, replaced_parts.REPLACED[0])
    np.testing.assert_allclose(jax.jit(method.predict)(faces), reconstruct(params, faces.x2d),
                               atol=2e-3)


def test_rows_tell_what_each_part_costs(drawn, params, monkeypatch):
    monkeypatch.setattr(replaced_parts, "train_on_true_views", lambda params, *_: params)
    dataset, faces = drawn
    rows = {row["system"]: row for row in replaced_parts.replaced_rows(params, dataset, faces, 0)}
    assert list(rows)[:6] == [replaced.title for replaced in replaced_parts.REPLACED[:6]]
    error = {system: row["MSE x 1e-4"] for system, row in rows.items()}
    # True distances are those of the truth, and their order alone nearly so.
    assert error["true distances, metric MDS"] < 1e-4
    assert error["true order of the distances"] < 1e-2 * error["as published"]
    assert error["true distances, metric MDS"] < error["true order of the distances"]
    assert rows["as published"]["of the published"] == 1
    assert error["true frontal view"] != error["as published"]
    assert error["posed mean"] < error["mean shape"]


def test_the_second_network_is_trained_anew_and_nothing_else(drawn, params, monkeypatch):
    monkeypatch.setattr(replaced_parts, "_NUM_TRAIN", NUM_FACES)
    trained = replaced_parts.train_on_true_views(params, drawn[0], 0)
    assert trained.autoencoder is params.autoencoder
    kernel = trained.dissimilarity["params"]["dense1"]["kernel"]
    assert kernel.shape == params.dissimilarity["params"]["dense1"]["kernel"].shape
    assert not np.allclose(kernel, params.dissimilarity["params"]["dense1"]["kernel"])
