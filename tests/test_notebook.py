"""The notebook in examples/: well formed, with links that agree and cells that run."""

import ast
import configparser
import contextlib
import io
import json
import pathlib
import re
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "deepmds_jax.ipynb"
CONTENT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CELLS = CONTENT["cells"]
TEXT = "\n".join("".join(cell["source"]) for cell in CELLS)


def test_it_is_a_notebook_without_outputs():
    assert (CONTENT["nbformat"], CONTENT["nbformat_minor"]) == (4, 5)
    assert CONTENT["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in CELLS]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[\w-]{1,64}", name) for name in ids)
    always = {"cell_type", "id", "metadata", "source"}
    for cell in CELLS:
        if cell["cell_type"] == "code":
            assert cell.keys() == always | {"outputs", "execution_count"}
            assert cell["outputs"] == [] and cell["execution_count"] is None
            ast.parse("".join(cell["source"]))  # plain Python: no magic
        else:
            assert cell["cell_type"] == "markdown" and cell.keys() == always


def test_badge_installation_and_links_name_this_repository_and_files_of_it():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    address = config["metadata"]["url"]
    owner = address.removeprefix("https://github.com/")
    badge = f"https://colab.research.google.com/github/{owner}/blob/main/examples/{NOTEBOOK.name}"
    assert f"({badge})" in TEXT
    for page in "README.md", "docs/run_anywhere.md":
        assert f"({badge})" in (ROOT / page).read_text(encoding="utf-8")
    assert f'address = "{address}"' in TEXT
    links = re.findall(rf"\({re.escape(address)}/blob/main/([^)#]+)", TEXT)
    assert len(links) >= 4
    for path in links:
        assert (ROOT / path).is_file(), path


@pytest.fixture(scope="module")
def ran():
    """The names after all cells ran, and what they printed, where there is no MediaPipe."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    names, printed = {}, io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(NOTEBOOK.parent)
        patch.setitem(sys.modules, "mediapipe", None)
        pyplot.switch_backend("agg")
        with contextlib.redirect_stdout(printed):
            for cell in CELLS:
                if cell["cell_type"] == "code":
                    exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        yield names, printed.getvalue()
        pyplot.close("all")


def test_photograph_falls_back_on_the_example(ran):
    names, printed = ran
    assert "pip install 'deepmds-jax[photos]'" in printed
    assert names["x2d"].shape == (68, 2)
    assert names["found"].converged and "is it a face? True" in printed


def test_faces_are_drawn_upright_and_not_mirrored(ran):
    from mpl_toolkits.mplot3d import proj3d

    names, _ = ran
    right, left, nose, chin = 36, 45, 30, 8

    def drawn(axes):
        """(3, 68) across, up and depth in the picture, from the ends of the lines."""
        places = np.full((3, 68), np.nan)
        lines = axes.lines[-len(names["edges"]):]  # those before them show the deviations
        for edge, line in zip(names["edges"], lines, strict=True):
            places[:, edge] = proj3d.proj_transform(*line.get_data_3d(), axes.get_proj())
        return places

    front, turned, profile = map(drawn, names["views"])
    for across, up, _ in (front, turned):
        assert across[right] < across[nose] < across[left]  # the subject's sides
        assert up[chin] < up[nose] < up[left]
    assert profile[0, nose] == profile[0].min()  # the left profile looks to the left


def test_own_landmarks_are_those_of_the_example_and_a_mirrored_face_is_told(ran):
    from deepmds_jax.data.formats.landmark_files import read_landmarks

    names, printed = ran
    pts = read_landmarks(NOTEBOOK.parent / "collins.pts")["collins"].points
    np.testing.assert_allclose(names["mine"], pts + 1, atol=1e-4)  # .pts counts from 1
    assert np.sqrt((np.asarray(names["x3d"]) ** 2).sum(-1).mean()) == pytest.approx(1, abs=1e-4)
    assert "as given: converged True" in printed
    assert "mirrored: converged False" in printed


def test_the_loop_finds_the_stretch_as_well_as_the_text_says(ran):
    names, _ = ran
    assert "within 6 %" in TEXT
    for path in names["paths"].values():
        assert abs(path[-1, 0] / names["TRUE"] - 1) < 0.06
        assert path[-1, 1] < 0.7 * path[0, 1]
        assert abs(path[-1, 0] - path[-5, 0]) < 0.002  # it has come to rest


def test_mds_recovers_the_ring_where_distances_have_no_error(ran):
    names, _ = ran
    embedding, true = np.asarray(names["result"].embedding[0]), names["true"]
    distances = np.linalg.norm(embedding[:, None] - embedding, axis=-1)
    np.testing.assert_allclose(distances / distances.max(), true / true.max(), atol=2e-3)
    assert names["result"].converged.all()
