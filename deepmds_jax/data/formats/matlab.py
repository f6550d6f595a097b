"""Reads MATLAB files before version 7.3, in a process of its own.

SciPy's parser is compiled code that trusts its file: one wrong byte can end the process, and with
it all that was read before. So it runs in a child, which stays for the files to come.
"""

import atexit
import contextlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

import numpy as np

from deepmds_jax.extras import require

_CODE = ("import sys; sys.path[:] = {path!r}; "
         "from deepmds_jax.data.formats import matlab_child; matlab_child.serve()")


def load_mat(path: pathlib.Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The variables of a file, or those of them that are asked for and there.

    Returns:
      By name, arrays of numbers or text; a cell is an array of its items as text, and in the place
      of a struct or a sparse matrix are empty texts.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or of another format; does not name the file.
    """
    require("scipy", extra="files")
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    return _CHILD.read(path, names)


def read_mat(path: pathlib.Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads variables by name.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, or a variable is missing or holds no numbers.
    """
    try:
        arrays = load_mat(path, names)
        arrays = {name: arrays[name] for name in names}
        if not all(array.size and array.dtype.kind in "uif" for array in arrays.values()):
            raise ValueError("one of them holds no numbers")
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected a MATLAB file with {list(names)}: {error}") from error
    return arrays


class _Child:
    """The process that reads, started when it is first needed and again after it died."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, path: pathlib.Path, names: Sequence[str] | None) -> dict[str, np.ndarray]:
        with self._lock:
            process = self._started()
            try:
                assert process.stdin is not None and process.stdout is not None
                write_block(process.stdin, ascii((os.path.abspath(path), names and [*names])))
                error, there = read_block(process.stdout).decode(), read_block(process.stdout)
            except (EOFError, OSError):
                self.stop()
                code = process.wait()
                reason = signal.Signals(-code).name if code < 0 else f"exit status {code}"
                raise ValueError(f"a damaged MATLAB file, which ends its reader ({reason})"
                                 ) from None
            except BaseException:  # interrupted: the rest of the answer would be taken for the next
                self.stop()
                raise
        if error:
            raise ValueError(error)
        with np.load(io.BytesIO(there), allow_pickle=False) as file:
            found, *arrays = (file[name] for name in file)
        return dict(zip(found.tolist(), arrays, strict=True))

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE.format(path=sys.path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return self._process

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError):  # what the dead one did not take
                process.communicate()

    def forget(self) -> None:
        """After a fork: the child is the parent's, and a thread of it may hold the lock."""
        self.__init__()


def write_block(stream: IO[bytes], content: bytes | str) -> None:
    """Writes bytes with their number before them."""
    content = content.encode() if isinstance(content, str) else content
    stream.write(len(content).to_bytes(8, "big") + content)
    stream.flush()


def read_block(stream: IO[bytes]) -> bytes:
    """Reads what `write_block` wrote; EOFError where the stream ends."""
    head = stream.read(8)
    content = stream.read(int.from_bytes(head, "big"))
    if len(head) < 8 or len(content) < int.from_bytes(head, "big"):
        raise EOFError
    return content


_CHILD = _Child()
atexit.register(_CHILD.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_CHILD.forget)
