import builtins
import collections
import datetime
import os
import pickle
import pickletools

import numpy as np
import pytest

from deepmds_jax.data.formats import pickles

ARRAYS = {
    "faces": np.array([3, 70000, 9], np.uint32),
    "weights": np.arange(6.0).reshape(2, 3) / 7,
    "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "big": np.array([1.5, -2], ">f4"),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 3)),
}


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_reads_arrays_of_python_3(tmp_path, protocol, core):
    content = pickle.dumps(ARRAYS, protocol)
    if core == b"numpy.core":  # as NumPy 1 wrote it
        content = content.replace(b"cnumpy._core.", b"cnumpy.core.")
        name = b"numpy.core.multiarray"
        content = content.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15" + name)
    assert core + b".multiarray" in content
    if protocol == 4:
        content = pickletools.optimize(content) if core == b"numpy._core" else _unframed(content)
    (tmp_path / "a.pkl").write_bytes(content)
    found = pickles.read_arrays(tmp_path / "a.pkl")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype.newbyteorder("=")


def _unframed(content):
    """Without the 9 bytes that say how long the rest is."""
    assert content[2:3] == b"\x95"
    return content[:2] + content[11:]


def test_reads_arrays_of_python_2(tmp_path):
    array = np.array([0.1, -1e300, np.pi])
    (tmp_path / "a.pkl").write_bytes(
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        b"(K\x01K\x03\x85cnumpy\ndtype\n(U\x02f8K\x00K\x01tR"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x18"
        + array.tobytes() + b"tbs."
    )
    np.testing.assert_array_equal(pickles.read_arrays(tmp_path / "a.pkl")["a"], array)


def test_reads_flames_embeddings(shared):
    folder = shared / "data" / "flame_topology"
    for name, number in [("flame_static_embedding", 51), ("flame_static_embedding_68", 68)]:
        found = pickles.read_arrays(folder / f"{name}.pkl")
        assert found["lmk_face_idx"].shape == (number,)
        assert 0 <= found["lmk_face_idx"].min() < found["lmk_face_idx"].max() < 9976
        np.testing.assert_allclose(found["lmk_b_coords"].sum(axis=1), np.ones(number))


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def harmful(marker):
    """Pickles that leave a file where they are trusted."""
    touch = f"open({str(marker)!r}, 'w').close()"
    return [
        Call(os.system, f"touch '{marker}'"),
        Call(builtins.exec, touch),
        Call(builtins.eval, touch),
        Call(np.save, f"{marker}.npy", 1),
        Call(np.memmap, f"{marker}.npy", "u1", "w+", 0, (1,)),
        {"a": Call(np.ndarray.tofile, np.zeros(1), f"{marker}.npy")},
        {Call(os.system, f"touch '{marker}'"): np.zeros(3)},
        {"a": [np.zeros(3), Call(os.mkdir, f"{marker}.npy")]},
    ]


@pytest.mark.parametrize("number", range(8))
def test_nothing_in_a_pickle_is_run(tmp_path, number):
    path = write(tmp_path / "a.pkl", harmful(tmp_path / "marker")[number])
    with pytest.raises(ValueError, match=r"a\.pkl: expected a pickled dict .* it asks for"):
        pickles.read_arrays(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pkl"]
    pickle.loads(path.read_bytes())  # what was kept from happening
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", [
    Call(np.load, "a.npy"),
    Call(np.fromfile, "a.npy"),
    Call(np.frombuffer, b"abcd"),
    Call(np.lib.format.open_memmap, "a.npy"),
    Call(getattr, 1, "real"),
    Call(__import__, "antigravity"),
    {"a": np.float64(3)},
    {"a": datetime.date(2020, 1, 1)},
    {"a": np.zeros(3).view(np.matrix)},
    collections.OrderedDict(a=np.zeros(3)),
])  # fmt: skip
def test_other_names_are_refused(tmp_path, content):
    with pytest.raises(ValueError, match="it asks for"):
        pickles.read_arrays(write(tmp_path / "a.pkl", content))


@pytest.mark.parametrize(("content", "message"), [
    (np.zeros(3), "not a dict"),
    ([np.zeros(3)], "not a dict"),
    ({"a": {"b": np.zeros(3)}}, "a dict in it"),
    ({"a": 3}, "a int in it"),
    ({3: np.zeros(3)}, "a key that is a int"),
    ({"a": np.dtype("f8")}, "ValueError|TypeError"),
    ({"a": np.array([None, "x"], object)}, "'O8'"),
    ({"a": np.array(["text"])}, "'U4'"),
    ({"a": np.zeros(2, [("x", "f8"), ("y", "O")])}, "'V16'"),
    ({"a": np.zeros(2, "M8[s]")}, "'M8'"),
    ({"a": np.zeros(2, complex)}, "'c16'"),
])  # fmt: skip
def test_other_content_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        pickles.read_arrays(write(tmp_path / "a.pkl", content))


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize("content", [
    b"",
    b"\x80\x04.",
    b"not a pickle",
    b"\x80\x09.",
    b"}X\x01\x00\x00\x00acnumpy\nndarray\n(K\x05tRs.",  # calls ndarray itself
    b"\x82\x01.",  # an entry of the extension registry
    b"Pmarker\n.",  # a persistent id
    b"}" + RECONSTRUCT + b"}X\x08\x00\x00\x00__code__K\x01s\x86bR.",
    # An array of 8 bytes that says it has a thousand million numbers.
    b"}X\x01\x00\x00\x00a" + RECONSTRUCT + b")R(K\x01J\x00\xca\x9a;\x85cnumpy\ndtype\n"
    b"X\x02\x00\x00\x00f8\x85R\x89C\x0800000000tbs.",
])  # fmt: skip
def test_damaged_and_crafted_files_are_refused(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pkl: expected a pickled dict of numeric arrays"):
        pickles.read_arrays(tmp_path / "a.pkl")


def test_one_pickle_cannot_spoil_the_next(tmp_path):
    good = write(tmp_path / "good.pkl", {"a": np.arange(3)})
    # Sets attributes of what stands for _reconstruct, then of an array.
    attributes = b"N}X\x0c\x00\x00\x00__setstate__K\x01X\x0c\x00\x00\x00__defaults__Nu\x86b"
    content = RECONSTRUCT + attributes + RECONSTRUCT + b")R" + attributes + b"."
    (tmp_path / "bad.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.pkl"):
        pickles.read_arrays(tmp_path / "bad.pkl")
    np.testing.assert_array_equal(pickles.read_arrays(good)["a"], np.arange(3))


def test_small_files_do_not_take_much_memory(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"}r\xff\xff\xff\x7f.")  # memo entry number 2^31 - 1
    assert pickles.read_arrays(tmp_path / "a.pkl") == {}
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04\x8e" + (1 << 46).to_bytes(8, "little") + b"a.")
    with pytest.raises(ValueError, match=r"a\.pkl"):
        pickles.read_arrays(tmp_path / "a.pkl")


@pytest.mark.parametrize("kept", [1, 40, 100, -10, -1])
def test_truncated_files_are_refused(tmp_path, kept):
    path = write(tmp_path / "a.pkl", ARRAYS)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"a\.pkl"):
        pickles.read_arrays(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.pkl"):
        pickles.read_arrays(tmp_path / "a.pkl")
