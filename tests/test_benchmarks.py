"""The MDS benchmark, at a size that only shows that it measures and writes."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.linalg import eigh

BENCHMARKS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import mds

    return mds


def test_scaling_is_timed_at_its_stress_and_reported(scaling, tmp_path):
    case = scaling.Case("faces", 68, 3, (2,))
    plan = scaling.Plan((case,), subset=1, budget_s=0.0, limit_s=60.0)
    results = scaling.benchmark(plan)
    paths = scaling.mds_report.write(tmp_path / "results", results)
    assert [path.suffix for path in paths] == [".json", ".md", ".png"]

    written = json.loads(paths[0].read_text())
    assert written == results
    kinds = {"ratio": 2 * ["scikit-learn"], "ordinal": 2 * ["scikit-learn"]}
    for package, tools in (("vegan", 1), ("MASS", 2)):
        if written["machine"]["versions"][package] is not None:
            kinds["ordinal"] += tools * [package]
    rows = written["rows"]
    kinds["ratio"].append("deepmds_jax")  # with its default and with the tolerance below
    assert [(row["transform"], re.split(",|::", row["tool"])[0]) for row in rows] == [
        (transform, tool) for transform, tools in kinds.items() for tool in [*tools, "deepmds_jax"]
    ]
    assert not written["skipped"]
    for row in rows:
        assert row["problems_per_s"] * row["ms_per_problem"] == pytest.approx(1e3)
        if row["tool"] == "deepmds_jax, tolerance 0.001":
            assert row["stress"] < rows[0]["stress"]  # of scikit-learn's default
            continue
        exact = row["tool"] in ("deepmds_jax", "vegan::monoMDS") or "1e-9" in row["tool"]
        assert abs(row["relative_excess"]) < (1e-5 if exact else 0.1)

    page = paths[1].read_text()
    assert page.count("| deepmds_jax |") == 2
    assert ("R not installed" in page) == (shutil.which("Rscript") is None)
    with Image.open(paths[2]) as picture:
        assert min(picture.size) > 1000


def test_work_that_would_take_too_long_is_left_out(scaling):
    limit = scaling.Limit(10.0)
    small, large = (scaling.Case("general", n, 2, (1,)) for n in (100, 400))
    assert limit.allows(small, "tool", 1)
    limit.note(small, "tool", 1, 0.5)  # 4 times the points: 0.5 * 4**2.5 = 16 s
    assert limit.allows(large, "other tool", 1)
    assert limit.allows(small, "tool", 20)
    assert not limit.allows(large, "tool", 1)
    assert limit.skipped == ["tool, general, 1 x 400 points"]


def test_stress_is_that_of_the_best_disparities(scaling):
    # Points 0, 1 and 3 on a line: distances 1, 3, 2 of the pairs 01, 02, 12.
    points = np.array([[[0.0], [1.0], [3.0]]])
    dissimilarities = np.array([[[0, 2, 6], [2, 0, 4], [6, 4, 0]]], np.float32)
    for transform in ("ratio", "ordinal"):
        assert scaling.stress_of(dissimilarities, points, transform) == pytest.approx(0)
    # 01, 02, 12 = 1, 1, 2: ratio b = (1 + 3 + 4) / 6 leaves (1/3)^2 + (5/3)^2 + (2/3)^2 = 30 / 9;
    # ordinal may put the tied 01 first and pools 3 and 2: 1 / 2.
    dissimilarities = np.array([[[0, 1, 1], [1, 0, 2], [1, 2, 0]]], np.float32)
    for transform, square in (("ratio", 30 / 9), ("ordinal", 1 / 2)):
        found = scaling.stress_of(dissimilarities, points, transform)
        assert found == pytest.approx(np.sqrt(square / 14))


def classical(dissimilarities, num_dims):
    """Torgerson's scaling of one matrix, by LAPACK."""
    centre = np.eye(len(dissimilarities)) - 1 / len(dissimilarities)
    values, vectors = eigh(-0.5 * centre @ dissimilarities**2 @ centre)
    return vectors[:, -num_dims:] * np.sqrt(values[-num_dims:])


def test_problems_are_noisy_distances(scaling):
    for data, n, noise in (("faces", 68, 0.03), ("general", 30, 0.1)):
        case = scaling.Case(data, n, 3, (1,))
        problems = scaling.draw_problems(case, 2)
        assert problems.shape == (2, n, n) and problems.dtype == np.float32
        np.testing.assert_array_equal(problems, problems.swapaxes(1, 2))
        assert not problems[:, range(n), range(n)].any()
        # In as many dimensions as the points had, what is left is about the noise.
        points = np.stack([classical(p, 3 if data == "faces" else 5) for p in problems])
        left = scaling.stress_of(problems, points, "ratio")
        assert ((left > 0.7 * noise) & (left < 1.3 * noise)).all(), left


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import fuzz

    return fuzz


def test_fuzz_counts_what_it_tries(fuzz, tmp_path):
    kinds = ["landmarks .csv, x y", "table .npz", "predictions .csv"]
    rows, failed = fuzz.run(fuzz.plan("fuzz_files", 30, kinds), 0, 1)
    assert not failed
    assert [(row["kind"], row["tried"], row["wrong"]) for row in rows] == [
        (kind, 10, 0) for kind in kinds]
    assert all(row["refused"] > 0 for row in rows)
    inputs, failed = fuzz.run(fuzz.plan("fuzz_inputs", 1, ["isotonic_regression"]), 0, 1)
    assert not failed and inputs[0]["tried"] == 64 and 0 < inputs[0]["refused"] < 64
    fuzz.write(tmp_path, 0, {"files": rows, "inputs": inputs}, failed)
    assert json.loads((tmp_path / "fuzz.json").read_text())["inputs"] == inputs
    assert "| table .npz | 10 |" in (tmp_path / "fuzz.md").read_text()


def test_fuzz_tells_a_number_that_becomes_a_word(fuzz):
    import fuzz_files

    rng = np.random.default_rng(0)
    damaged = fuzz_files._one_word(b"x,y\n1.5,2.5\n", rng)
    assert damaged.word is not None and damaged.word[0] in ("1.5", "2.5")
    assert damaged.content.count(b",") == 2 and damaged.word[0].encode() not in damaged.content


def test_fuzz_counts_a_process_that_dies(fuzz):
    watched = fuzz.Watched("fuzz_files", 0)
    watched._start()
    watched._process.kill()
    assert watched.try_case(fuzz.Case("fuzz_files", "pickle", 0))[2].startswith("crash")
    watched.stop()
