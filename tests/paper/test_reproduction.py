import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
from PIL import Image

import deepmds_jax as dm
from deepmds_jax import save_params
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.data.specs import load_spec
from deepmds_jax.evaluation.setting import Setting
from deepmds_jax.methods import deep_mds
from deepmds_jax.paper import paper_tables, trivial_case
from deepmds_jax.paper.experiments import Experiments
from deepmds_jax.paper.photographs import as_faces, open_photographs
from deepmds_jax.paper.published import SCORES, Data
from deepmds_jax.paper.reproduction import ITEMS, reproduce

CHEAP = ("mean_shape", "posed_mean")
NUM_FACES = 40  # the same everywhere, so that tests share their compiled programs
TABLE_1 = SCORES["table1"].data


@pytest.fixture
def setting(tmp_path, monkeypatch):
    monkeypatch.setattr(trivial_case, "NUM_OUTPUTS", NUM_FACES)
    monkeypatch.setattr(paper_tables, "_BATCH", NUM_FACES)  # of what is timed
    return Setting(tmp_path / "data", runs=tmp_path / "runs", methods=CHEAP,
                   num_faces=NUM_FACES)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Four photographs, whatever data are asked for, with MobileFace's predictions of three.

    The predictions are in two files of one name, as its own of photographs come.
    """
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4, 51, 3)).astype(np.float32)
    source = Recordings(
        jnp.asarray(points[..., :2]), jnp.asarray(points), list("abcd"), [None] * 4, "flame51", "mm"
    )
    dataset = Dataset(load_spec("celeba"), source, tmp_path / "celeba")
    data = Data("celeba", "flame51", "celeba")
    monkeypatch.setattr(Experiments, "_choose", lambda self, candidates: (data, dataset, ()))
    monkeypatch.setattr(Setting, "open", lambda self, name, topology: dataset)
    texts = []
    for sub in ("x", "y"):
        (tmp_path / sub).mkdir()
        np.savez(tmp_path / sub / "MobileFace.npz", **dict(zip("abc", points, strict=False)))
        texts.append(f"external={tmp_path / sub / 'MobileFace.npz'}")
    return Setting(tmp_path, runs=tmp_path, methods=(*texts, "mean_shape"))


def write_bfm(folder, num_vertices=53490):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    scipy.io.savemat(folder / "01_MorphableModel.mat", {
        "shapeMU": rng.normal(size=(3 * num_vertices, 1)).astype(np.float32) * 1e5,
        "shapePC": rng.normal(size=(3 * num_vertices, 2)).astype(np.float32),
        "shapeEV": np.array([[2e6], [5e5]], np.float32),
        "texMU": rng.uniform(0, 255, (3 * num_vertices, 1)).astype(np.float32),
        "texPC": rng.normal(size=(3 * num_vertices, 2)).astype(np.float32),
        "texEV": np.ones((2, 1), np.float32),
        "tl": rng.integers(1, num_vertices + 1, (1000, 3)).astype(np.float64),
        "segbin": np.zeros((num_vertices, 4), np.uint8),
    })
    vertices = rng.permutation(num_vertices)[:72].reshape(1, 72) + 1
    scipy.io.savemat(folder / "landmarks_me_72.mat", {"landmarks": vertices.astype(np.uint16)})


def write_ict(folder):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    num_vertices = 9409  # the jaw is at vertices of the whole mesh
    np.savez(folder / "ict_face_dense.npz", mean=rng.normal(size=(num_vertices, 3)) * 5,
             identity=rng.normal(size=(3, num_vertices, 3)) * 0.1,
             expression=rng.normal(size=(2, num_vertices, 3)),
             quads=np.zeros((1, 4), np.int32), landmark_vertices=np.arange(68))


def save_quick_weights(setting):
    """A run's weights of Deep-MDS: those shipped, with the solver that compiles in less time."""
    run = setting.run("deep_mds", "synthetic", "ibug68")
    params = dm.load_pretrained("ibug68_published")
    config = dataclasses.replace(params.config, transform="ratio", max_iters=100)
    save_params(run / "weights.safetensors", dataclasses.replace(params, config=config), {})
    return run


def read_csv(path):
    with open(path, newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_the_papers_data_are_used_the_moment_they_load(setting, tmp_path):
    data, _, notes = Experiments(setting).choose(TABLE_1)
    assert data == ("synthetic", "ibug68", "synthetic")
    assert "stand in" in notes[0]
    assert "landmarks_me_72.mat" in notes[1]
    write_ict(tmp_path / "data" / "ict")
    data, _, notes = Experiments(setting).choose(TABLE_1)
    assert data == ("ict", "ibug68", "ict")
    assert "ICT" in notes[0]
    write_bfm(tmp_path / "data" / "bfm")
    data, dataset, notes = Experiments(setting).choose(TABLE_1)
    assert data == ("bfm", "bfm72", "bfm")
    assert dataset.mean.shape == (72, 3)
    assert notes == ()


def test_a_dataset_may_lie_elsewhere_and_share_its_files(tmp_path):
    write_ict(tmp_path / "somewhere")
    setting = Setting(tmp_path / "data", {"ict": tmp_path / "somewhere"}, tmp_path / "runs")
    data, dataset, _ = Experiments(setting).choose(SCORES["table4"].data)
    assert data.dataset == "ict_expression"
    assert dataset.folder == tmp_path / "somewhere"


def test_landmarks_without_shipped_weights_stand_in_once_trained(setting, tmp_path):
    _, _, notes = Experiments(setting).choose(TABLE_1)
    assert "bin/train --dataset=synthetic --topology=bfm72" in notes[-1]
    run = setting.run("deep_mds", TABLE_1[2].train, TABLE_1[2].topology)
    shapes = jax.eval_shape(lambda: deep_mds.init(deep_mds.Config("bfm72"), jax.random.key(0)))
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    save_params(run / "weights.safetensors", params, {})
    experiments = Experiments(setting)
    data, _, _ = experiments.choose(TABLE_1)
    assert data == ("synthetic", "bfm72", "synthetic")
    assert experiments.params(data).config.topology == "bfm72"
    assert run == tmp_path / "runs" / "synthetic_bfm72"  # where bin/train puts it


def test_a_table_has_the_papers_numbers_beside_ours(setting, tmp_path):
    out, pages = tmp_path / "out", []
    left_out = reproduce(["table1"], setting, out, pages.append)
    rows = read_csv(out / "table1.csv")
    assert float(rows["Deep-MDS"]["MSE, paper"]) == 1.4
    assert float(rows["Deep-MDS"]["DepthCorr, paper"]) == 71.95
    assert float(rows["Zhao et al."]["trace/N, paper"]) == pytest.approx(71.42 / 72)
    assert rows["Deep-MDS"]["MSE"] == ""  # it was not asked for
    assert float(rows["Deep-MDS, one output for all faces"]["MSE, paper"]) == 2.9
    assert rows["mean shape"]["MSE, paper"] == ""  # the paper has no such row
    # In units of 1e-4: a constant face is some tenths of a per cent of the face's box away.
    assert 0.1 < float(rows["mean shape"]["MSE"]) < 10
    assert float(rows["mean shape"]["DepthCorr"]) <= 68
    assert float(rows["posed mean"]["MSE"]) < float(rows["mean shape"]["MSE"])
    page = (out / "table1.md").read_text()
    for text in ("stand in", "10 random samples of 4 of 40", "N = 68", "1.4", "p exact"):
        assert text in page, text
    assert r"\toprule" in (out / "table1.tex").read_text()
    tests = json.loads((out / "table1_significance.json").read_text())["rows"]
    assert {row["criterion"] for row in tests} == {"MSE", "DepthCorr (trace)"}
    assert {row["p exact"] for row in tests} <= {k / 2**9 for k in range(1, 2**9 + 1)}
    assert "MSE, paper" in pages[0]
    assert any("landmarks_me_72.mat" in line for line in left_out)


def test_table_2_counts_as_the_paper_does_and_times_what_is_here(setting, tmp_path):
    setting = dataclasses.replace(setting, methods=("posed_mean",))
    reproduce(["table2"], setting, tmp_path, lambda page: None)
    rows = read_csv(tmp_path / "table2.csv")
    for name, count in {"Deep-MDS": 27_505, "Zhao et al.": 114_840, "MobileFace": 900_979}.items():
        assert rows[name]["parameters, N = 72"] == str(count)
        assert rows[name]["parameters, paper"] == f"{count:,}"
        assert rows[name]["ms a face, alone"] == ""  # none of them was asked for
    assert rows["RingNet"]["parameters, paper"] == "> 23,000,000"
    assert 0 < float(rows["posed mean"]["ms a face, alone"]) < 1e4
    assert "jax" in (tmp_path / "table2.md").read_text()


def test_a_method_that_cannot_run_is_left_out_and_the_others_go_on(setting, tmp_path):
    setting = dataclasses.replace(setting, methods=("mean_shape", "zhao=nowhere"))
    left_out = reproduce(["table1"], setting, tmp_path / "out", lambda page: None)
    assert any(line.startswith("table1: zhao") and "nowhere" in line for line in left_out)
    assert "nowhere" in (tmp_path / "out" / "table1.md").read_text()
    assert float(read_csv(tmp_path / "out" / "table1.csv")["mean shape"]["MSE"]) > 0


def test_what_cannot_be_made_is_left_out_unless_it_is_all(setting, tmp_path):
    photographs = tmp_path / "data" / "celeba"
    for name in ("images", "landmarks"):
        (photographs / name).mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(photographs / "images" / "a.jpg")
    np.save(photographs / "landmarks" / "a.npy", np.arange(14.0).reshape(7, 2))
    pages = []
    left_out = reproduce(["photographs", "samples"], setting, tmp_path / "out", pages.append)
    assert left_out[0].startswith("photographs: ")
    assert "[51, 68, 72] landmarks" in left_out[0]
    assert pages[0].startswith("photographs is left out")
    assert not list((tmp_path / "out").glob("photographs*"))
    assert "photographs" in (tmp_path / "out" / "all.md").read_text()
    with Image.open(tmp_path / "out" / "samples.png") as picture:
        assert picture.size[0] > 1000
    assert "<svg" in (tmp_path / "out" / "samples.svg").read_text()
    with pytest.raises(ValueError, match="7"):
        reproduce(["photographs"], setting, tmp_path / "other", pages.append)
    assert not (tmp_path / "other").exists()


def test_no_share_of_the_trace_is_above_1(recorded, tmp_path):
    reproduce(["table4"], recorded, tmp_path, lambda page: None)
    rows = read_csv(tmp_path / "table4.csv")
    assert float(rows["MediaPipe"]["DepthCorr, paper"]) == 68
    assert rows["MediaPipe"]["trace/N, paper"] == ""
    assert "at most 51" in (tmp_path / "table4.md").read_text()


def test_every_table_and_figure_of_the_paper_has_a_name():
    tables, figures = (f"table{i}" for i in range(1, 5)), (f"figure{i}" for i in range(2, 7))
    assert list(ITEMS)[:9] == [*tables, *figures]
    assert list(ITEMS)[9:] == ["frontal_views", "shapes", "samples", "photographs", "parts"]


def test_figure_4_has_a_cell_for_the_face_that_a_program_did_not_find(recorded, tmp_path):
    """MobileFace's predictions are of three of four photographs, and those are the truth."""
    setting = dataclasses.replace(recorded, methods=recorded.methods[:1])
    reproduce(["figure4"], setting, tmp_path, lambda page: None)
    picture = (tmp_path / "figure4.svg").read_text()
    assert picture.count("<!-- N/A -->") == 1
    assert picture.count("<!-- 0.0 % -->") == 3
    assert '"N/A": the method found no face' in (tmp_path / "figure4.md").read_text()


def test_figures_3_and_5_take_the_examples_where_there_are_no_photographs(setting, tmp_path):
    save_quick_weights(setting)  # for figure 3; figure 5 has the shipped ones
    setting = dataclasses.replace(setting, methods=("deep_mds",))
    reproduce(["figure3", "figure5"], setting, tmp_path / "out", lambda page: None)
    for name in ("figure3", "figure5"):
        page = (tmp_path / "out" / f"{name}.md").read_text()
        assert "The two example photographs" in page
        picture = (tmp_path / "out" / f"{name}.svg").read_text()
        assert picture.count("<image") == 2
        assert all(f"<!-- {text} -->" in picture for text in ("collins", "hopper", "Deep-MDS"))


def test_predictions_called_like_a_network_need_no_pictures_and_none_replaces_another(recorded):
    scored = Experiments(recorded).score(SCORES["table3"].data, ())
    assert next(iter(scored.methods)) == "mobileface"
    assert len(scored.methods) == len(scored.results) == 2
    assert [line.partition(":")[0] for line in scored.left_out] == ["mean_shape"]
    assert scored.faces.row is not None
    np.testing.assert_array_equal(
        [np.asarray(m.mse) < 1e-9 for m in scored.results.values()],
        [np.asarray(scored.faces.row) < 3] * 2)


def test_all_pages_end_with_one_that_tells_the_order_of_the_methods(setting, tmp_path):
    save_quick_weights(setting)
    setting = dataclasses.replace(setting, methods=("deep_mds", *CHEAP, "zhao"))
    reproduce(["table1", "samples"], setting, tmp_path, lambda page: None)
    page = (tmp_path / "all.md").read_text().partition("# At a glance")[2]
    assert "On the paper's data: nothing." in page
    assert "table1: " in page
    assert "Deep-MDS is behind what learns nothing: mean shape and posed mean." in page
    assert "Not run: Zhao et al., Aldrian & Smith, MobileFace." in page
    assert "- table1: zhao: no training run" in page
    rows = read_csv(tmp_path / "glance.csv")
    assert list(rows) == ["Deep-MDS", "Deep-MDS, one output for all faces"]
    assert [row["rank, paper"] for row in rows.values()] == ["1", "2"]
    order = json.loads((tmp_path / "glance_order.json").read_text())["rows"]
    better = float(rows["Deep-MDS"]["MSE, ours"]) < float(list(rows.values())[1]["MSE, ours"])
    assert order[0]["same order"] == ("yes" if better else "no")
    faces = json.loads((tmp_path / "glance_whose.json").read_text())["rows"]
    assert [row["the paper's data"] for row in faces] == ["no", "no"]
    assert page == "\n\n" + (tmp_path / "glance.md").read_text().partition("\n\n")[2]


def test_a_barely_trained_run_says_so_wherever_it_is_named(setting, tmp_path):
    run = save_quick_weights(setting)
    for stage, steps in (("autoencoder", "20000"), ("dissimilarity", "400")):
        (run / stage / steps).mkdir(parents=True)
    (run / "dissimilarity" / "90").mkdir()
    setting = dataclasses.replace(setting, methods=("deep_mds",))
    scored = Experiments(setting).prepare(TABLE_1, ())
    assert scored.methods["deep_mds"].title == "Deep-MDS, barely trained: 400 steps"
    (run / "dissimilarity" / "80000").mkdir()
    assert Experiments(setting).prepare(TABLE_1, ()).methods["deep_mds"].title == "Deep-MDS"


def test_reasons_name_what_was_barely_trained_once(setting, tmp_path):
    run = save_quick_weights(setting)
    (run / "dissimilarity" / "90").mkdir(parents=True)
    setting = dataclasses.replace(setting, methods=("deep_mds",))
    reproduce(["table1", "table2"], setting, tmp_path / "out", lambda page: None)
    page = (tmp_path / "out" / "glance.md").read_text()
    assert page.count("Deep-MDS is barely trained: 90 steps.") == 1
    assert "steps, one output" not in page.partition("## Numbers")[0]


def test_figure_5_takes_photographs_that_have_its_landmarks_beside_others(tmp_path):
    """Those of table 3 have 72 landmarks; the 51 of figure 5 lie in a folder of their own."""
    folder = tmp_path / "celeba"
    rng = np.random.default_rng(0)
    for name in ("images", "landmarks"):
        (folder / name).mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(folder / "images" / "a.jpg")
    np.save(folder / "landmarks" / "a.npy", rng.uniform(10, 30, (72, 2)))
    dataset, notes = open_photographs(Setting(tmp_path), "flame51")
    assert dataset.source.names == ["collins", "hopper"]
    assert "landmarks/NAME.npy of flame51" in notes[0]
    assert open_photographs(Setting(tmp_path), None)[0].topology == "bfm72"
    reproduce(["photographs"], Setting(tmp_path), tmp_path / "out", lambda page: None)
    assert "The weights are flame51_published." in (tmp_path / "out/photographs.md").read_text()
    x2d = rng.uniform(10, 30, (51, 2))
    (folder / "landmarks_flame51").mkdir()
    np.save(folder / "landmarks_flame51" / "a.npy", x2d)
    dataset, _ = open_photographs(Setting(tmp_path), "flame51")
    assert dataset.source.names == ["a"]
    np.testing.assert_allclose(dataset.source.x2d[0], x2d, rtol=1e-6)
    assert as_faces(dataset, [0], pictures=True).images.shape == (1, 96, 96, 3)
