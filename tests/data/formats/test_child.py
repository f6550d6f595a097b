"""Reading in a process of its own: what comes back, and what ends it."""

import io
import pathlib

import h5py
import numpy as np
import pytest

from deepmds_jax.data.formats import child
from deepmds_jax.data.formats.hdf5 import load_hdf5, load_keras_layers
from deepmds_jax.weights.keras import _read_keras

ARRAYS = {
    "rows": np.arange(6, dtype=">f4").reshape(2, 3), "columns": np.asfortranarray(np.eye(3)[:2]),
    "steps": np.arange(10)[::3], "one": np.array(True), "none": np.zeros((0, 3)),
    "text": np.array(["ab", "ö"]), "a\nname": np.array([b"x"]),
}


def test_arrays_come_as_they_were():
    stream = io.BytesIO()
    child.write_arrays(stream, ARRAYS)
    found = child.read_arrays(io.BytesIO(stream.getvalue()))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)
    assert found["columns"].flags.f_contiguous
    with pytest.raises(EOFError):
        child.read_arrays(io.BytesIO(stream.getvalue()[:-1]))


@pytest.fixture
def readers(tmp_path, monkeypatch):
    """Modules that do not give anything, and a child that finds them."""
    for name, body in {
        "for_ever": "while True: pass", "dies": "os._exit(3)", "fails": "raise ValueError()",
        "is_killed": "os.kill(os.getpid(), 9)", "says": "raise ValueError('two\\nlines')",
    }.items():
        (tmp_path / f"{name}.py").write_text(f"import os\ndef load(path):\n    {body}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    one = child._Child()
    yield lambda name: one.read(name, pathlib.Path(__file__), ())
    one.stop()


def test_what_does_not_end_is_ended(readers, monkeypatch):
    monkeypatch.setattr(child, "MAX_SECONDS", 0.2)
    with pytest.raises(ValueError, match=r"damaged file, or a very slow disk: not read within 0 s"):
        readers("for_ever")


@pytest.mark.parametrize(("name", "message"), [
    ("dies", r"a damaged file, which ends its reader \(exit status 3\)"),
    ("is_killed", r"a damaged file, which ends its reader \(SIGKILL\)"),
    ("fails", r"damaged \(ValueError\)"), ("says", "two lines"),
])
def test_what_ends_the_child_is_told_and_the_next_is_read(readers, name, message):
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^{message}$"):
            readers(name)


def test_datasets_are_numbers_or_bytes(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["deep/x"], file["text"] = np.eye(2), "äb"
        file["texts"], file["bytes"] = ["a", "bc"], np.bytes_("xy")
        file.create_dataset("pairs", data=np.zeros(2, [("a", "i4"), ("b", "f4")]))
    found = load_hdf5(path, ["deep/x", "text", "texts", "bytes"])
    np.testing.assert_array_equal(found["deep/x"], np.eye(2))
    assert found["text"][()].decode() == "äb" and found["texts"].tolist() == [b"a", b"bc"]
    assert found["bytes"][()] == b"xy"
    for name, message in (("pairs", "pairs holds neither numbers nor text"), ("lacking", "lacking"),
                          ("deep", "deep is no dataset")):
        with pytest.raises(ValueError, match=message):
            load_hdf5(path, [name])
    with pytest.raises(FileNotFoundError, match=r"no .*b\.h5"):
        load_hdf5(tmp_path / "b.h5", ["x"])


def write_layers(path):
    """Two layers with weights, one without, and one that is not there."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["b/1", "without", "a", "elsewhere"]
        file["b/1/b/1/kernel:0"], file["a/a/bias:0"] = np.ones((2, 3)), np.arange(3)
        file.create_group("without")


def test_layers_come_in_their_order(tmp_path):
    write_layers(tmp_path / "k.h5")
    found = load_keras_layers(tmp_path / "k.h5")
    assert {name: list(arrays) for name, arrays in found.items()} == {
        "b/1": ["kernel"], "a": ["bias"]}
    np.testing.assert_array_equal(found["a"]["bias"], np.arange(3))


@pytest.mark.parametrize("place", [0, 96, 200, 0.5, 0.9])
def test_whatever_h5py_says_of_a_damaged_file_is_one_line(tmp_path, place):
    path = tmp_path / "k.h5"
    write_layers(path)
    content = path.read_bytes()
    start = place if isinstance(place, int) else int(place * len(content))
    path.write_bytes(content[:start] + b"\xa5" * 64 + content[start + 64:])
    try:
        _read_keras(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: not a whole Keras HDF5 weights file: ")
        assert "\n" not in str(error)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"^{path}: not a whole Keras HDF5 [^\n]*truncated"):
        _read_keras(path)
