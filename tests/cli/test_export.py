"""bin/export: which arguments it takes."""

import re

import pytest

from deepmds_jax import exports


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "error: out: expected --out=FOLDER, got none"),
    (("--out=out",), "error: weights: expected --weights=NAME|FILE or --smacof=ordinal, got none"),
    (("--out=out", "--weights=flame51", "--smacof=ratio"), "error: weights: expected .*, got both"),
    (("--out=out", "--weights=flame51", "--dims=3"), "error: smacof: expected --smacof=ordinal"),
    (("--out=out", "--smacof=ratio"), "error: num_points: expected --num_points=60"),
    (("--out=out", "--weights=nothing"), "error: nothing: no such file"),
    (("--out=out", "--smacof=ratio", "--num_points=9", "--format=pb"),
     "error: format: expected some of stablehlo, onnx, tflite, got 'pb'"),
])
def test_bad_arguments_are_named(refuse, arguments, message):
    assert re.match(message, refuse("export", *arguments))


def test_what_was_written_is_listed(succeed, monkeypatch, tmp_path):
    def export(what, folder, formats, *, name, batch, description):
        assert what.config.topology == name == "flame51"
        assert (formats, batch) == (["onnx"], 4)
        assert description["data_licence"].startswith("MIT")
        path = tmp_path / folder / "flame51.onnx"
        path.parent.mkdir()
        path.write_bytes(b"0" * 12345)
        found = exports.beside_jax.Agreement({"points": 2e-6}, 0, 1000)
        return [exports.File(path, "onnx", 4, found)]

    monkeypatch.setattr(exports, "export", export)
    lines = succeed("export", "--weights=flame51", "--format=onnx", "--batch=4", "--out=out")
    assert "flame51.onnx  12      4  2.0e-06" in lines
    assert "over 1000 made-up items" in lines
