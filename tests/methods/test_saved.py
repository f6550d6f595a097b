"""Weights files and checkpoints of every method with networks, today's and older ones."""

import contextlib
import dataclasses
import json

import chex
import numpy as np
import pytest
import safetensors.numpy

from deepmds_jax import load_params, load_weights, save_params, topologies
from deepmds_jax.data.specs import load_spec
from deepmds_jax.methods import anchored, deep_mds, mobileface, zhao
from deepmds_jax.methods.saved import load_checkpoint, read_metadata
from deepmds_jax.training.checkpoints import Checkpoints
from deepmds_jax.training.run import describe
from deepmds_jax.training.trainable import Run
from deepmds_jax.weights.tensors import write_tensors

CONFIGS = {
    "deep_mds": (deep_mds, deep_mds.Config("flame51", transform="ratio", y_up=True)),
    "deep_mds of the release": (deep_mds, deep_mds.Config("bfm72", features="release")),
    "deep_mds knowing the landmarks": (deep_mds, deep_mds.Config("flame51", features="identity")),
    "anchored": (anchored, anchored.Config("bfm72", weighted=False)),
    "zhao": (zhao, zhao.Config("flame51", y_up=True)),
    "mobileface": (mobileface, mobileface.Config("ibug68", num_coefficients=7, source="ict")),
}

# What the configurations of the first development versions held, of both variants together.
OLDER = {"topology": "flame51", "variant": "published", "features": "paper", "transform": "ratio",
         "weighted": True, "observed": True, "max_iters": 20, "tolerance": 1e-3, "y_up": False}


@pytest.fixture
def saved(tmp_path, random_params):
    method, config = CONFIGS["deep_mds"]
    params = random_params(method, config)
    save_params(tmp_path / "w.safetensors", params, {"data": "none"})
    return tmp_path / "w.safetensors", params


@pytest.fixture
def saved_zhao(tmp_path, random_params):
    params = random_params(zhao, zhao.Config("bfm72"))
    save_params(tmp_path / "weights.safetensors", params, {"data": "none"})
    return tmp_path / "weights.safetensors"


@pytest.mark.parametrize(("method", "config"), CONFIGS.values(), ids=CONFIGS)
def test_round_trip_of_a_file_and_of_its_folder(tmp_path, random_params, method, config):
    params = random_params(method, config)
    path = tmp_path / "weights.safetensors"
    save_params(path, params, {"epochs": "3"})
    by_folder, description = load_weights(tmp_path, method=method.NAME)
    for loaded in (load_params(path, method.NAME), by_folder):
        assert type(loaded) is method.Params
        assert loaded.config == config
        chex.assert_trees_all_equal(loaded, params)
    assert description == read_metadata(path)
    assert (description["epochs"], description["topology"]) == ("3", config.topology)


def test_nothing_more_need_be_said(saved, tmp_path):
    path, params = saved
    save_params(tmp_path / "none.safetensors", params)
    save_params(path, params, {})
    assert (tmp_path / "none.safetensors").read_bytes() == path.read_bytes()


def test_nothing_half_written_stays(saved):
    path, params = saved
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_params(path, params, {"data": 3})  # metadata must be text
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def test_what_is_of_no_method_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"params: expected those of one of .*'zhao'.* got dict"):
        save_params(tmp_path / "w.safetensors", {"w": np.zeros(3)}, {})
    assert not list(tmp_path.iterdir())


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
    ({"topology": "ibug68"}, "of Deep-MDS with topology ibug68 is expected as"),
    ({"topology": "hand21"}, "'hand21'"),
    ({"depth": 3}, "depth"),
    ({"max_iters": "many"}, "max_iters: expected a number above 0, got 'many'"),
    ({"variant": "loose"}, r"variant: expected one of \['published', 'anchored'\], got 'loose'"),
])
def test_configurations_that_do_not_fit_are_named(saved, entry, message):
    path, params = saved
    config = {**dataclasses.asdict(params.config), **entry}
    tensors = safetensors.numpy.load_file(path)
    metadata = {"format": "deepmds_jax", "config": json.dumps(config)}
    safetensors.numpy.save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match=rf"w\.safetensors: .*{message}"):
        load_params(path)


def rewrite(path, tensors, metadata):
    """Changes tensors and metadata; None takes one away."""
    content = {**safetensors.numpy.load_file(path), **tensors}
    about = {"format": "deepmds_jax", "method": "zhao", "topology": "bfm72", **metadata}
    safetensors.numpy.save_file(
        {name: x for name, x in content.items() if x is not None}, path,
        {name: text for name, text in about.items() if text is not None})


@pytest.mark.parametrize(("tensors", "metadata", "message"), [
    ({}, {"topology": "flame51"}, "of Zhao et al. with topology flame51 is expected as"),
    ({}, {"topology": "hand21"}, "'hand21'"),
    ({}, {"topology": None}, "topology: got '', expected one of"),
    ({}, {"config": '{"topology": "hand21"}'}, "'hand21'"),
    ({}, {"config": "{"}, "config: expected a JSON object, got {"),
    ({}, {"config": "[]"}, r"config: expected a JSON object, got \[\]"),
    ({}, {"method": "aldrian"}, "method: expected one of .* got 'aldrian'"),
    ({}, {"method": None}, "method: expected one of .* got ''"),
    ({}, {"method": "mobileface"}, "the network of method mobileface; expected that of zhao"),
    ({}, {"method": "deep_mds"}, "the network of method deep_mds; expected that of zhao"),
    ({}, {"format": "pt"}, "of another program"),
    ({"params/dense3/bias": None}, {}, r"dense3/bias of .* as \(144,\), found as None"),
    ({"params/extra": np.zeros(2, np.float32)}, {}, "extra of Zhao et al. .* as None, found"),
    ({"params/dense6/bias": np.full(72, np.nan, np.float32)}, {}, "dense6/bias .* finite float32"),
    ({"params/dense6/bias": np.zeros(72)}, {}, "dense6/bias .* finite float32"),
])
def test_files_that_do_not_fit_are_named(saved_zhao, tensors, metadata, message):
    rewrite(saved_zhao, tensors, metadata)
    with pytest.raises(ValueError, match=rf"weights\.safetensors: .*{message}"):
        load_params(saved_zhao, method="zhao")


@pytest.mark.parametrize(("method", "message"), [
    ("mobileface", "of MobileFace with topology bfm72 is expected as"),
    ("deep_mds", "no valid configuration of Deep-MDS: config: .* got none"),
])
def test_tensors_of_another_method_do_not_fit(saved_zhao, method, message):
    rewrite(saved_zhao, {}, {"method": method})
    with pytest.raises(ValueError, match=rf"weights\.safetensors: .*{message}"):
        load_params(saved_zhao, method=method)


def test_weights_that_are_not_finite_are_named(saved):
    path, params = saved
    save_params(path, dataclasses.replace(params, reference=params.reference * np.nan), {})
    with pytest.raises(ValueError, match="reference is expected as finite"):
        load_params(path)


@pytest.mark.parametrize(("method", "other"), [(anchored, deep_mds), (deep_mds, anchored)])
def test_weights_of_another_variant_do_not_fit(tmp_path, random_params, method, other):
    params = random_params(method, method.Config("flame51"))
    config = json.dumps({"topology": "flame51", "variant": other.VARIANT})
    write_tensors(tmp_path / "w.safetensors", method.to_tree(params), {"config": config})
    with pytest.raises(ValueError, match=f"of {other.TITLE} with topology flame51 is expected as"):
        load_params(tmp_path / "w.safetensors")


@pytest.mark.parametrize("older", [
    {"variant": "published"}, {"variant": None}, {"variant": None, "weighted": None,
                                                  "observed": None},
])
def test_older_files_of_the_published_system_load(tmp_path, random_params, older):
    """From before there was a second method, and before there was a second variant."""
    expected = deep_mds.Config("flame51", transform="ratio", max_iters=20, tolerance=1e-3)
    params = random_params(deep_mds, expected)
    config = {name: value for name, value in {**OLDER, **older}.items() if value is not None}
    path = tmp_path / "w.safetensors"
    write_tensors(path, deep_mds.to_tree(params), {"config": json.dumps(config), "data": "none"})
    loaded = load_params(path)
    assert loaded.config == expected
    chex.assert_trees_all_equal(loaded, params)


def test_files_of_the_former_anchored_networks_are_refused(tmp_path, random_params):
    """Their encoder read the residuals by a layer of its own."""
    params = random_params(anchored, anchored.Config("flame51"))
    tree = anchored.to_tree(params)
    networks = {**tree["autoencoder"]["params"], "read": {"kernel": np.zeros((153, 46), "f")}}
    config = json.dumps({**OLDER, "variant": "anchored"})
    write_tensors(tmp_path / "w.safetensors", {**tree, "autoencoder": {"params": networks}},
                  {"config": config, "method": "deep_mds"})
    with pytest.raises(ValueError, match=r"w\.safetensors: autoencoder/params/read/kernel of .* is "
                                         r"expected as None, found as \(153, 46\)"):
        load_params(tmp_path / "w.safetensors")


@pytest.mark.parametrize("config", [zhao.Config("flame51"), mobileface.Config("ibug68", 7)])
def test_older_files_of_the_compared_methods_load(tmp_path, random_params, config):
    """From before they held a configuration: the number of coefficients is that of the tensors."""
    method = zhao if isinstance(config, zhao.Config) else mobileface
    params = random_params(method, config)
    metadata = {"method": method.NAME, "topology": config.topology, "epochs": "100"}
    path = tmp_path / "weights.safetensors"
    write_tensors(path, params.network, metadata)
    loaded, description = load_weights(path, method=method.NAME)
    assert loaded.config == config
    chex.assert_trees_all_equal(loaded, params)
    assert description["epochs"] == "100"


RUN = {"seed": 0, "num_train": 32, "learning_rate": 1e-3, "dataset": "synthetic", "data": "none",
       "data_licence": "none"}
# Older runs: description, the tree of each stage, what is kept beside, and the parameters.
OLDER_RUNS = {
    "published": (deep_mds, deep_mds.Config("flame51", transform="ratio", max_iters=20,
                                            tolerance=1e-3), {"method": "deep_mds", **OLDER}),
    "before variants": (deep_mds, deep_mds.Config("flame51", transform="ratio", max_iters=20,
                                                  tolerance=1e-3),
                        {k: v for k, v in OLDER.items() if k != "variant"}),
    "zhao": (zhao, zhao.Config("flame51"),
             {"method": "zhao", "topology": "flame51", "epochs": 3}),
    "mobileface": (mobileface, mobileface.Config("ibug68", 7),
                   {"method": "mobileface", "topology": "ibug68", "epochs": 3}),
}


def trained_variables(method, params):
    """The variables of each stage whose checkpoint makes up the parameters."""
    if method is deep_mds:
        return {"autoencoder": params.autoencoder, "dissimilarity": params.dissimilarity}
    return {method.NAME: params.network}


@pytest.mark.parametrize(("method", "config", "description"), OLDER_RUNS.values(), ids=OLDER_RUNS)
def test_checkpoints_of_older_runs_load(tmp_path, random_params, method, config, description):
    params = random_params(method, config)
    beside = {"reference": params.reference} if method.NAME == "deep_mds" else {}
    checkpoints = Checkpoints(tmp_path, {**description, **RUN}, beside)
    for stage, variables in trained_variables(method, params).items():
        checkpoints.save(stage, 6, {"step": np.int32(6), "variables": variables})
    checkpoints.close()
    loaded, found = load_checkpoint(tmp_path)
    assert type(loaded) is method.Params
    assert loaded.config == config
    chex.assert_trees_all_equal(loaded, params)
    assert found == {**description, **RUN}


HAND = 'name = "hand"\nlandmarks = ["wrist", "thumb", "index", "middle", "ring"]\n'


@pytest.mark.parametrize("method", [deep_mds, anchored, zhao, mobileface], ids=lambda m: m.TITLE)
def test_weights_bring_their_topology_to_where_its_file_is_not(
    tmp_path, monkeypatch, random_params, method
):
    monkeypatch.setattr(topologies, "TOPOLOGIES", dict(topologies.TOPOLOGIES))
    (tmp_path / "hand.toml").write_text(HAND)
    params = random_params(method, method.Config(str(tmp_path / "hand.toml")))
    assert params.config.topology == "hand"
    path = tmp_path / "w.safetensors"
    save_params(path, params, {})
    (tmp_path / "hand.toml").unlink()
    hand = topologies.TOPOLOGIES.pop("hand")
    chex.assert_trees_all_equal(load_params(path, method.NAME), params)
    assert topologies.get("hand") == hand
    topologies.TOPOLOGIES["hand"] = dataclasses.replace(hand, edges=((0, 1),))
    with pytest.raises(ValueError, match=r"w\.safetensors: .*'hand' is known, with other edges"):
        load_params(path, method.NAME)


def test_checkpoints_bring_their_topology_too(tmp_path, monkeypatch, random_params):
    monkeypatch.setattr(topologies, "TOPOLOGIES", dict(topologies.TOPOLOGIES))
    hand = topologies.Topology("hand", tuple("abcde"), None, ())
    topologies.register(hand)
    params = random_params(zhao, zhao.Config("hand"))
    spec = load_spec("shapes")
    run = describe(zhao, Run(params.config, zhao.Training(), 0, 8), spec)
    with contextlib.closing(Checkpoints(tmp_path, run, {})) as checkpoints:
        checkpoints.save("zhao", 1, {"variables": params.network})
    del topologies.TOPOLOGIES["hand"]
    loaded, description = load_checkpoint(tmp_path)
    assert (loaded.config, topologies.get("hand")) == (params.config, hand)
    assert description["dataset"] == "shapes"


def test_topologies_of_the_package_are_not_written(saved):
    assert "topology_definition" not in read_metadata(saved[0])
