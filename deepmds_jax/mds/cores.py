"""Batches of problems: on all cores of a CPU, in blocks that fit, on several devices."""

import functools
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from deepmds_jax.mds.inputs import is_traced

# Numbers per chunk on a CPU: large batches share one compiled program.
_CHUNK_SIZE = 2**20
# Elsewhere, arrays as large as the largest given one that a chunk may need ("spline" needs most),
# and numbers per chunk where a device does not say how much memory it has.
_NUM_ARRAYS, _DEVICE_CHUNK_SIZE = 24, 2**25
_ALIGNMENT = 64  # bytes
# Settings of the calling thread that say how numbers come about.
_SETTINGS = {"enable_x64": jax.enable_x64, "default_device": jax.default_device,
             "default_matmul_precision": jax.default_matmul_precision,
             "debug_nans": jax.debug_nans}


def map_on_cores(
    solve: Callable[..., Any], *batch: jax.Array | None, min_chunk: int = 1, shared: Any = ()
) -> Any:
    """`solve(*batch)`, outside jit in chunks of problems; those of a CPU run in parallel.

    XLA runs the loop of one problem on one core, but it runs programs that are called from several
    threads in parallel, and releases Python's interpreter lock meanwhile. On other devices a chunk
    steps together, and waits only for its own slowest problem.

    Args:
      solve: compiled function of arrays with a leading axis of problems, to a pytree of arrays with
        that axis. Problems are independent of each other.
      *batch: (problems, ...) arrays, or None. Where the problems are spread over devices, each
        device solves its own, and nothing is sent between them.
      min_chunk: fewer problems than this are not worth a thread.
      shared: what `solve` takes of all problems together. Where it is traced, all run inside jit.

    Returns:
      The result of `solve` for the whole batch.
    """
    arrays = jax.tree.leaves(batch)
    if arrays[0].shape[0] == 0:
        shapes = jax.eval_shape(solve, *batch)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    if is_traced((arrays, shared)):
        return solve(*batch)
    if (spread := _spread(arrays)) is not None:
        mesh, spec = spread
        batch = jax.device_put(batch, NamedSharding(mesh, spec))
        return jax.shard_map(solve, mesh=mesh, in_specs=spec, out_specs=spec)(*batch)
    size, on_cpu = arrays[0].shape[0], jax.default_backend() == "cpu"
    cores = num_cores() if on_cpu else 1
    chunk_size = _CHUNK_SIZE if on_cpu else _numbers_that_fit(arrays)
    max_chunk = max(1, chunk_size // max(1, *(x.size // size for x in arrays)))
    # A power of two divides the sizes that people choose with little rest, and stays the same, as
    # do the programs, while the memory that is left on a device changes a little.
    max_chunk = 1 << max_chunk.bit_length() - 1
    num_chunks = cores if on_cpu else -(-size // max_chunk)
    chunk = min(max_chunk, max(min_chunk, -(-size // num_chunks)))
    if size <= chunk:
        return solve(*batch)
    settings = {name: getattr(jax.config, f"jax_{name}") for name in _SETTINGS}
    device = next(iter(arrays[0].devices())) if arrays[0].committed else None
    settings["default_device"] = device or settings["default_device"]
    if on_cpu:
        batch = jax.tree.map(np.asarray, batch)  # a view, and so are its slices

    wholes: list[Any] = []
    lock = threading.Lock()

    def run(start):
        # The last chunk overlaps the one before it, so that all have one shape.
        first = min(start, size - chunk)
        with ExitStack() as stack:
            for name, value in settings.items():
                stack.enter_context(_SETTINGS[name](value))
            part = jax.tree.map(lambda x: x[first:first + chunk], batch)
            found = jax.block_until_ready(solve(*part))
        if not on_cpu:
            if not wholes:
                wholes.append(jax.tree.map(partial(_like, size), found))
            wholes[0] = jax.tree.map(partial(_put, start=first), wholes[0], found)
            return
        # Each thread writes its own: to join them later would take one of them as long again.
        with lock:
            if not wholes:
                wholes.append(jax.tree.map(partial(_aligned, size), found))
        for whole, x in zip(*map(jax.tree.leaves, (wholes[0], found)), strict=True):
            whole[start:first + chunk] = np.asarray(x)[start - first:]

    pool = ThreadPoolExecutor(cores)
    try:
        list(pool.map(run, range(0, size, chunk)))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits only for chunks that are running
    return jax.device_put(wholes[0], device) if on_cpu else wholes[0]


def _numbers_that_fit(arrays: list[jax.Array]) -> int:
    """Of the largest array of a chunk, beside results as large as what is given."""
    device = next(iter(arrays[0].devices()))
    known = device.memory_stats() or {}
    if "bytes_limit" not in known:
        return _DEVICE_CHUNK_SIZE
    free = known["bytes_limit"] - known.get("bytes_in_use", 0) - sum(x.nbytes for x in arrays)
    return max(1, free // (_NUM_ARRAYS * max(4, *(x.dtype.itemsize for x in arrays))))


def _like(size: int, part: jax.Array) -> jax.Array:
    """(size, ...) zeros where a part is."""
    return jnp.zeros((size, *part.shape[1:]), part.dtype, device=part.sharding)


@partial(jax.jit, donate_argnames="whole")
def _put(whole: jax.Array, part: jax.Array, start: int) -> jax.Array:
    """The whole with a part at its place; two of them would fill the memory."""
    return lax.dynamic_update_slice_in_dim(whole, part, start, 0)


def _aligned(size: int, part: jax.Array) -> np.ndarray:
    """(size, ...) not written yet, like a part, of memory that JAX takes over without copying."""
    shape = size, *part.shape[1:]
    num_bytes = math.prod(shape) * part.dtype.itemsize
    memory = np.empty(num_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start:start + num_bytes].view(part.dtype).reshape(shape)


def solve_all(
    solve: Callable[..., Any], batch: tuple[int, ...], *arrays: jax.Array | None, shared: Any = ()
) -> Any:
    """`solve(*arrays)` for every problem of a batch, on all cores.

    Args:
      solve: compiled function of the arrays with one leading axis of problems, or none.
      batch: the leading axes of all arrays.
      *arrays: (*batch, ...), or None.
      shared: see `map_on_cores`.

    Returns:
      The result of `solve`, with the axes of the batch.
    """
    if not batch:
        return solve(*arrays)
    if len(batch) == 1:  # reshaping outside jit takes longer than a small problem
        return map_on_cores(solve, *arrays, shared=shared)
    flat = jax.tree.map(lambda x: x.reshape(math.prod(batch), *x.shape[len(batch):]), arrays)
    result = map_on_cores(solve, *flat, shared=shared)
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), result)


def map_in_blocks(
    solve: Callable[..., Any], *batch: jax.Array | None, block: int
) -> Any:
    """`solve(*batch)`, block by block; for use inside jit.

    What a block needs fits into the caches, and its loops wait only for its own slowest problem.
    A batch whose size is not known yet (export) is one block.

    Args:
      solve: see `map_on_cores`.
      *batch: (problems, ...) arrays, or None.
      block: problems that run together.
    """
    size = jax.tree.leaves(batch)[0].shape[0]
    if not isinstance(size, int) or size <= block:
        return solve(*batch)
    num_blocks = -(-size // block)
    missing = num_blocks * block - size

    # A block takes every so manieth problem: where the batch is spread over devices, each has its
    # share of every block, and none waits for another.
    def split(x):
        x = jnp.concatenate([x, x[:missing]]) if missing else x
        return jnp.moveaxis(x.reshape(block, num_blocks, *x.shape[1:]), 1, 0)

    def join(x):
        return jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:])[:size]

    # The derivative computes a block anew: to keep what it needs of all would fill the memory.
    solve_part = jax.checkpoint(lambda part: solve(*part), prevent_cse=False)
    return jax.tree.map(join, lax.map(solve_part, jax.tree.map(split, batch)))


def _spread(arrays: list[Any]) -> tuple[Mesh | AbstractMesh, PartitionSpec] | None:
    """Where the problems are spread over devices, the mesh and the axes that they lie along."""
    for array in arrays:
        sharding = getattr(array, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.spec and sharding.spec[0] is not None:
            return sharding.mesh, PartitionSpec(sharding.spec[0])
    return None


@functools.cache
def one_after_another() -> dict[str, str]:
    """For `jax.jit`: XLA's option by which a CPU runs the steps of a program more in turn.

    To share the many small steps of one problem among threads takes longer than to do them.
    """
    options = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # another version of XLA may not have it
        return {}
    return options


def num_cores() -> int:
    """Of those that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
