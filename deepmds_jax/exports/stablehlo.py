"""StableHLO, which JAX, XLA and IREE run: any batch, on CPU, CUDA, ROCm and TPU."""

from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax import export

from deepmds_jax.exports.appended import append_metadata, read_appended
from deepmds_jax.exports.functions import Exported
from deepmds_jax.extras import require

SUFFIX, BATCH, LOCKSTEP, COMPACT = ".stablehlo", None, False, False
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

with_metadata, read_metadata = append_metadata, read_appended


def check_installed() -> None:
    """Raises ImportError where a package is not installed."""
    require("flatbuffers", "export")


def write(exported: Exported, batch: int | None, exact: bool) -> bytes:
    """The function as the bytes of a file; see `targets.Format`."""
    del exact  # all are
    lengths = export.symbolic_shape("batch") if batch is None else (batch,)
    made = export.export(jax.jit(exported.function), platforms=PLATFORMS)
    return bytes(made(*exported.specs(lengths[0]).values()).serialize())


def runner(data: bytes) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Runs the bytes of a file on inputs by name."""
    call = jax.jit(export.deserialize(bytearray(data)).call)
    return lambda inputs: {name: np.asarray(x) for name, x in call(*inputs.values()).items()}
