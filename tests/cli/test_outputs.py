"""What the programs print and write, where names are odd or an output fails."""

import io
import json
import re
import types

import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.cli import program, reconstruct

POINTS = np.random.default_rng(0).normal(size=(51, 2)).tolist()


@pytest.fixture
def landmarks(tmp_path):
    path = tmp_path / "in" / "face.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"face": POINTS}))
    return path


def test_lines_are_printed_without_what_steers_or_cannot_be_encoded(capsys):
    program.tell("a\x1b[31m", "b\nc\ud800")
    program.warn("\u202eleft")
    program.list_left_out([])
    program.list_left_out(["a\nb"])
    out, err = capsys.readouterr()
    assert out == "a\\x1b[31m\nb\nc\\ud800\n"
    assert err == "\\u202eleft\nleft out:\n  a\\nb\n"
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    program.tell("é", file=ascii_only)
    ascii_only.seek(0)
    assert ascii_only.read() == "\\xe9\n"


def never(*args, **kwargs):
    raise AssertionError("the work was begun")


@pytest.mark.parametrize(("flag", "path", "message"), [
    ("--out", "in", "unknown shape format"), ("--out", "folder.npz", "is a folder"),
    ("--picture", "folder.png", "picture: expected a file, .*folder.png is a folder"),
    ("--out", "in/face.json/x.npz", "face.json is no folder"),
])
def test_outputs_are_tried_before_the_work(
    landmarks, tmp_path, monkeypatch, capsys, flag, path, message
):
    for name in ("folder.npz", "folder.png"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(reconstruct, "read_all_landmarks", never)
    arguments = [landmarks, f"--out={tmp_path / 'out.npz'}", f"{flag}={tmp_path / path}"]
    assert reconstruct.run(arguments) == 1
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert re.search(message, captured)


def test_of_two_outputs_none_is_left_when_one_fails(landmarks, tmp_path, monkeypatch, capsys):
    lifted = types.SimpleNamespace(
        faces={"face": {"points": np.zeros((51, 3))}}, topology=topologies.get("flame51"),
        listing="", summary="1 face", left_out=[], warnings=[], picture_note="")
    monkeypatch.setattr(reconstruct, "reconstruct_faces", lambda *_: lifted)
    monkeypatch.setattr(reconstruct.faces_by_name, "load_pretrained_for", lambda _: None)
    write = reconstruct.write_shapes

    def failing(path, faces, topology):
        if str(path).endswith(".csv"):
            raise OSError("no space left on device")
        write(path, faces, topology)

    monkeypatch.setattr(reconstruct, "write_shapes", failing)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.npz").write_text("of before")
    assert reconstruct.run([landmarks, f"--out={folder / 'a.npz'},{folder / 'b.csv'}"]) == 1
    assert "no space left" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["a.npz"]
    assert (folder / "a.npz").read_text() == "of before"
