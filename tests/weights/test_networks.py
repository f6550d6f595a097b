"""Weights files of the compared methods' networks."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from deepmds_jax import Config, load_params, save_params
from deepmds_jax.lifting import init_params
from deepmds_jax.weights.networks import (
    load_network,
    mobileface_network,
    save_network,
    zhao_network,
)


def variables(network, example):
    shapes = jax.eval_shape(network.init, jax.random.key(0), example)
    numbers = iter(range(1000))
    return jax.tree.map(lambda s: np.full(s.shape, next(numbers), np.float32), shapes)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_network(path, "zhao", "bfm72", variables(*zhao_network("bfm72")), {"data": "none"})
    return path


@pytest.mark.parametrize(("method", "network"), [
    ("zhao", zhao_network("flame51")), ("mobileface", mobileface_network(7)),
])
def test_round_trip_of_a_file_and_of_its_folder(tmp_path, method, network):
    tree = variables(*network)
    save_network(tmp_path / "weights.safetensors", method, "flame51", tree, {"epochs": "3"})
    for path in (tmp_path, tmp_path / "weights.safetensors"):
        found = load_network(path)
        assert found[:2] == (method, "flame51")
        jax.tree.map(np.testing.assert_array_equal, found[2], tree)
        assert found[3]["epochs"] == "3"


def test_unknown_methods_and_topologies_are_not_written(tmp_path):
    for method, topology in (("aldrian", "bfm72"), ("deep_mds", "bfm72"), ("zhao", "hand21")):
        with pytest.raises(ValueError, match=r"aldrian|deep_mds|hand21"):
            save_network(tmp_path / "w.safetensors", method, topology, {}, {})
    assert not list(tmp_path.iterdir())


def rewrite(path, tensors, metadata):
    content = safetensors.numpy.load_file(path)
    content.update(tensors)
    kept = {name: x for name, x in content.items() if x is not None}
    about = {"format": "deepmds_jax", "method": "zhao", "topology": "bfm72", **metadata}
    safetensors.numpy.save_file(kept, path, {k: v for k, v in about.items() if v is not None})


@pytest.mark.parametrize(("tensors", "metadata", "message"), [
    ({}, {"topology": "flame51"}, "of zhao with topology flame51 is expected as"),
    ({}, {"topology": "hand21"}, "'hand21'"),
    ({}, {"topology": None}, "topology: got None"),
    ({}, {"method": "aldrian"}, "method: expected one of .* got 'aldrian'"),
    ({}, {"method": None}, "got None"),
    ({}, {"method": "mobileface"}, "of mobileface with topology bfm72 is expected as"),
    ({}, {"format": "pt"}, "of another program"),
    ({"params/dense3/bias": None}, {}, r"dense3/bias of .* as \(144,\), found as None"),
    ({"params/extra": np.zeros(2, np.float32)}, {}, "extra of zhao .* as None, found"),
    ({"params/dense6/bias": np.full(72, np.nan, np.float32)}, {}, "dense6/bias .* finite float32"),
    ({"params/dense6/bias": np.zeros(72)}, {}, "dense6/bias .* finite float32"),
])
def test_files_that_do_not_fit_are_named(saved, tensors, metadata, message):
    rewrite(saved, tensors, metadata)
    with pytest.raises(ValueError, match=rf"weights\.safetensors: .*{message}"):
        load_network(saved)


def test_missing_and_truncated_files_are_named(saved, tmp_path):
    with pytest.raises(ValueError, match=r"none\.safetensors: no such file"):
        load_network(tmp_path / "none.safetensors")
    saved.write_bytes(saved.read_bytes()[:500])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_network(saved)
    saved.unlink()
    with pytest.raises(ValueError, match=r"weights\.safetensors: no such file"):
        load_network(tmp_path)


def test_deep_mds_and_the_others_are_told_apart(saved, tmp_path):
    with pytest.raises(ValueError, match="the network of method zhao; expected"):
        load_params(saved)
    path = tmp_path / "deep.safetensors"
    save_params(path, init_params(Config("flame51"), jax.random.key(0)), {"method": "deep_mds"})
    load_params(path)
    with pytest.raises(ValueError, match="the networks of Deep-MDS; expected one of"):
        load_network(path)
