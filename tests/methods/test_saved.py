import dataclasses
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from deepmds_jax import Config, load_params, load_pretrained, save_params, topologies, weights
from deepmds_jax.lifting import init_params
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
    ({"variant": "loose"}, "'loose'"),
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
    assert pretrained_names() == ["flame51", "flame51_published", "ibug68", "ibug68_published"]
    assert weights.published("ibug68") == "ibug68_published"
    for name in ("bfm72", "bfm72_published", "../networks"):
        with pytest.raises(ValueError, match=f"name: weights are shipped for .*{name!r}"):
            load_pretrained(name)


@pytest.mark.parametrize("variant", ["anchored", "published"])
@pytest.mark.parametrize("topology", ["flame51", "ibug68"])
def test_shipped_weights_are_small_credited_and_of_their_topology(topology, variant):
    name = topology if variant == "anchored" else weights.published(topology)
    params = load_pretrained(name)
    assert (params.config.topology, params.config.variant) == (topology, variant)
    assert params.reference.shape == (topologies.get(topology).num_landmarks, 3)
    networks = (params.autoencoder, params.dissimilarity)
    assert sum(x.size for x in jax.tree.leaves(networks)) <= 27_505
    assert (weights._FOLDER / f"{name}.safetensors").stat().st_size < 300_000
    metadata = pretrained_metadata(name)
    assert "MIT" in metadata["data_licence"]
    assert "ICT" in metadata["data"]


@pytest.mark.parametrize("variant", ["anchored", "published"])
def test_weights_of_another_variant_do_not_fit(tmp_path, variant):
    other = {"anchored": "published", "published": "anchored"}[variant]
    params = init_params(Config("flame51", variant), jax.random.key(0))
    config = dataclasses.replace(params.config, variant=other)
    save_params(tmp_path / "w.safetensors", dataclasses.replace(params, config=config), {})
    with pytest.raises(ValueError, match="of topology flame51 is expected as"):
        load_params(tmp_path / "w.safetensors")


def test_both_variants_come_back_as_they_were_saved(tmp_path):
    params = init_params(Config("bfm72", "anchored", weighted=False), jax.random.key(1))
    save_params(tmp_path / "w.safetensors", params, {})
    loaded = load_params(tmp_path / "w.safetensors")
    assert loaded.config == params.config
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
