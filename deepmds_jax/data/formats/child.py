"""Reads files by compiled code that trusts them, in a process of its own.

SciPy's parser of MATLAB files and the HDF5 library take a damaged file at its word: one wrong byte
can end the process, and with it all that was read before, or let it run for ever. So they run in a
child with little memory and time, which stays for the files to come.
"""

import ast
import atexit
import contextlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Any, cast

import numpy as np

_CODE = ("import sys; sys.path[:] = {path!r}; "
         "from deepmds_jax.data.formats import child_process; child_process.serve()")

# What reading may take. A good file of some megabytes takes less than a tenth of a second; the
# slowest disks give more than so many bytes in one.
MAX_SECONDS = 10.0
_BYTES_PER_SECOND = 2e6


def read(reader: str, path: pathlib.Path, *arguments: Any) -> dict[str, np.ndarray]:
    """What `load(path, *arguments)` of a module gives, which runs in the child.

    Args:
      reader: the module, whose `load` gives arrays of numbers or text by name. It should import
        nothing that takes long.
      path: the file.
      *arguments: plain values, as `ast.literal_eval` takes them.

    Raises:
      ValueError: `load` raised something, ended the child, or took longer than `MAX_SECONDS` and
        one more for each 2 MB of the file; does not name the file.
    """
    return _CHILD.read(reader, path, arguments)


class _Child:
    """The process that reads, started when it is first needed and again after it died."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def read(
        self, reader: str, path: pathlib.Path, arguments: tuple[Any, ...]
    ) -> dict[str, np.ndarray]:
        with self._lock:
            seconds = MAX_SECONDS + path.stat().st_size / _BYTES_PER_SECOND
            process, start = self._started(), time.monotonic()
            try:
                assert process.stdin is not None and process.stdout is not None
                request = reader, os.path.abspath(path), arguments, seconds
                write_block(process.stdin, ascii(request).encode())
                answer = cast(io.BufferedIOBase, process.stdout)
                error = read_block(answer).decode()
                found = {} if error else read_arrays(answer)
            except (EOFError, OSError):
                late = time.monotonic() - start >= seconds
                self.stop()
                code = process.wait()
                reason = signal.Signals(-code).name if code < 0 else f"exit status {code}"
                raise ValueError(
                    f"a damaged file, or a very slow disk: not read within {seconds:.0f} s" if late
                    else f"a damaged file, which ends its reader ({reason})") from None
            except BaseException:  # interrupted: the rest of the answer would be taken for the next
                self.stop()
                raise
        if error:
            raise ValueError(error)
        return found

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.stop()
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


def write_block(stream: IO[bytes], content: bytes) -> None:
    """Writes bytes with their number before them."""
    stream.write(len(content).to_bytes(8, "big") + content)
    stream.flush()


def read_block(stream: io.BufferedIOBase | IO[bytes]) -> bytes:
    """Reads what `write_block` wrote; EOFError where the stream ends."""
    head = stream.read(8)
    content = stream.read(int.from_bytes(head, "big"))
    if len(head) < 8 or len(content) < int.from_bytes(head, "big"):
        raise EOFError
    return content


def write_arrays(stream: IO[bytes], arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays of numbers or text, whose order in memory stays."""
    turned = [array.flags.f_contiguous and not array.flags.c_contiguous
              for array in arrays.values()]
    write_block(stream, ascii([
        (name, array.dtype.str, array.shape, turn)
        for (name, array), turn in zip(arrays.items(), turned, strict=True)]).encode())
    for array, turn in zip(arrays.values(), turned, strict=True):
        stream.write(_bytes_of(np.ascontiguousarray(array.T if turn else array)))
    stream.flush()


def read_arrays(stream: io.BufferedIOBase) -> dict[str, np.ndarray]:
    """Reads what `write_arrays` wrote; EOFError where the stream ends."""
    found = {}
    for name, dtype, shape, turn in ast.literal_eval(read_block(stream).decode()):
        array = np.empty(shape[::-1] if turn else shape, np.dtype(dtype))
        if stream.readinto(_bytes_of(array)) < array.nbytes:
            raise EOFError
        found[name] = array.T if turn else array
    return found


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


_CHILD = _Child()
atexit.register(_CHILD.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_CHILD.forget)
