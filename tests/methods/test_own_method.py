"""That a method is one place: here is one, and no other module knows of it.

It maps the landmarks to the shape by one linear layer. A variant of it is a lifting method, which
`reconstruct` runs.
"""

import dataclasses
import importlib
import pathlib
import signal
import sys
import types
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorboardX

import deepmds_jax as dm
from deepmds_jax import cli, mds, topologies
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.sources import synthetic
from deepmds_jax.evaluation.protocol import evaluate
from deepmds_jax.geometry import standardize
from deepmds_jax.methods import registry, table
from deepmds_jax.methods.contract import LiftingMethod, Method, Reconstruction, TrainedMethod
from deepmds_jax.methods.layers import apply_network
from deepmds_jax.methods.options import config_from_json, option
from deepmds_jax.methods.saved import load_checkpoint, read_metadata
from deepmds_jax.training.run import train
from deepmds_jax.training.stage import Stage, take_rows
from deepmds_jax.training.trainable import Run

NAME = "linear"


@dataclasses.dataclass(frozen=True)
class LinearConfig:
    topology: str
    offset: bool = option(True, "whether the shape of no landmarks may be other than 0")


@dataclasses.dataclass(frozen=True)
class LinearTraining:
    epochs: int = option(60, "passes over the faces, 16 a step", lower_bound=1)
    learning_rate: float = option(3e-3, "Adam's", lower_bound=0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearParams:
    network: Any
    config: LinearConfig = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LiftingParams:
    network: Any
    reference: jax.Array
    config: LinearConfig = dataclasses.field(metadata={"static": True})


class Linear:
    """Points in the head frame from landmarks in any pose."""

    NAME, VARIANT, TITLE = NAME, "plain", "linear shape"
    STAGES = ("linear",)
    Config: type = LinearConfig
    Training: type = LinearTraining
    Params: type = LinearParams

    def init(self, config, key):
        size = 2 * topologies.get(config.topology).num_landmarks
        return self.assemble(config, {"linear": _layer(config).init(key, jnp.zeros(size))},
                             {"reference": jnp.zeros((size // 2, 3))})

    def train(self, run, dataset, fit_stage):
        init_key, faces_key, order_key = jax.random.split(jax.random.key(run.seed), 3)
        faces = dataset.draw(faces_key, run.num_train)
        beside = {"reference": standardize(dataset.mean)}
        data = _inputs(faces.x2d), standardize(faces.points).reshape(run.num_train, -1)
        stage = Stage("linear", _layer(run.config).apply, optax.adam(run.training.learning_rate),
                      data, run.num_train, 16, take_rows)
        network = fit_stage(stage, self.init(run.config, init_key).network, key=order_key,
                            num_epochs=run.training.epochs, beside=beside)
        return self.assemble(run.config, {"linear": network}, beside)

    def assemble(self, config, trained, beside) -> Any:
        del beside
        return LinearParams(trained["linear"], config)

    def to_tree(self, params):
        return {"network": params.network}

    def from_tree(self, config, tree) -> Any:
        return LinearParams(tree["network"], config)

    def read_config(self, metadata, tensors):
        del tensors
        return config_from_json(LinearConfig, metadata, ignored=("variant",))

    def as_method(self, params, reference):
        del reference
        num_params = sum(x.size for x in jax.tree.leaves(params.network))
        return Method(self.TITLE, lambda faces: _shape(params, faces.x2d), num_params)

    def load_released(self, folder, topology):
        raise ValueError(f"{folder}: nobody released weights of {self.TITLE} for {topology}")


class LinearLifting(Linear):
    """The same, with the reference that lifting takes."""

    VARIANT = "lifting"
    Params: type = LiftingParams
    TAKES_VISIBLE = TAKES_INIT = False

    def assemble(self, config, trained, beside):
        return LiftingParams(trained["linear"], beside["reference"], config)

    def to_tree(self, params):
        return {"network": params.network, "reference": params.reference}

    def from_tree(self, config, tree):
        return LiftingParams(**tree, config=config)

    def lift(self, params, x2d, visible, init):
        del visible, init
        points = standardize(_shape(params, x2d))
        batch = x2d.shape[:-2]
        return Reconstruction(
            points, points[..., :2], mds.distances(points), jnp.zeros(batch),
            jnp.zeros(batch, jnp.int32), jnp.full(batch, mds.Status.CONVERGED, jnp.int32))


def _layer(config):
    size = 3 * topologies.get(config.topology).num_landmarks
    return nn.Dense(size, use_bias=config.offset)


def _inputs(x2d):
    return standardize(x2d).reshape(*x2d.shape[:-2], -1)


def _shape(params, x2d):
    flat = apply_network(_layer(params.config), params.network, _inputs(x2d))
    return flat.reshape(*x2d.shape[:-1], 3)


# What users of the method write from here on.

RUN = Run(LinearConfig("flame51"), LinearTraining(), num_train=256)
PLAIN, LIFTING = Linear(), LinearLifting()


@pytest.fixture(scope="module", autouse=True)
def registered():
    table.register(NAME, PLAIN, LIFTING)
    yield
    del table.METHODS[NAME]


@pytest.fixture(scope="module")
def dataset():
    spec = specs.load_spec("synthetic")
    return Dataset(spec, synthetic.load("flame51"), pathlib.Path("nowhere"))


@pytest.fixture(scope="module")
def faces(dataset):
    return dataset.draw(jax.random.key(5), RUN.num_train)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("linear")
    return workdir, train(PLAIN, RUN, dataset, workdir)


def test_both_are_what_the_contract_asks_for():
    assert isinstance(PLAIN, TrainedMethod)
    assert not isinstance(PLAIN, LiftingMethod)
    assert isinstance(LIFTING, LiftingMethod)
    assert table.find(NAME) is PLAIN
    assert table.find(NAME, "lifting") is LIFTING


def test_training_writes_weights_that_load_by_name(finished):
    workdir, params = finished
    by_string, description = dm.load_weights(workdir, method=NAME)
    assert (description["method"], description["variant"]) == (NAME, "plain")
    assert (description["epochs"], description["offset"]) == ("60", "True")
    for loaded in (dm.load_params(workdir / "weights.safetensors", method=NAME), by_string,
                   load_checkpoint(workdir)[0]):
        assert type(loaded) is LinearParams
        assert loaded.config == params.config
        chex.assert_trees_all_equal(loaded, params)
    with pytest.raises(ValueError, match="of method linear; expected that of deep_mds"):
        dm.load_params(workdir / "weights.safetensors")
    with pytest.raises(ValueError, match="nobody released weights of linear shape for flame51"):
        dm.load_weights("released:x", method=NAME, topology="flame51")


def test_an_unfinished_run_loads_and_goes_on(finished, dataset, faces, tmp_path):
    def interrupt(self, tag, value, step):
        assert tag == "linear/loss"
        if step == 160:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboardX.SummaryWriter, "add_scalar", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(PLAIN, RUN, dataset, tmp_path)
    params, run = dm.load_weights(tmp_path, method=NAME)
    assert run["method"] == NAME
    points = registry.load(f"{NAME}={tmp_path}", dataset).predict(faces)
    np.testing.assert_array_equal(points, PLAIN.as_method(params, None).predict(faces))
    chex.assert_trees_all_equal(train(PLAIN, RUN, dataset, tmp_path), finished[1])


def test_it_is_scored_like_any_other(finished, dataset, faces):
    method = registry.load(f"{NAME}={finished[0]}", dataset)
    assert (method.title, method.num_params) == ("linear shape", 102 * 153 + 153)
    untrained = PLAIN.as_method(PLAIN.init(RUN.config, jax.random.key(0)), None)
    results = evaluate([method, untrained._replace(title="untrained")], faces, "flame51")
    found, before = results.values()
    assert np.isfinite(found.mse).all()
    assert np.median(found.mse) < 0.2 * np.median(before.mse)


@pytest.fixture
def program(monkeypatch):
    """bin/train of a process in which the method is registered: its flags are made on import."""
    importlib.import_module("deepmds_jax.cli.train")  # what comes back afterwards
    for name in ("train", "train_flags"):
        monkeypatch.delitem(sys.modules, f"deepmds_jax.cli.{name}")
        monkeypatch.delattr(cli, name)
    return importlib.import_module("deepmds_jax.cli.train")


def test_the_program_trains_it_with_its_options(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = [f"--method={NAME}", "--topology=flame51", "--num_train=256", "--nooffset"]
    assert program.run([*flags, "--epochs=2"]) == 0
    assert f"bin/eval --methods={NAME}=runs/plain_synthetic_flame51" in capsys.readouterr().out
    metadata = read_metadata("runs/plain_synthetic_flame51/weights.safetensors")
    assert (metadata["offset"], metadata["epochs"]) == ("False", "2")
    assert program.run([*flags, "--pairs=face"]) == 1
    assert "pairs: no flag of --variant=plain" in capsys.readouterr().err
    assert program.run(["--help"]) == 0
    assert "plain: whether the shape of no landmarks" in capsys.readouterr().out


def test_reconstruct_runs_the_variant_that_lifts(finished, dataset, faces, tmp_path):
    params = train(LIFTING, RUN, dataset, tmp_path)
    loaded, description = dm.load_weights(tmp_path, method=NAME)
    assert type(loaded) is LiftingParams
    assert description["variant"] == "lifting"
    chex.assert_trees_all_equal(loaded, params)
    chex.assert_trees_all_equal(params.network, finished[1].network)  # trained alike
    points = np.asarray(jax.jit(dm.reconstruct)(loaded, faces.x2d))
    expected = np.asarray(standardize(PLAIN.as_method(finished[1], None).predict(faces)))
    np.testing.assert_allclose(points, expected, atol=1e-5)
    assert jax.jit(dm.reconstruct_detailed)(loaded, faces.x2d).converged.all()
    with pytest.raises(ValueError, match="visible: expected none with linear shape as lifting"):
        dm.reconstruct(loaded, faces.x2d, np.ones(51, bool))
    with pytest.raises(ValueError, match="params: linear shape is no method that lifts"):
        dm.reconstruct(finished[1], faces.x2d)


def test_a_method_without_networks_is_a_loader(dataset, faces, monkeypatch):
    def load(argument, dataset, reference):
        del reference
        return Method(f"face {argument}", lambda faces: dataset.mean + 0 * faces.x2d[..., :1], 0)

    monkeypatch.setattr(table, "METHODS", dict(table.METHODS))
    table.register("constant", load)
    method = registry.load("constant=3", dataset)
    assert method.title == "face 3"
    np.testing.assert_array_equal(method.predict(faces)[7], dataset.mean)


@pytest.mark.parametrize("name", ["zhao", "aldrian", NAME, "my method", "a=b", "a,b", ""])
def test_a_name_that_is_taken_or_no_identifier_is_refused(name):
    with pytest.raises(ValueError, match=f"name: expected a new identifier, got '{name}'"):
        table.register(name, PLAIN)


ATTRIBUTES = (
    "NAME", "VARIANT", "TITLE", "STAGES", "Config", "Training", "Params", "init", "train",
    "assemble", "to_tree", "from_tree", "read_config", "as_method", "load_released",
)


def another(name="other", without=None, **changed) -> Any:
    """A method like the plain one, of another name, changed, or without an attribute."""
    own = {attribute: getattr(PLAIN, attribute) for attribute in ATTRIBUTES}
    own |= {"NAME": name, **changed}
    return types.SimpleNamespace(**{k: v for k, v in own.items() if k != without})


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_an_attribute_that_a_method_lacks_is_named(attribute):
    with pytest.raises(ValueError, match=f"methods: .* has no {attribute}$"):
        table.register("other", another(without=attribute))
    assert "other" not in table.METHODS


def test_a_class_that_lacks_an_attribute_is_not_taken_for_a_loader():
    class Half:
        NAME = "other"

    half: Any = Half
    with pytest.raises(ValueError, match=r"methods: .*Half.* has no Config$"):
        table.register("other", half)
    assert "other" not in table.METHODS


@pytest.mark.parametrize(("methods", "message"), [
    ([], r"expected variants whose NAME is 'other', got \[\]"),
    ([PLAIN], r"expected variants whose NAME is 'other', got \['linear'\]"),
    ([another(), LIFTING], r"whose NAME is 'other', got \['other', 'linear'\]"),
    ([another(), another()], r"variants that differ in VARIANT, got \['plain', 'plain'\]"),
    ([another()], r"a class Params of their own, got \['LinearParams'\]"),  # PLAIN has it, too
])
def test_methods_that_cannot_be_told_apart_are_refused(methods, message):
    with pytest.raises(ValueError, match=f"methods: .*{message}"):
        table.register("other", *methods)
    assert "other" not in table.METHODS
