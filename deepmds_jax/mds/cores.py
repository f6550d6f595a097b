"""Solves a batch of problems on all cores of a CPU."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax.mds.inputs import is_traced

_CHUNK_SIZE = 2**21  # numbers per chunk: large batches share one compiled program


def map_on_cores(solve: Callable[..., Any], *batch: jax.Array | None) -> Any:
    """`solve(*batch)`, in chunks of problems that run in parallel.

    XLA runs the loop of one problem on one core, but it runs programs that are called from several
    threads in parallel, and releases Python's interpreter lock meanwhile.

    Args:
      solve: compiled function of arrays with a leading axis of problems, to a pytree of arrays with
        that axis. Problems are independent of each other.
      *batch: (problems, ...) arrays, or None.

    Returns:
      The result of `solve` for the whole batch.
    """
    arrays = jax.tree.leaves(batch)
    size = arrays[0].shape[0]
    max_chunk = max(1, _CHUNK_SIZE // max(x[0].size for x in arrays))
    num_cores = _num_cores()
    chunk = min(max_chunk, -(-size // num_cores))
    if is_traced(batch) or size == chunk or jax.default_backend() != "cpu":
        return solve(*batch)
    # A setting of the calling thread. JAX defines it at run time.
    use_x64 = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    batch = jax.tree.map(np.asarray, batch)  # on CPU a view, and so are its slices

    def run(start):
        # The last chunk overlaps the one before it, so that all have one shape.
        start = min(start, size - chunk)
        with jax.enable_x64(use_x64):
            part = jax.tree.map(lambda x: x[start:start + chunk], batch)
            return jax.block_until_ready(solve(*part))

    pool = ThreadPoolExecutor(num_cores)
    try:
        parts = list(pool.map(run, range(0, size, chunk)))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits only for chunks that are running
    left = size - (len(parts) - 1) * chunk
    parts[-1] = jax.tree.map(lambda x: x[chunk - left:], parts[-1])
    return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
