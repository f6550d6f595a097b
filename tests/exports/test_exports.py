"""dm.export: files that run without this package, and say what they are."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import deepmds_jax as dm
from deepmds_jax import exports
from deepmds_jax.data.sources import synthetic
from deepmds_jax.exports import functions, onnx_file, stablehlo, tflite
from deepmds_jax.lifting import reconstruct_detailed

pytestmark = pytest.mark.every_platform

onnx = pytest.importorskip("onnx", reason="needs deepmds-jax[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs deepmds-jax[export]")

N = 51
LICENCE = "MIT, (c) somebody"


@pytest.fixture(scope="module", autouse=True)
def fewer_samples():
    """Of each function, to save time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functions, "_NUM_SAMPLES", 60)
        patch.setattr(functions, "_FEW_SAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def params():
    return dm.load_pretrained("flame51")


@pytest.fixture(scope="module")
def files(params, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return {file.format: file for file in dm.export(
        params, folder, ["stablehlo", "onnx"], name="mine.safetensors",
        description={"data_licence": LICENCE})}


@pytest.fixture(scope="module")
def faces(params):
    """Inputs of three faces, one with missing landmarks, and what JAX makes of them."""
    mean = np.asarray(synthetic.load("flame51").mean)
    x2d = (mean[:, :2] * [[[1.0, 1.0]], [[0.8, 1.0]], [[1.0, 0.9]]] + 300).astype(np.float32)
    visible = np.ones((3, N), bool)
    visible[1, 5:15], x2d[1, 5:15] = False, np.nan
    lift = jax.jit(lambda x2d, visible: reconstruct_detailed(params, x2d, visible))
    found = jax.device_get(lift(x2d, visible))
    assert found.converged.all()
    return x2d, visible, found


def test_files_agree_and_say_what_they_are(files):
    assert [file.path.name for file in files.values()] == ["mine.stablehlo", "mine.onnx"]
    for module, file in zip((stablehlo, onnx_file), files.values(), strict=True):
        told = module.read_metadata(file.path.read_bytes())
        assert 1e-8 < float(told["error"]) == pytest.approx(file.agreement.error, rel=0.01)
        assert file.agreement.error < 1e-4
        assert set(file.agreement.errors) == {"points", "std", "rotation", "angle_std"}
        assert told["topology"] == "flame51"
        assert LICENCE in told["licence"]
        assert "y down" in told["frame"]
        assert "centroid" in told["units"]
        assert told["batch"] == "any"
        assert "over 60 made-up items" in told["error_of"]


def test_stablehlo_is_for_all_platforms_and_onnx_is_small(files):
    program = jax.export.deserialize(bytearray(files["stablehlo"].path.read_bytes()))
    assert set(program.platforms) == {"cpu", "cuda", "rocm", "tpu"}
    assert files["onnx"].path.stat().st_size < 150_000
    model = onnx.load(files["onnx"].path)
    assert not model.graph.value_info  # onnxruntime-web refuses it
    assert [(i.domain, i.version) for i in model.opset_import] == [("", 21)]


def graphs_of(graph):
    """A graph, and the bodies of its loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_of(attribute.g)


def test_an_onnx_file_has_no_node_that_nobody_reads(files):
    graphs = list(graphs_of(onnx.load(files["onnx"].path).graph))
    assert len(graphs) == 4  # three loops
    read = {name for graph in graphs for node in graph.node for name in node.input}
    read |= {output.name for graph in graphs for output in graph.output}
    assert [node.op_type for graph in graphs for node in graph.node
            if read.isdisjoint(node.output)] == []


def test_any_batch_runs_as_in_jax(files, faces):
    x2d, visible, expected = faces
    session = onnxruntime.InferenceSession(files["onnx"].path)
    names = [output.name for output in session.get_outputs()]
    for rows in (slice(None), slice(1, 2)):
        found = session.run(None, {"x2d": x2d[rows], "visible": visible[rows]})
        for name, array in zip(names, found, strict=True):
            np.testing.assert_allclose(
                array, getattr(expected, name)[rows],
                atol=1e-2 if name == "angle_std" else 1e-4, err_msg=name)
    assert names == ["points", "std", "rotation", "angle_std", "converged"]
    program = jax.export.deserialize(bytearray(files["stablehlo"].path.read_bytes()))
    assert list(program.call(x2d, visible)) == names


def test_the_code_beside_the_files_runs_without_this_package(files):
    folder = files["onnx"].path.parent
    page = (folder / "README.md").read_text()
    assert "| mine.onnx |" in page
    assert LICENCE in page
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 2
    assert max(block.count("\n") for block in blocks) <= 12
    code = "import sys\nsys.modules['deepmds_jax'] = None\n" + "\n".join(
        f"exec({block!r}, {{}})" for block in blocks)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'points': (1, 51, 3)") == 2


def test_a_file_that_does_not_agree_is_not_kept(params, files, tmp_path, monkeypatch):
    data = files["onnx"].path.read_bytes()
    run = onnx_file.runner(data)

    def wrong(inputs):
        return {name: x + 1e-3 if name == "points" else x for name, x in run(inputs).items()}

    monkeypatch.setattr(onnx_file, "runner", lambda _: wrong)
    monkeypatch.setattr(onnx_file, "write", lambda *_, **__: data)
    with pytest.raises(ValueError, match=r"flame51.onnx: not kept.*points 1\.0e-03"):
        dm.export(params, tmp_path, ["onnx"])
    assert list(tmp_path.iterdir()) == []

    # Nor does one of an earlier export look like it, nor one that was to come; others stay.
    older, other = files["onnx"].path.read_bytes(), files["stablehlo"].path.read_bytes()
    for name, content in (("flame51.onnx", older), ("flame51.tflite", b"older"),
                          ("mine.stablehlo", other), ("README.md", b"of three")):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(tflite, "check_installed", lambda: None)
    with pytest.raises(ValueError, match=r"flame51.onnx: not kept"):
        dm.export(params, tmp_path, ["onnx", "tflite"])
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md", "flame51.onnx.old", "flame51.tflite.old", "mine.stablehlo"}
    assert (tmp_path / "flame51.onnx.old").read_bytes() == older
    page = (tmp_path / "README.md").read_text()
    assert "mine.stablehlo" in page and "flame51" not in page.partition("## ")[0]
    (tmp_path / "mine.stablehlo").unlink()
    (tmp_path / "flame51.onnx").write_bytes(older)
    with pytest.raises(ValueError, match=r"flame51.onnx: not kept"):
        dm.export(params, tmp_path, ["onnx"])
    assert not {"README.md", "flame51.onnx"} & {path.name for path in tmp_path.iterdir()}


def test_what_does_not_fit_16_bits_is_stored_in_32(params, tmp_path, monkeypatch):
    written = []

    def write(exported, batch, exact):
        written.append(exact)
        return b""

    def runner(_):
        error = 0 if written[-1] else 1e-3
        return lambda inputs: {"points": inputs["x"] + error, "converged": np.ones(1, bool)}

    made = functions.Exported(
        "same", lambda x: {"points": x, "converged": x[0] == x[0]}, {"x": ((1,), np.float32)},
        lambda *_: 1.0, lambda count: {"x": np.ones((count, 1), np.float32)}, {}, num_samples=1)
    monkeypatch.setattr(onnx_file, "write", write)
    monkeypatch.setattr(onnx_file, "runner", runner)
    expected = exports.beside_jax.expect(made)
    _, agreement = exports._checked(onnx_file, expected, None)
    assert written == [False, True]
    assert agreement.error == 0


@pytest.mark.parametrize(("transform", "length"), [("ratio", "any"), ("ordinal", "1")])
def test_scaling(tmp_path, transform, length):
    file, = dm.export(exports.Smacof(transform, num_points=6), tmp_path, ["onnx"])
    assert file.path.name == f"smacof_{transform}_6x2.onnx"
    units = onnx_file.read_metadata(file.path.read_bytes())["units"]
    assert ("that of the dissimilarities" in units) == (transform == "ratio")
    assert onnx_file.read_metadata(file.path.read_bytes())["batch"] == length
    points = np.random.default_rng(3).random((1, 6, 2))
    apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    session = onnxruntime.InferenceSession(file.path)
    names = [output.name for output in session.get_outputs()]
    assert names == ["embedding", "stress", "converged", "disparities"]
    found = dict(zip(names, session.run(None, {"dissimilarities": apart.astype(np.float32)}),
                     strict=True))
    assert found["converged"].all()
    assert found["stress"].max() < 1e-3
    if transform == "ratio":
        x = found["embedding"]
        again = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)
        np.testing.assert_allclose(again, apart, atol=1e-3)


def test_tflite(params, tmp_path):
    pytest.importorskip("tensorflow", reason="needs deepmds-jax[tflite]")
    file, = dm.export(params, tmp_path, ["tflite"])
    assert (file.batch, file.agreement.is_within(1e-4, file.agreement)) == (1, True)
    with pytest.raises(ValueError, match="tflite: TensorFlow cannot write smacof_ratio_6x2"):
        dm.export(exports.Smacof("ratio", 6), tmp_path, ["tflite"])


def test_errors_are_one_line_before_any_work(params, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="format: expected some of stablehlo, onnx, tflite, got "):
        dm.export(params, tmp_path, ["onx"])
    with pytest.raises(ValueError, match=r"format: expected some of .*, got none"):
        dm.export(params, tmp_path, [])
    with pytest.raises(ValueError, match="batch: expected 1 or more, got 0"):
        dm.export(params, tmp_path, ["onnx"], batch=0)
    with pytest.raises(ValueError, match=r"smacof: expected one of .*, got 'nominal'"):
        exports.Smacof("nominal", 9)
    with pytest.raises(ValueError, match=r"num_points: expected more than 2, .* got 2"):
        exports.Smacof("ratio", 2)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"onnxruntime: pip install 'deepmds-jax\[export\]'"):
        dm.export(params, tmp_path, ["stablehlo", "onnx"])
    assert list(tmp_path.iterdir()) == []
