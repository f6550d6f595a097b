import gzip
import io
import pathlib

import h5py
import numpy as np
import pytest

from deepmds_jax.data.formats import archives
from deepmds_jax.data.formats.archives import open_hdf5, unpack_gzip, unpack_npz, unpack_numpy
from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.weights.keras import _read_keras

SECRET = np.arange(6, dtype=np.float32)


def external_link(group, folder):
    group["kernel:0"] = h5py.ExternalLink(folder / "secret.h5", "/x")


def soft_link_to_one(group, folder):
    group.file["other"] = h5py.ExternalLink(folder / "secret.h5", "/x")
    group["kernel:0"] = h5py.SoftLink("/other")


def external_storage(group, folder):
    where = [(str(folder / "secret.bin"), 0, SECRET.nbytes)]
    group.create_dataset("kernel:0", shape=SECRET.shape, dtype="f4", external=where)


def virtual(group, folder):
    layout = h5py.VirtualLayout(shape=SECRET.shape, dtype="f4")
    layout[:] = h5py.VirtualSource(folder / "secret.h5", "x", shape=SECRET.shape)
    group.create_virtual_dataset("kernel:0", layout)


def much(group, folder):
    group.create_dataset("kernel:0", shape=(2**30,), dtype="f4", chunks=(2**20,),
                         compression="gzip")


@pytest.mark.parametrize(("add", "message"), [
    (external_link, "is a link to elsewhere"), (soft_link_to_one, "is a link to elsewhere"),
    (external_storage, "are in another file"), (virtual, "are in another file"),
    (much, "unpacks to more than 2,147,483,648 bytes"),
])
def test_hdf5_files_that_are_not_all_there_is_are_refused(tmp_path, add, message):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = SECRET
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        add(file.create_group("dense/dense"), tmp_path)
    with pytest.raises(ValueError, match=f"^{path}: not a whole Keras HDF5 .*: .*{message}"):
        _read_keras(path)


def test_a_group_that_is_a_link_is_refused_too(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["dense/kernel:0"] = SECRET
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["dense"] = h5py.ExternalLink(tmp_path / "secret.h5", "/dense")
        file["here/kernel"] = SECRET
    with open_hdf5(tmp_path / "weights.h5") as file:
        for read in (file.group, file.read, lambda name: file.read(f"{name}/kernel:0")):
            with pytest.raises(ValueError, match="is a link to elsewhere"):
                read("dense")
        np.testing.assert_array_equal(file.read("here/kernel"), SECRET)
        with pytest.raises(ValueError, match="here is no dataset"):
            file.read("here")
        with pytest.raises(KeyError):
            file.read("here/kernel/deeper")


def packed(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, landmarks=np.ones((6, 2)), photographs=np.zeros((1000, 1000)))
    return path


def test_npz_files_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    path = packed(tmp_path)
    monkeypatch.setattr(archives, "MAX_BYTES", 10_000)
    assert list(read_landmarks(path)) == ["a"]  # the photographs are not read
    with path.open("rb") as stream:
        content = unpack_npz(stream)
        assert "photographs" in content and len(content) == 2
        with pytest.raises(ValueError, match="unpacks to more than 10,000 bytes"):
            content["photographs"]
    with path.open("rb") as stream:
        content = unpack_npz(stream)
        with pytest.raises(ValueError, match="unpacks to more than"):  # all that is read counts
            for _ in range(50):
                content["landmarks"]


def test_a_single_array_is_no_npz():
    stream = io.BytesIO()
    np.save(stream, SECRET)
    stream.seek(0)
    np.testing.assert_array_equal(unpack_numpy(stream), SECRET)
    stream.seek(0)
    with pytest.raises(ValueError, match="it holds a single array"):
        unpack_npz(stream)


def test_gzip_files_that_unpack_to_too_much_are_refused(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(1000)))
    assert unpack_gzip(path, 1000) == bytes(1000)
    with pytest.raises(ValueError, match="unpacks to more than"):
        unpack_gzip(path, 999)
