"""A batch of problems on all cores of a CPU."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

_CHUNK = 2**21  # numbers; every large batch is made of chunks of this size, compiled once


def map_on_cores(solve: Callable, *batch: jax.Array | None) -> jax.Array:
    """`solve(*batch)` in chunks of problems that run side by side.

    XLA runs the loop of one problem on one core. It runs programs called from several threads at
    the same time, and leaves Python while it does.

    Args:
      solve: maps arrays with one leading axis to a pytree of arrays with that axis, each problem
        on its own, and is compiled.
      *batch: arrays with that axis, or None.

    Returns:
      What `solve` returns for the whole batch.
    """
    size = jax.tree.leaves(batch)[0].shape[0]
    at_once = max(1, _CHUNK // max(x[0].size for x in jax.tree.leaves(batch)))
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    chunk = min(at_once, -(-size // num_cores))
    is_traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(batch))
    if is_traced or size == chunk or jax.default_backend() != "cpu":
        return solve(*batch)
    use_x64 = jax.config.jax_enable_x64  # a setting of the calling thread
    batch = jax.tree.map(np.asarray, batch)  # on CPU a view, and so are its slices

    def run(start):
        # The last chunk overlaps the one before it: all have one shape.
        start = min(start, size - chunk)
        with jax.enable_x64(use_x64):
            part = jax.tree.map(lambda x: x[start:start + chunk], batch)
            return jax.block_until_ready(solve(*part))

    pool = ThreadPoolExecutor(num_cores)
    try:
        parts = list(pool.map(run, range(0, size, chunk)))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the chunks that run, and no more
    left = size - (len(parts) - 1) * chunk
    parts[-1] = jax.tree.map(lambda x: x[chunk - left:], parts[-1])
    return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
