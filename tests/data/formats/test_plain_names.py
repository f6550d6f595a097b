import json
import pathlib

import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.data.formats.plain_names import from_cell, printable, to_cell
from deepmds_jax.data.formats.shape_files import write_shapes
from deepmds_jax.evaluation import tables

TOPOLOGY = topologies.get("flame51")
NAMES = ["=1+1", "+a", "-30", "@b", "'quoted", "'=1", "\x1b[31mred\x1b[0m", "\ud800half", "a\nb",
         "\u202eleft", "\x9b2J", "plain é"]


@pytest.mark.parametrize(("text", "expected"), [
    ("\x1b]0;title\x07", r"\x1b]0;title\x07"), ("a\ud800", r"a\ud800"), ("a\r\nb", r"a\r\nb"),
    ("\u202eleft", r"\u202eleft"), ("naïve 日本 👩\u200d🔬", "naïve 日本 👩\u200d🔬")])
def test_what_steers_is_escaped_and_nothing_else(text, expected):
    assert printable(text) == printable(printable(text)) == expected
    expected.encode()


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_not_computed_and_come_back(name):
    assert to_cell(name)[0] not in "=+-@\t\r"
    assert from_cell(to_cell(name)) == printable(name)


@pytest.mark.parametrize("suffix", ["csv", "json", "npz", "obj", "ply"])
def test_one_such_name_fails_no_file_and_none_is_raw(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    write_shapes(path, {name: {"points": np.zeros((51, 3))} for name in NAMES}, TOPOLOGY)
    content = path.read_bytes()
    if suffix == "npz":
        with np.load(path) as file:
            assert file["names"].tolist() == NAMES
        return
    content.decode()
    assert b"\x1b" not in content
    if suffix == "json":
        assert list(json.loads(content)["faces"]) == NAMES
    if suffix == "csv":
        assert not any(line.startswith(("=", "+", "-", "@")) for line in content.decode().split())


def test_names_are_read_as_they_can_be_shown(tmp_path):
    points = np.random.default_rng(0).normal(size=(6, 2)).tolist()
    (tmp_path / "a.json").write_text(json.dumps(dict.fromkeys(NAMES, points)))
    assert sorted(read_landmarks(tmp_path / "a.json")) == sorted(map(printable, NAMES))


def test_our_csv_is_read_by_the_names_it_was_written_for(tmp_path):
    rows = [f"{to_cell(name)},{i},{i * i}" for name in NAMES[:6] for i in range(1, 7)]
    (tmp_path / "a.csv").write_text("\n".join(["face,x,y", *rows]))
    assert sorted(read_landmarks(tmp_path / "a.csv")) == sorted(NAMES[:6])


def test_tables_of_such_names(tmp_path):
    paths = tables.write(tmp_path, "t", [{"face": name, "error": -0.5} for name in NAMES], {})
    for path in paths:
        assert "\x1b" not in pathlib.Path(path).read_text(encoding="utf-8")
    lines = pathlib.Path(paths[1]).read_text(encoding="utf-8").splitlines()
    assert lines[1] == "'=1+1,-0.5"
    assert "\x1b" not in tables.to_text([{"face": name} for name in NAMES])
