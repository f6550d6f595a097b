"""The Python of the documentation runs as printed, and its commands name what exists."""

import ast
import importlib
import json
import pathlib
import pickle
import re
import shlex

import numpy as np
import pytest
import trimesh

from deepmds_jax import topologies
from deepmds_jax.data import sources, specs
from deepmds_jax.data.formats import landmark_files, schemes
from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.many import lift
from deepmds_jax.mds.similarities import SIMILARITIES
from deepmds_jax.methods import external, table

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
         for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
         if "_build" not in path.parts}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page, *languages):
    return [text for language, text in FENCE.findall(PAGES[page]) if language in languages]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the Python blocks of a page one after the other; returns their names."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(topologies, "TOPOLOGIES", dict(topologies.TOPOLOGIES))

    def run_page(page):
        namespace = {}
        for text in blocks(page, "python"):
            exec(compile(text, page, "exec"), namespace)
        return namespace

    return run_page


def test_readme(run):
    names = run("README.md")
    assert names["x3d"].shape == (68, 3)
    assert names["placed"].points.shape == (68, 3)
    assert names["result"].embedding.shape == (512, 20, 2)


def test_landmarks(run):
    names = run("docs/landmarks.md")
    assert names["ibug68"].landmarks[30] == "pronasale"
    assert names["collins"].points.shape == (68, 2)
    assert names["hands"].points.shape == (16, 6, 3)
    np.testing.assert_allclose(
        names["turned"].mean, names["dataset"].mean * np.array([1, -1, -1]), atol=1e-6)
    assert names["turned"].spec.augmentation.noise == 0.05


def test_every_format_has_a_sample_that_is_read(tmp_path):
    section = PAGES["docs/landmarks.md"].partition("## Landmark files that are read")[2]
    table = section.partition("All texts")[0]
    samples = re.findall(r"^`([\w.]+)`[^`]*?(?:`[^`\n]+`[^`]*?)*:\n\n```text\n(.*?)^```", section,
                         re.DOTALL | re.MULTILINE)
    assert len(samples) == section.count("```text")
    for name, text in samples:
        (tmp_path / name).write_text(text, encoding="utf-8")
        (face,) = read_landmarks(tmp_path / name, image_size=(300, 200)).values()
        np.testing.assert_allclose(face.points, [[120.5, 80], [180, 82.5], [150, 130]])
        assert face.visible.all()
    endings = set(re.findall(r"`(?:\.mrk)?(\.\w+)`", table))
    assert endings - {pathlib.Path(name).suffix for name, _ in samples} == {
        ".tsv", ".npy", ".npz", ".mat"}
    assert endings == landmark_files._FORMATS.keys()


def test_schemes_of_the_page_are_those_that_are_read():
    section = PAGES["docs/landmarks.md"].partition("### Landmarks of other programs")[2]
    numbers = re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE)
    assert {int(n) for cell in numbers for n in cell.split(",")} == schemes.READ_AS.keys()


def test_embed_fills_in_what_is_hidden_and_is_less_sure_of_it(run):
    names = run("docs/embed.md")
    found = names["found"]
    assert found.points.shape == (51, 3)
    assert found.converged
    assert found.std[:10].mean() > found.std[10:].mean()
    many, same = names["many"], names["same"]
    assert many.sharding.spec == names["faces"]
    for each in (many, same):
        np.testing.assert_allclose(each, np.stack([names["x3d"]] * len(many)), atol=1e-4)


def test_anchored_recognises_a_mirrored_face(run):
    names = run("docs/anchored.md")
    assert names["found"].converged
    assert not names["mirrored"].converged


def test_many_faces(run, monkeypatch):
    monkeypatch.setattr(lift, "BLOCK_ROWS", 4)
    names = run("docs/many_faces.md")
    assert names["table"]["converged"].to_pylist() == [True, True, False]
    assert names["table"]["reason"].to_pylist() == [None, None, "landmarks: null"]
    np.testing.assert_array_equal(np.isnan(names["points"]).any((1, 2)), [False, False, True])


@pytest.mark.usefixtures("without_refinement")
def test_adapting(run):
    names = run("docs/adapting.md")
    learnt = names["learnt"]
    assert learnt.used.all() and learnt.sees_depth
    assert learnt.residual_after < 0.9 * learnt.residual_before
    assert names["x3d"].shape == (50, 51, 3)
    assert names["hands"].used.all() and names["hands"].is_better


def test_video(run):
    names = run("docs/video.md")
    found = names["found"]
    assert found.points.shape == (8, 51, 3)
    assert found.yaw.shape == (8,)
    assert found.converged.all()


def test_mds_reaches_the_stress_that_the_page_names(run, tmp_path):
    names = run("docs/mds.md")
    printed = re.findall(r"(0\.\d+) and 0\.\d+ for\s`(\w+)`", PAGES["docs/mds.md"])
    assert [transform for _, transform in printed] == ["ratio", "ordinal"]
    for stress, transform in printed:
        result = names[transform]
        assert abs(result.stress.mean() - float(stress)) < 6e-4
        assert result.converged.all()
    assert (tmp_path / "mds_shepard.png").stat().st_size > 0
    gradient = np.asarray(names["gradient"])
    assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)
    assert np.all(gradient[0, 1:9] == 0)


def test_maps_of_tables(run, tmp_path):
    names = run("docs/mds_maps.md")
    table = (ROOT / "tests/mds/optima/usage/ekman.csv").read_text().splitlines()[1:]
    lower = [[float(cell or 0) for cell in line.split(",")[1:]] for line in table]
    np.testing.assert_array_equal(names["matrix"], np.tril(lower).T)
    best, search = names["best"], names["search"]
    assert abs(best.stress - 0.0231) < 5e-5
    assert search.times_met == search.num_starts == 20
    np.testing.assert_allclose(names["stress"][:3], [0.257, 0.023, 0.012], atol=6e-4)
    for picture in ("colours.png", "scree.png"):
        assert (tmp_path / picture).stat().st_size > 0
    assert 0.7 < names["fitted"].r_squared[0] < 0.9
    assert names["error"] < 1e-5 < 0.1 < names["error_from_the_middle"] < 0.14
    assert np.abs(names["found"] - names["truth"]).max() < 1e-5
    assert names["placed"].shape == (3, 2)
    assert names["fitted_pairs"].stress_ < 0.2


def test_what_bin_mds_prints_is_on_the_page():
    section = PAGES["docs/mds_maps.md"].partition("## One table")[0]
    assert "stress-1 0.05801, converged" in section  # as the oracle has it, for eurodist
    optimum = json.loads((ROOT / "tests/mds/optima/eurodist.json").read_text())["runs"]["2"]
    assert f"{optimum['optimum']['ordinal_primary']['stress1']:.4g}" == "0.05801"
    ways = re.findall(r"^\| `(\w+)` \|", PAGES["docs/mds_maps.md"].partition("## Similarities")[2],
                      re.MULTILINE)
    assert tuple(ways[:len(SIMILARITIES)]) == SIMILARITIES


def test_experiments_take_landmarks_from_the_meshes_of_ringnet(run, tmp_path):
    rng = np.random.default_rng(0)
    triangles, points = rng.integers(0, 5023, (9976, 3)), rng.normal(size=(5023, 3))  # as FLAME has
    chosen = rng.integers(0, 9976, 51)
    (tmp_path / "FLAME").mkdir()
    (tmp_path / "FLAME" / "flame_static_embedding.pkl").write_bytes(pickle.dumps(
        {"lmk_face_idx": chosen, "lmk_b_coords": np.eye(3)[np.arange(51) % 3]}, 4))
    (tmp_path / "RingNet").mkdir()
    for name, size in [("ada", 1), ("grace.b", 2)]:
        trimesh.Trimesh(size * points, triangles, process=False).export(
            tmp_path / "RingNet" / f"{name}.obj")
    run("docs/experiments.md")
    found = external.read_predictions(tmp_path / "RingNet.npz", ["ada", "grace.b"])
    expected = points[triangles[chosen, np.arange(51) % 3]]
    for name, size in [("ada", 1), ("grace.b", 2)]:
        np.testing.assert_allclose(found[name], size * expected, atol=1e-5)


def test_mds_for_harder_data_prints_the_figures_of_the_page(run, capsys):
    run("docs/mds_models.md")
    page, printed = PAGES["docs/mds_models.md"], {}
    for line in capsys.readouterr().out.splitlines():
        name, _, values = line.partition(": ")
        kind = re.match(r"[a-z]+", values)
        key = (name, kind[0]) if kind else name
        printed[key] = [float(x) for x in re.findall(r"\d+\.?\d*(?:e-?\d+)?", values)]
    plain, ordinal, robust = printed["wrong value"]
    assert plain < 0.3 < 0.85 < ordinal < 0.96 and robust > 0.997
    for transform, stress, correlation in re.findall(
            r"^\| (ratio|interval|ordinal)[^|]*\| (0\.\d+) \| (0\.\d{3}) \|$", page, re.MULTILINE):
        np.testing.assert_allclose(printed["unfolding", transform],
                                   [float(stress), float(correlation)], atol=0.01)
    errors = {key[1]: values[1] for key, values in printed.items() if key[0] == "curve"}
    assert errors["spline"] < 1e-5 < errors["ordinal"] < errors["interval"] < errors["ratio"]
    deviation, stability = printed["deviations"]
    assert 0.025 < deviation < 0.04 and stability > 0.999
    stress, least, p_value = printed["permutations"]
    assert stress < 0.04 < 0.3 < least and p_value == 0.002
    assert printed["subjects", "indscal"][0] < 0.6 * printed["subjects", "identity"][0]
    assert printed["axes"][0] > 0.999


def test_recipes(run, monkeypatch):
    # What the page registers is forgotten afterwards.
    monkeypatch.setattr(table, "METHODS", dict(table.METHODS))
    monkeypatch.setattr(sources, "_registered", dict(sources._registered))
    names = run("docs/extending.md")
    assert names["corners6"].mirror == (3, 2, 1, 0, 5, 4)
    assert names["faces"].x2d.shape == (16, 6, 2)
    errors = {title: scores.mse.mean() for title, scores in names["scores"].items()}
    assert errors["linear depth"] < 0.8 * errors["flat"]
    assert names["linear"].num_params == 12 * 6 + 6
    assert "linear_depth" in table.trained_names()
    # The mean face of the file, with y turned down, is what the faces scatter around.
    assert names["dataset"].mean[4, 1] == 40


def test_every_page_with_python_is_run_here():
    source = pathlib.Path(__file__).read_text(encoding="utf-8")
    for page in PAGES:
        assert not blocks(page, "python") or f'run("{page}")' in source, page


def commands():
    """(page, words) of each command that runs a program of the clone."""
    for page, text in PAGES.items():
        lines = [line for block in blocks(page, "sh")
                 for line in block.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
        for line in lines:
            for part in line.split("&&"):
                try:
                    words = shlex.split(part, comments=True)
                except ValueError:
                    continue  # a span of code with an apostrophe, no command
                words = words[words[:1] == ["time"]:]
                if words and pathlib.PurePath(words[0]).name.startswith("python"):
                    words = words[1:]
                if words and re.match(r"(bin|benchmarks)/\w", words[0]):
                    yield page, words


def flags_of(program):
    """The flags that a program of `bin/`, or a script, defines."""
    folder, _, name = program.partition("/")
    if folder == "bin":
        return set(importlib.import_module(f"deepmds_jax.cli.{name}")._FLAGS)
    calls = [node for node in ast.walk(ast.parse((ROOT / program).read_text()))
             if isinstance(node, ast.Call)]
    return {"help", *(call.args[0].value for call in calls
                      if getattr(call.func, "attr", "").startswith("DEFINE_"))}


def test_commands_name_programs_flags_and_data_sets_that_exist():
    found = list(commands())
    assert {words[0] for _, words in found} >= {
        "bin/check", "bin/convert", "bin/eval", "bin/reconstruct", "bin/train", "benchmarks/mds.py"
    }
    flags = {words[0]: flags_of(words[0]) for _, words in found}
    for page, (program, *words) in found:
        for word in words:
            if not word.startswith("--"):
                continue
            name, _, value = word[2:].partition("=")
            assert name in flags[program] or name.removeprefix("no") in flags[program], (
                f"{page}: {program} has no flag {word}")
            if page == "docs/extending.md":
                continue  # its reader has made a data set
            if name in ("dataset", "reference"):
                assert value in specs.names(), f"{page}: {word}"
            if name == "topology":
                known = (ROOT / value).is_file() or value in topologies.TOPOLOGIES
                assert known, f"{page}: {word}"


def test_links_lead_to_files():
    for page, text in PAGES.items():
        folder = (ROOT / page).parent
        for target in re.findall(r"\]\(([^)#:\s]+)[^):]*\)", FENCE.sub("", text)):
            assert (folder / target).exists(), f"{page}: {target}"
        for path in re.findall(r"(?<![/\w])((?:examples|data_specs|tests|deepmds_jax)/[\w/]+\.\w+)",
                               text):
            if page != "docs/extending.md":  # which names files that its reader writes
                assert (ROOT / path).exists(), f"{page}: {path}"
