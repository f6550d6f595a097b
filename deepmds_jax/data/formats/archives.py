"""NumPy, HDF5 and gzip files, read without anything that is not in the file itself.

An HDF5 file can name others, and whoever wrote it would have any file read; and a small archive can
unpack to more than any memory.
"""

import contextlib
import gzip
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from deepmds_jax.extras import require

# What a file may unpack to. The largest that this package has a use for, a Basel Face Model with
# its texture, has a quarter of it.
MAX_BYTES = 2**31


def unpack_numpy(stream: IO[bytes]) -> "np.ndarray | Npz":
    """As `np.load`, never unpickled: an array, or those of an .npz, each read when it is asked for.

    Reading them raises a ValueError for more than `MAX_BYTES` in all.
    """
    content = np.load(stream, allow_pickle=False)
    return content if isinstance(content, np.ndarray) else Npz(content)


def unpack_npz(stream: IO[bytes]) -> "Npz":
    """`unpack_numpy` of an .npz file; ValueError if it is none."""
    content = unpack_numpy(stream)
    if not isinstance(content, Npz):
        raise ValueError("it holds a single array")
    return content


class Npz(Mapping[str, np.ndarray]):
    """The arrays of an .npz file by name."""

    def __init__(self, file: np.lib.npyio.NpzFile):
        self._file = file
        archive = file.zip
        assert archive is not None  # it is open
        self._sizes = {entry.filename.removesuffix(".npy"): entry.file_size
                       for entry in archive.infolist()}
        self._num_read = 0

    def __getitem__(self, name: str) -> np.ndarray:
        self._num_read += self._sizes.get(name, 0)
        _check_size(self._num_read)
        return self._file[name]

    def __contains__(self, name: object) -> bool:
        return name in self._sizes

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes)

    def __len__(self) -> int:
        return len(self._sizes)


def unpack_gzip(path: pathlib.Path, max_bytes: int) -> bytes:
    """The content of a .gz file.

    Raises:
      ValueError: it is more than that.
      OSError, EOFError, zlib.error: it is damaged.
    """
    with gzip.open(path) as file:
        content = file.read(max_bytes + 1)
    _check_size(len(content), max_bytes)
    return content


@contextlib.contextmanager
def open_hdf5(path: str | pathlib.Path) -> Iterator["Hdf5"]:
    """Opens an HDF5 file to read. One that is damaged may end the process, or hang: see `hdf5`.

    Raises:
      OSError: it cannot be opened.
    """
    with require("h5py", extra="files").File(path, "r") as file:
        yield Hdf5(file)


class Hdf5:
    """A group of an HDF5 file, the file itself at first.

    Reading raises a KeyError for what is not there, and a ValueError for links, for datasets whose
    numbers are in other files, and for more than `MAX_BYTES` in all.
    """

    def __init__(self, group: Any):
        self._group = group
        self._num_read = 0
        self._h5py = require("h5py", extra="files")

    @property
    def attributes(self) -> Any:
        """Name -> value."""
        return self._group.attrs

    def __contains__(self, name: str) -> bool:
        return name in self._group

    def __iter__(self) -> Iterator[str]:
        return iter(self._group)

    def group(self, path: str) -> "Hdf5":
        """The group at a path."""
        found = self._find(path)
        if not isinstance(found, self._h5py.Group):
            raise ValueError(f"{path} is no group")
        return Hdf5(found)

    def read(self, path: str) -> np.ndarray:
        """The dataset at a path."""
        found = self._find(path)
        if not isinstance(found, self._h5py.Dataset):
            raise ValueError(f"{path} is no dataset")
        if found.external or found.is_virtual:
            raise ValueError(f"the numbers of {path} are in another file, expected them in this "
                             "one")
        self._num_read += math.prod(found.shape or ()) * found.dtype.itemsize
        _check_size(self._num_read)
        return np.asarray(found[()])

    def _find(self, path: str) -> Any:
        found = self._group
        for name in path.strip("/").split("/"):
            if not isinstance(found, self._h5py.Group):
                raise KeyError(path)
            link = found.get(name, getlink=True)
            if link is not None and not isinstance(link, self._h5py.HardLink):
                raise ValueError(f"{path} is a link to elsewhere, expected it in this file")
            found = found[name]
        return found


def _check_size(num_bytes: int, at_most: int | None = None) -> None:
    at_most = MAX_BYTES if at_most is None else at_most
    if num_bytes > at_most:
        raise ValueError(f"it unpacks to more than {at_most:,} bytes")
