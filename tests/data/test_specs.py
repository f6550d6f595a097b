import pathlib

import jax
import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.views import Choice, Uniform


def test_every_spec_reads_and_names_known_topologies():
    assert {"synthetic", "ict", "bfm"} <= set(specs.names())
    for name in specs.names():
        spec = specs.load_spec(name)
        assert spec.name == name
        for topology in spec.topologies:
            topologies.get(topology)


@pytest.mark.parametrize("name", [
    "bfm", "bfm2017", "coma", "flame", "ict", "ict_expression", "synthetic",
])
def test_the_papers_views(name):
    perspective, turned, frontal = specs.load_spec(name).views
    assert (perspective.share, turned.share, frontal.share) == (0.3, 0.3, 0.4)
    assert perspective.yaw == Uniform(-45, 45)
    assert perspective.pitch == Uniform(-30, 0)  # the camera is above, so the face looks down
    assert perspective.field_of_view == Uniform(0, 5)
    assert turned.yaw == Choice((-45, 0, 45))
    assert frontal.yaw == Choice((0,))


def test_wide_views_have_every_pose_selfies_and_a_detector():
    spec = specs.load_spec("ict_wide")
    assert (spec.expression, spec.noise, spec.occlusion) == (True, 0.01, True)
    for group in spec.views:
        assert (group.yaw, group.pitch, group.roll) == (
            Uniform(-80, 80), Uniform(-35, 35), Uniform(-30, 30))
    assert spec.views[0].field_of_view == Choice((0,))
    # At 30 cm; the farthest landmark of ICT's mean face is 10.15 cm from their centroid.
    assert spec.views[1].field_of_view.high == pytest.approx(
        2 * np.degrees(np.arctan(10.15 / 30)), abs=0.5)


def test_photographs_need_no_views(tmp_path, monkeypatch):
    text = (specs._folder() / "synthetic.toml").read_text()
    (tmp_path / "photos.toml").write_text(text.split("[[views]]")[0])
    monkeypatch.setattr(specs, "_FOLDERS", (tmp_path,))
    spec = specs.load_spec("photos")
    assert (spec.views, spec.noise, spec.occlusion) == ((), 0, False)


def test_scale_and_shift_are_read(tmp_path, monkeypatch):
    text = (specs._folder() / "synthetic.toml").read_text().split("[[views]]")[0]
    (tmp_path / "weak.toml").write_text(
        f"noise = 0.5\n{text}[[views]]\nshare = 1\nscale = [1, 2]\nshift = {{ choice = [0, 3] }}\n")
    monkeypatch.setattr(specs, "_FOLDERS", (tmp_path,))
    spec = specs.load_spec("weak")
    assert spec.noise == 0.5
    assert (spec.views[0].scale, spec.views[0].shift) == (Uniform(1, 2), Choice((0, 3)))


def test_unknown_dataset_raises():
    with pytest.raises(ValueError, match="'lfw'"):
        specs.load_spec("lfw")


def test_missing_files_say_what_from_where_and_where_to():
    spec = specs.load_spec("bfm")
    with pytest.raises(ValueError, match=r"01_Morphable.*faces\.dmi\.unibas\.ch.*--data_dir"):
        open_dataset(spec, "bfm72", pathlib.Path("nowhere"))


def test_topology_the_dataset_does_not_have_raises():
    with pytest.raises(ValueError, match="'bfm72'"):
        open_dataset(specs.load_spec("ict"), "bfm72", pathlib.Path("nowhere"))


@pytest.mark.parametrize(("line", "message"), [
    ("share = 0.5", "sum to 0.5"),
    ("share = 1.0\nyawn = 3", "yawn"),
    ("share = 1.0\nyaw = [1, 2, 3]", "positional"),
    ("share = 1.0\n[noises]", "noises"),
    ("share = 1.0\nyaw = 'left'", r"wrong\.toml.*left"),
])
def test_wrong_specs_name_the_entry(tmp_path, monkeypatch, line, message):
    text = (specs._folder() / "synthetic.toml").read_text()
    (tmp_path / "wrong.toml").write_text(f"{text.split('[[views]]')[0]}\n[[views]]\n{line}\n")
    monkeypatch.setattr(specs, "_FOLDERS", (tmp_path,))
    with pytest.raises(ValueError, match=message):
        specs.load_spec("wrong")


def test_synthetic_needs_no_folder():
    model = open_dataset(specs.load_spec("synthetic"), "bfm72", pathlib.Path("nowhere")).source
    assert model.mean.shape == (72, 3)
    assert jax.tree.leaves(model)[0].dtype == "float32"
