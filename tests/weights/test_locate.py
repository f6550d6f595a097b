"""What a weights string means, and that nothing that takes one means something else by it."""

import dataclasses
import pathlib

import chex
import pytest

import deepmds_jax as dm
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.specs import load_spec
from deepmds_jax.evaluation.scoring import score_methods
from deepmds_jax.evaluation.setting import Setting
from deepmds_jax.methods import deep_mds, registry
from deepmds_jax.training.checkpoints import Checkpoints
from deepmds_jax.training.run import describe
from deepmds_jax.training.trainable import Run
from deepmds_jax.weights.locate import FILE_NAME, Location, locate

SPEC = load_spec("synthetic")


@pytest.fixture(scope="module")
def shipped():
    return dm.load_pretrained("flame51_published")


@pytest.fixture(scope="module")
def folder(shipped, tmp_path_factory):
    """A file, a finished run and an unfinished one, each with weights of its own."""
    folder = tmp_path_factory.mktemp("weights")
    dm.save_params(folder / "file.safetensors", scaled(shipped, 2), {})
    write_checkpoints(folder / "finished", scaled(shipped, 3))
    dm.save_params(folder / "finished" / FILE_NAME, scaled(shipped, 4), {})
    write_checkpoints(folder / "unfinished", scaled(shipped, 5))
    (folder / "empty").mkdir()
    return folder


def scaled(params, factor):
    return dataclasses.replace(params, reference=params.reference * factor)


def write_checkpoints(workdir, params):
    run = Run(params.config, deep_mds.Training())
    checkpoints = Checkpoints(
        workdir, describe(deep_mds, run, SPEC), {"reference": params.reference})
    for stage in deep_mds.STAGES:
        checkpoints.save(stage, 1, {"variables": getattr(params, stage)})
    checkpoints.close()


def test_every_kind_of_string_has_one_place(folder, monkeypatch):
    shipped = pathlib.Path(dm.__file__).parent / "weights"
    assert locate("flame51") == Location("file", shipped / "flame51.safetensors")
    assert locate("ibug68_published") == Location("file", shipped / "ibug68_published.safetensors")
    file, finished, unfinished = (
        folder / name for name in ("file.safetensors", "finished", "unfinished"))
    assert locate(file) == locate(str(file)) == Location("file", file)
    assert locate(finished) == Location("file", finished / "weights.safetensors")
    assert locate(f"{unfinished}/") == Location("run", unfinished)
    assert locate("released:some/folder") == Location("released", pathlib.Path("some/folder"))
    # A name of shipped weights means these, whatever lies in the working folder.
    monkeypatch.chdir(folder / "empty")
    pathlib.Path("flame51").mkdir()
    assert locate("flame51") == Location("file", shipped / "flame51.safetensors")
    assert locate("./flame51") == Location("run", pathlib.Path("flame51"))


@pytest.mark.parametrize(("nothing", "named"), [
    ("nowhere", "nowhere"), ("bfm72", "bfm72"), ("runs/zhao_ict_ibug68", "runs/zhao_ict_ibug68"),
    ("", "''"),  # not the working folder
])
def test_what_is_none_of_these_is_told_what_weights_are(tmp_path, monkeypatch, nothing, named):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=(
        rf"^{named}: no such file; weights are one of \['flame51', .*'ibug68_published'\], "
        r"a \.safetensors file, the folder of a training run, hf://owner/name, or released:FOLDER$"
    )):
        locate(nothing)


class Ready(Exception):
    """Says with which parameters a method was about to run."""


def scored(source, topology):
    with pytest.raises(Ready) as found:
        score_methods(Setting(num_faces=1), ["deep_mds"], "synthetic", "mse",
                      weights=source, topology=topology)
    return found.value.args[0]


def registered(source):
    with pytest.raises(Ready) as found:
        registry.load(f"deep_mds={source}", open_dataset(SPEC, "flame51", pathlib.Path("nowhere")))
    return found.value.args[0]


@pytest.fixture
def ready(monkeypatch):
    def as_method(params, reference):
        raise Ready(params)

    monkeypatch.setattr(deep_mds, "as_method", as_method)


@pytest.mark.parametrize(("source", "factor"), [
    ("flame51_published", 1), ("file.safetensors", 2), ("finished", 4), ("unfinished", 5),
])
@pytest.mark.parametrize("topology", [None, "flame51"])
def test_library_registry_and_scoring_agree(
    shipped, folder, monkeypatch, ready, source, factor, topology
):
    monkeypatch.chdir(folder)
    loaded, description = dm.load_weights(source, topology=topology)
    assert loaded.config == shipped.config
    assert "topology" in description
    expected = scaled(shipped, factor)
    for params in (loaded, registered(source), scored(source, topology)):
        chex.assert_trees_all_equal(params, expected)


def test_library_registry_and_scoring_agree_on_the_authors_weights(shared, ready):
    folder = shared / "data" / "authors_release"
    loaded, description = dm.load_weights(f"released:{folder}", topology="flame51")
    assert "Kamyab" in description["data"]
    expected = deep_mds.load_released(folder, "flame51")
    released = f"released:{folder}"
    for params in (loaded, registered(released), scored(released, "flame51")):
        assert params.config == expected.config
        chex.assert_trees_all_equal(params, expected)


@pytest.mark.parametrize(("source", "message"), [
    ("nowhere", "nowhere: no such file; weights are one of"),
    ("empty", "empty: no checkpoint of a training run"),
    ("released:nowhere", r"nowhere/AE_occ2orth_FLAME\.h5: no such file"),
])
def test_library_registry_and_scoring_refuse_alike(folder, monkeypatch, source, message):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=f"^{message}"):
        dm.load_weights(source, topology="flame51")
    with pytest.raises(ValueError, match=f"^{message}"):
        registered(source)
    with pytest.raises(ValueError, match=f"^weights: {message}"):
        scored(source, "flame51")


def test_weights_of_another_topology_or_of_none_are_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for source in ("flame51", "file.safetensors", "finished", "unfinished"):
        with pytest.raises(ValueError, match=f"{source}: for topology flame51, expected ibug68"):
            dm.load_weights(source, topology="ibug68")
    with pytest.raises(ValueError, match=r"released:x: .* several topologies; say which"):
        dm.load_weights("released:x")
