"""Mixes of data sets: their specs, their one frame, and how often each is drawn."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset, open_dataset
from deepmds_jax.data.mixture import mix
from deepmds_jax.data.morphable_model import JawLines
from deepmds_jax.data.sources import synthetic
from deepmds_jax.methods import registry

TURN = Rotation.from_euler("xyz", [20, -70, 130], degrees=True).as_matrix()
NUM = 4000

HEAD = """
title = "{title}"
licence = "CC0"
num_train = 64
num_test = 32
"""
SCANS = HEAD.format(title="Scans") + """
source = "shapes"
obtain = "Scan some"
topologies = ["flame51", "ibug68"]
frame = "mesh"
expression = false
[[views]]
share = 1
"""
MIX = """
title = "Both"
num_train = 64
num_test = 32
[[mix]]
dataset = "synthetic"
share = 0.75
[[mix]]
dataset = "scans.toml"
share = 0.25
[[views]]
share = 1
yaw = [-45, 45]
[augmentation]
calm = 1.0
"""


@pytest.fixture(scope="module")
def model():
    return synthetic.load("ibug68")


@pytest.fixture(scope="module")
def scans(model):
    """(10, 68, 3) in another frame, unit and place, y up: the mean, each with its number added."""
    mean = np.asarray(model.mean, np.float64)
    bent = mean + np.arange(10)[:, None, None] * 0.1 * np.cos(np.arange(204).reshape(68, 3))
    return (0.01 * bent @ TURN + [5, 6, 7]) * [1, -1, -1]


@pytest.fixture(scope="module")
def root(tmp_path_factory, scans):
    root = tmp_path_factory.mktemp("data")
    (root / "scans").mkdir()
    np.save(root / "scans" / "scans.npy", scans)
    (root / "scans.toml").write_text(SCANS)
    (root / "both.toml").write_text(MIX)
    return root


@pytest.fixture(scope="module")
def both(root):
    return open_dataset(specs.load_spec(root / "both.toml"), "ibug68", root)


def residuals(shapes, model):
    """How far shapes are from the span of a model with the mean of the first one: (F,)."""
    modes = np.concatenate([model.identity, model.expression]).reshape(-1, 204)
    basis, _ = np.linalg.qr(np.asarray(modes, np.float64).T)
    offsets = np.asarray(shapes, np.float64).reshape(-1, 204) - np.asarray(model.mean).ravel()
    return np.linalg.norm(offsets - offsets @ basis @ basis.T, axis=1)


def test_a_mix_takes_from_its_data_sets_what_it_does_not_say(root):
    spec = specs.load_spec(root / "both.toml")
    assert (spec.name, spec.source, spec.topologies) == ("both", "mix", ("ibug68", "flame51"))
    assert [(part.spec.name, part.share) for part in spec.mix] == [
        ("synthetic", 0.75), ("scans", 0.25)]
    assert spec.licence == f"synthetic: {spec.mix[0].spec.licence}; scans: CC0"
    assert spec.obtain == "scans: Scan some."
    assert not spec.expression
    assert specs.find_folder(spec, root) == root
    shipped = specs.load_spec("ict_makehuman")
    robust = specs.load_spec("ict_robust")
    assert (shipped.views, shipped.augmentation) == (robust.views, robust.augmentation)
    assert shipped.expression
    (root / "empty").mkdir(exist_ok=True)
    assert specs.find_folder(robust, root / "empty") == root / "empty" / "ict"
    (root / "empty" / "ict_robust").mkdir(exist_ok=True)
    assert specs.find_folder(robust, root / "empty") == root / "empty" / "ict_robust"


def test_all_parts_are_in_the_frame_and_the_unit_of_the_first(both, model, scans):
    first, second = both.source.parts
    np.testing.assert_array_equal(first.mean, model.mean)
    assert second.unit == both.source.unit == "mm"
    expected = np.asarray(scans[~second.is_test] * [1, -1, -1])  # the frame that the spec states
    rotation, _ = Rotation.align_vectors(
        np.asarray(model.mean) - np.asarray(model.mean).mean(0),
        expected.mean(0) - expected.mean((0, 1)))
    np.testing.assert_allclose(rotation.as_matrix(), TURN, atol=1e-3)
    # Scan k is the mean with k tenths of a millimetre of a wave, or so after the alignment.
    shift = np.asarray(second.points) - np.asarray(second.points).mean(1, keepdims=True)
    whole = np.asarray(model.mean) - np.asarray(model.mean).mean(0)
    size = np.sqrt(np.mean(np.sum((shift - whole) ** 2, axis=2), axis=1))
    assert size.max() < 1.2
    mean = 0.75 * np.asarray(first.mean) + 0.25 * np.asarray(second.mean)
    np.testing.assert_allclose(both.mean, mean, atol=1e-4)


def test_the_modes_of_a_model_turn_with_its_mean(model):
    moved = jax.tree.map(lambda x: 0.1 * x @ TURN.astype(np.float32), model)
    mixture = mix([model, moved], [0.5, 0.5], [True, False])
    for name in ("mean", "identity", "expression"):
        np.testing.assert_allclose(
            getattr(mixture.parts[1], name), getattr(model, name), atol=2e-3)
    assert mixture.expressions == (True, False)


@pytest.mark.parametrize("how", ["draw", "draw_shapes"])
def test_faces_come_from_the_parts_by_share(both, model, how):
    key = jax.random.key(1)
    if how == "draw":
        faces = both.draw(key, NUM)
        points = np.asarray(faces.points)
        assert np.abs(np.asarray(faces.view.yaw)).max() > 40
        assert faces.row is None and faces.identity is None
    else:
        draw = jax.jit(both.draw_shapes, static_argnums=1)
        points = np.asarray(draw(key, NUM))
        np.testing.assert_array_equal(points, draw(key, NUM))
    recorded = np.asarray(both.source.parts[1].points)
    distance = np.abs(points[:, None, :4] - recorded[:, :4]).max(axis=(2, 3))
    scanned = distance.min(axis=1) < 1e-5
    assert scanned.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / NUM))
    assert set(distance[scanned].argmin(axis=1).tolist()) == set(range(8))  # those to train on
    assert residuals(points[~scanned], model).max() < 1e-2
    assert points[~scanned].std(axis=0).min() > 0.1


def test_scans_to_test_on_are_drawn_for_tests_alone(both):
    points = np.asarray(both.draw(jax.random.key(2), 200, test=True).points)
    recorded = np.asarray(both.source.parts[1].points)
    distance = np.abs(points[:, None, :4] - recorded[:, :4]).max(axis=(2, 3))
    scanned = distance.min(axis=1) < 1e-5
    assert set(distance[scanned].argmin(axis=1).tolist()) == {8, 9}


def test_the_jaw_of_a_part_that_knows_no_contour_stays(model):
    """Of a part with jaw lines the jaw slides as it does alone, whatever the other part is."""
    lines = np.asarray(model.mean)[:17, None] * [0.9, 1, 1] - [0, 0, 4.0]
    lines = np.concatenate([lines, lines - [0, 0, 8.0]], axis=1).astype(np.float32)
    still = [np.zeros((len(x), *lines.shape), np.float32)
             for x in (model.identity, model.expression)]
    knows = dataclasses.replace(model, jaw_lines=JawLines(lines, *still))
    turned = jax.tree.map(lambda x: 0.1 * x @ TURN.astype(np.float32), knows)
    moved = mix([model, turned], [0.5, 0.5], [False, False])
    assert moved.parts[0].jaw_lines is None
    np.testing.assert_allclose(moved.parts[1].jaw_lines.mean, lines, atol=5e-3)
    assert moved.jaw_lines is moved.parts[1].jaw_lines
    shapes = np.asarray(moved.draw(jax.random.key(3), 200, jaw_lines=True))
    assert shapes.shape == (200, 68 + 2 * 17, 3)
    behind = shapes[:, 68:].reshape(200, 17, 2, 3)
    stays = np.abs(behind - shapes[:, :17, None]).max((1, 2, 3)) == 0
    assert 0.3 < stays.mean() < 0.7
    np.testing.assert_allclose(behind[~stays], np.broadcast_to(lines, behind[~stays].shape),
                               atol=5e-3)
    spec = dataclasses.replace(specs.load_spec("ict_makehuman"), outline=1.0)
    dataset = Dataset(spec, moved, None)
    plain = dataclasses.replace(dataset, spec=dataclasses.replace(spec, outline=0.0))
    key = jax.random.key(4)
    slid, straight = (np.asarray(d.draw(key, 200).x2d) for d in (dataset, plain))
    np.testing.assert_array_equal(slid[:, 17:], straight[:, 17:])
    went = np.abs(slid - straight).max((1, 2)) > 0.5
    assert 0.2 < went.mean() < 0.8
    assert dataset.draw_shapes(key, 8, jaw_lines=True).shape == (8, 68 + 2 * 17, 3)
    assert dataset.draw_shapes(key, 8).shape == (8, 68, 3)


def test_what_a_mix_has_not_is_said(both, root):
    with pytest.raises(ValueError, match=r"both: pictures and occlusion .* of several sources"):
        both.draw(jax.random.key(0), 4, images=True)
    with pytest.raises(ValueError, match="both: pictures and occlusion need a model"):
        _ = both.dense
    with pytest.raises(ValueError, match="aldrian: the dataset both is no morphable model"):
        registry.load("aldrian", both)
    with pytest.raises(ValueError, match="those of both are drawn from a model"):
        registry.load("external=nothing.npy", both)
    with pytest.raises(ValueError, match=r"dataset scans: no .*Scan some"):
        open_dataset(both.spec, "ibug68", root / "scans")


@pytest.mark.parametrize(("old", "new", "message"), [
    ("share = 0.25", "share = 0.5", r"shares of the mix sum to 1\.25, expected 1"),
    ("share = 0.25", "share = 0.25\nweight = 1", "mix: expected dataset and share, got dataset, "),
    ("share = 0.25", "share = -1", r"mix: expected shares above 0, got -1\.0 of scans\.toml"),
    ('"scans.toml"', '"wrong.toml"', "mix: expected data sets with a source, got another mix"),
    ('"scans.toml"', '"ict_makehuman"', "mix: expected data sets with a source, got another mix"),
    ('"scans.toml"', '"lfw"', "dataset: expected one of .*'lfw'"),
    ("title", 'source = "ict"\ntitle', "takes source, expression and frame from them, got source"),
    ('[[mix]]\ndataset = "scans.toml"\nshare = 0.25', "", "two or more data sets.*got 1"),
])
def test_wrong_mixes_are_named(root, tmp_path, old, new, message):
    (tmp_path / "scans.toml").write_text(SCANS)
    (tmp_path / "both.toml").write_text(MIX)
    (tmp_path / "wrong.toml").write_text(MIX.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"wrong\.toml: .*{message}"):
        specs.load_spec(tmp_path / "wrong.toml")


def test_photographs_are_not_mixed(root, tmp_path, monkeypatch):
    from deepmds_jax.data import sources
    from deepmds_jax.data.recorded import Recordings

    class Photographs:
        def load(self, topology, folder):
            points = np.zeros((2, 68, 3), np.float32)
            return Recordings(points[..., :2], points, ("a", "b"), (None, None), topology, "mm")

        def check(self, folder):
            return []

    monkeypatch.setattr(sources, "_registered", {"photographs": Photographs()})
    (tmp_path / "scans.toml").write_text(SCANS.replace('"shapes"', '"photographs"').replace(
        'frame = "mesh"', ""))
    (tmp_path / "both.toml").write_text(MIX)
    with pytest.raises(ValueError, match="both: mix: expected models and scans, got scans, which"):
        open_dataset(specs.load_spec(tmp_path / "both.toml"), "ibug68", root)
