"""The contract of sources: the built-in ones meet it, and one of a user's own is found by name."""

import inspect
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.data import sources, specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.morphable_model import MorphableModel

SPEC = """
title = "Kites"
source = "kites"
licence = "none"
obtain = "Fly a kite."
topologies = ["kite"]
expression = true
num_train = 8
num_test = 4

[[views]]
share = 1
yaw = 90
"""
KITE = topologies.Topology("kite", ("top", "wing_right", "wing_left", "tail"), (0, 2, 1, 3),
                           ((0, 1), (0, 2), (1, 3), (2, 3)))


class Kites:
    """Kites that get wider (identity) and deeper (expression)."""

    def load(self, topology, folder):
        file = folder / "kite.csv"
        if not file.exists():
            raise FileNotFoundError(f"no {file}")
        mean = np.loadtxt(file, delimiter=",")
        if mean.shape != (topologies.get(topology).num_landmarks, 3):
            raise ValueError(f"{file}: expected (4, 3) numbers, got {mean.shape}")
        arrays = (mean, mean[None] * [0.5, 0, 0], mean[None] * [0, 0, 1])
        return MorphableModel(*(jnp.asarray(x, jnp.float32) for x in arrays), topology, "cm")

    def check(self, folder):
        try:
            self.load("kite", folder)
        except (FileNotFoundError, ValueError) as error:
            return [str(error)]
        return []


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(sources, "_registered", {})
    monkeypatch.setattr(topologies, "TOPOLOGIES", dict(topologies.TOPOLOGIES))


@pytest.mark.parametrize("name", sources.names())
def test_built_in_sources_meet_the_contract(name):
    source = sources.get(name)
    assert isinstance(source, sources.Source)
    with_surface = isinstance(source, sources.DenseSource)
    assert with_surface == (name in ("bfm", "bfm2017", "ict"))
    functions = [(sources.Source, "load"), (sources.Source, "check")]
    functions += [(sources.DenseSource, "load_dense")] * with_surface
    for protocol, function in functions:
        expected = list(inspect.signature(getattr(protocol, function)).parameters)[1:]  # no self
        assert list(inspect.signature(getattr(source, function)).parameters) == expected


def test_every_spec_names_a_source():
    named = {specs.load_spec(name).source for name in specs.names()}
    assert named == {"mix", *sources.names()}


def test_a_source_and_a_spec_of_ones_own(tmp_path, registry):
    topologies.register(KITE)
    kites = Kites()
    sources.register("kites", kites)
    assert sources.get("kites") is kites
    (tmp_path / "my_kites.toml").write_text(SPEC)
    spec = specs.load_spec(tmp_path / "my_kites.toml")
    assert spec == specs.load_spec(str(tmp_path / "my_kites.toml"))
    assert (spec.name, spec.topologies) == ("my_kites", ("kite",))
    with pytest.raises(ValueError, match=r"dataset my_kites: no .*kite\.csv\. Fly a kite\."):
        open_dataset(spec, "kite", tmp_path)

    mean = np.array([[0, -2, 0], [-1, -1, 1], [1, -1, 1], [0, 4, 0]])
    np.savetxt(tmp_path / "kite.csv", mean, delimiter=",")
    dataset = open_dataset(spec, "kite", tmp_path)
    np.testing.assert_array_equal(dataset.mean, mean)
    faces = dataset.draw(jax.random.key(0), 8)
    width = 1 + 0.5 * np.asarray(faces.identity)
    depth = 1 + np.asarray(faces.expression)
    expected = mean * np.concatenate([width, np.ones((8, 1)), depth], axis=1)[:, None]
    np.testing.assert_allclose(faces.points, expected, rtol=1e-6)
    # Turned by 90 degrees to the image's right, one sees -z and y.
    seen = (expected - expected.mean(axis=1, keepdims=True)) @ np.eye(3)[:, [2, 1]] * [-1, 1]
    np.testing.assert_allclose(faces.x2d, seen, atol=1e-5)
    draw_shapes = jax.jit(dataset.draw_shapes, static_argnums=1)
    shapes = np.asarray(draw_shapes(jax.random.key(1), 8))
    np.testing.assert_array_equal(shapes[..., 1], np.tile(mean[:, 1], (8, 1)))
    assert len(np.unique(shapes[:, 1, 0])) == 8
    with pytest.raises(ValueError, match=r"my_kites: pictures and occlusion need .*'kites' do"):
        dataset.draw(jax.random.key(0), 8, images=True)


def test_a_module_can_be_a_source(registry):
    module = types.ModuleType("kites")
    module.load, module.check = Kites().load, Kites().check
    sources.register("module", module)
    assert sources.get("module") is module
    assert sources.names()[-1] == "module"


def test_unknown_sources_are_refused_with_the_known_ones(tmp_path, registry):
    (tmp_path / "kites.toml").write_text(SPEC)
    with pytest.raises(ValueError, match=r"source: expected one of \['aflw2000'.*, got 'kites'"):
        open_dataset(specs.load_spec(tmp_path / "kites.toml"), "kite", tmp_path)
    with pytest.raises(ValueError, match="source: 'ict' is taken"):
        sources.register("ict", Kites())
    with pytest.raises(ValueError, match=r"functions load\(topology, folder\) and check\(folder\)"):
        sources.register("path", pathlib)
    assert "path" not in sources.names()


def test_a_spec_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"dataset: no file .*none\.toml"):
        specs.load_spec(tmp_path / "none.toml")
