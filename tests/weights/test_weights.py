import dataclasses
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from deepmds_jax import Config, load_params, load_pretrained, save_params, topologies
from deepmds_jax.reconstruct import init_params
from deepmds_jax.weights import pretrained_metadata, pretrained_names


@pytest.fixture
def saved(tmp_path):
    params = init_params(Config("flame51", transform="ratio", y_up=True), jax.random.key(0))
    save_params(tmp_path / "w.safetensors", params, {"data": "none"})
    return tmp_path / "w.safetensors", params


def test_round_trip_keeps_arrays_and_configuration(saved):
    path, params = saved
    loaded = load_params(path)
    assert loaded.config == params.config
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_nothing_half_written_stays(saved):
    path, params = saved
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_params(path, params, {"data": 3})  # metadata must be text
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def test_truncated_file_is_named(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"w\.safetensors: not a whole safetensors file"):
        load_params(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.safetensors: no such file"):
        load_params(tmp_path / "none.safetensors")


def test_file_of_another_program_is_named(tmp_path):
    safetensors.numpy.save_file({"x": np.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors: a safetensors file of another program"):
        load_params(tmp_path / "x.safetensors")


@pytest.mark.parametrize(("entry", "message"), [
    ({"topology": "ibug68"}, "of topology ibug68 is expected as"),
    ({"topology": "hand21"}, "'hand21'"),
    ({"depth": 3}, "depth"),
    ({"max_iters": "many"}, "'many'"),
])
def test_metadata_that_do_not_fit_are_named(saved, entry, message):
    path, params = saved
    config = {**dataclasses.asdict(params.config), **entry}
    tensors = safetensors.numpy.load_file(path)
    metadata = {"format": "deepmds_jax", "config": json.dumps(config)}
    safetensors.numpy.save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match=message):
        load_params(path)


def test_weights_that_are_not_finite_are_named(saved):
    path, params = saved
    save_params(path, dataclasses.replace(params, reference=params.reference * np.nan), {})
    with pytest.raises(ValueError, match="reference is expected as finite"):
        load_params(path)


def test_weights_are_shipped_for_ibug68_and_flame51_only():
    assert pretrained_names() == ["flame51", "ibug68"]
    with pytest.raises(ValueError, match="'bfm72'"):
        load_pretrained("bfm72")


@pytest.mark.parametrize("topology", ["flame51", "ibug68"])
def test_shipped_weights_are_small_credited_and_of_their_topology(topology):
    params = load_pretrained(topology)
    assert params.config.topology == topology
    assert params.reference.shape == (topologies.get(topology).num_landmarks, 3)
    from deepmds_jax import weights

    assert (weights._FOLDER / f"{topology}.safetensors").stat().st_size < 300_000
    metadata = pretrained_metadata(topology)
    assert "MIT" in metadata["data_licence"]
    assert "ICT" in metadata["data"]
