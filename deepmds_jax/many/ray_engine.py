"""Runs over parts on a Ray cluster.

Each part is one task, so that what it becomes does not depend on the cluster: the same files as on
one machine, written by the worker that has it, whole or not at all. A part whose worker dies is
given to another. The folders have to be at the same place on every node.
"""

import logging
import os
import pathlib
import re
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

import deepmds_jax
from deepmds_jax import topologies
from deepmds_jax.extras import require
from deepmds_jax.many.lift import BlockLift
from deepmds_jax.many.parts import Part, Run
from deepmds_jax.many.stream import Done, run_parts
from deepmds_jax.methods.contract import Params

_PATIENCE_S = 10


class _Worker:
    """Holds the weights, and lifts one part after the other."""

    def __init__(self, given: Any, on_gpu: bool):
        ray = require("ray", extra="ray")
        if not on_gpu:  # a worker for each core; read when JAX first computes
            os.environ["NPROC"] = "1"
            jax.config.update("jax_platforms", "cpu")
        self._params, self._run, self._parts, topology = ray.get(given)
        if topology is not None:
            topologies.from_json(topology)
        self._lift = BlockLift(self._params, num_threads=None if on_gpu else 1)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        part = self._parts[item["part"]]
        try:
            (done,) = run_parts(self._lift, self._params, self._run, [part], lambda count: None)
        except OSError as error:  # no other worker can mend it
            return {**Done(0, 0)._asdict(), "failed": str(error)}
        return {**done._asdict(), "failed": None}


def run_on_ray(
    params: Params,
    run: Run,
    parts: Sequence[Part],
    tell: Callable[[int], object],
    *,
    address: str | None = None,
    use_gpus: bool = True,
) -> Iterator[Done]:
    """The engine of a Ray cluster: a worker for each GPU, or where there are none, each core.

    Args:
      params, run, parts, tell: see `stream.Engine`.
      address: of the cluster; by default that of the environment, or else one that is started on
        this machine.
      use_gpus: whether to use GPUs if the cluster has some.

    Raises:
      OSError: a part cannot be written, or no worker can work.
      ValueError: there is no cluster at that address.
      ImportError: Ray is not installed.
    """
    ray, data = require("ray", extra="ray"), require("ray.data", extra="ray")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data.DataContext.get_current().enable_progress_bars = False
    own = not ray.is_initialized()
    if own:
        _connect(ray, address)
    try:
        found = ray.cluster_resources()
        on_gpu = use_gpus and found.get("GPU", 0) >= 1
        num_workers = min(len(parts), int(found["GPU" if on_gpu else "CPU"]))
        topology = topologies.to_json(run.topology)
        parts = [part._replace(source=part.source.absolute(), target=part.target.absolute())
                 for part in parts]
        given = ray.put((jax.device_get(params), run, parts, topology))
        items = data.from_items([{"part": i} for i in range(len(parts))],
                                override_num_blocks=len(parts))
        rows = items.map(
            _Worker, fn_constructor_args=(given, on_gpu),
            compute=data.ActorPoolStrategy(min_size=1, max_size=num_workers),
            num_cpus=1, num_gpus=1 if on_gpu else 0).iter_rows()
        for row in rows:
            failed = row.pop("failed")
            if failed:
                raise OSError(failed)
            tell(row["num_faces"])
            yield Done(**row)
    except ray.exceptions.RayError as error:
        raise OSError(f"Ray: {str(error).strip().splitlines()[-1]}") from error
    finally:
        if own:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    """Starts Ray, and gives this very package to its workers."""
    package = str(pathlib.Path(deepmds_jax.__file__).parent)
    # Else it warns that restarts need what this process holds until the end.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        if match := re.fullmatch(r"([\w.-]+):(\d+)", address or ""):  # Ray would try for minutes
            socket.create_connection((match[1], int(match[2])), _PATIENCE_S).close()
        with warnings.catch_warnings():
            # JAX warns of a fork; Ray's are followed by another program at once.
            warnings.simplefilter("ignore", RuntimeWarning)
            ray.init(address, log_to_driver=False, logging_level="error",
                     runtime_env={"py_modules": [package]})
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"address: no Ray cluster at {address or 'this machine'}: {reason}"
                         ) from error
