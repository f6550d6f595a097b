"""The formats: what each module of one has, and where they are found by name."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from deepmds_jax.exports import onnx_file, stablehlo, tflite
from deepmds_jax.exports.functions import Exported


class Format(Protocol):
    """What a module has that writes a format.

    Attributes:
      SUFFIX: of its files.
      BATCH: length of the batch axis where none is asked for; None is any.
      LOCKSTEP: whether the items of a batch iterate as long as the slowest.
      COMPACT: whether numbers can be stored in 16 bits.
    """

    @property
    def SUFFIX(self) -> str: ...

    @property
    def BATCH(self) -> int | None: ...

    @property
    def LOCKSTEP(self) -> bool: ...

    @property
    def COMPACT(self) -> bool: ...

    def check_installed(self) -> None:
        """Raises ImportError, which says what to install, where a package is not."""
        ...

    def write(self, exported: Exported, batch: int | None, exact: bool) -> bytes:
        """The function as the bytes of a file.

        Args:
          exported: the function.
          batch: length of the batch axis; None is any.
          exact: whether all numbers are stored in 32 bits.

        Raises:
          ValueError: the format cannot hold this function.
        """
        ...

    def runner(
        self, data: bytes
    ) -> Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]:
        """Runs the bytes of a file on inputs by name, as its users do."""
        ...

    def with_metadata(self, data: bytes, metadata: Mapping[str, str]) -> bytes:
        """The bytes of the file with metadata in it."""
        ...

    def read_metadata(self, data: bytes) -> dict[str, str]:
        """The metadata in the bytes of a file.

        Raises:
          ValueError: there are none; it is no file of this format, or not ours.
        """
        ...


TABLE: dict[str, Format] = {"stablehlo": stablehlo, "onnx": onnx_file, "tflite": tflite}


def find(name: str) -> Format:
    """The format of that name.

    Raises:
      ValueError: there is none.
    """
    if name not in TABLE:
        raise ValueError(f"format: expected some of {', '.join(TABLE)}, got {name!r}")
    return TABLE[name]
