"""The peers of benchmarks/mds.py, where they are installed: scikit-learn, and R by mds_peers.R.

Each runs on one core, one problem after the other, from the classical start, which is in its time.
In this process threadpoolctl holds BLAS and OpenMP to one thread, in R the environment does.
"""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.linalg import eigh

R_SCRIPT = pathlib.Path(__file__).with_suffix(".R")
R_TOOLS = ("vegan::monoMDS", "MASS::isoMDS", "MASS::isoMDS, tol 1e-9")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "BLIS")}
MAX_PASSES = 9

T = TypeVar("T")


class Peer(NamedTuple):
    """Another tool with its settings.

    Attributes:
      name: tool and settings.
      transform: "ratio" or "ordinal".
      solve: (problems (p, n, n), k, seconds to repeat for) -> median seconds for all problems, and
        their configurations (p, n, k).
    """

    name: str
    transform: str
    solve: Callable[[np.ndarray, int, float], tuple[float, np.ndarray]]


def find_peers() -> list[Peer]:
    """The peers that are installed."""
    peers = []
    if importlib.util.find_spec("sklearn") is not None:
        settings = {"default eps": {}, "eps 1e-9": {"eps": 1e-9, "max_iter": 3000}}
        for transform in ("ratio", "ordinal"):
            for name, options in settings.items():
                solve = partial(_solve_with_sklearn, metric=transform == "ratio", **options)
                peers.append(Peer(f"scikit-learn, {name}", transform, solve))
    versions = find_r_versions()
    installed = [tool for tool in R_TOOLS if versions[tool.split("::")[0]] is not None]
    return peers + [Peer(tool, "ordinal", partial(_solve_with_r, tool)) for tool in installed]


@cache
def find_r_versions() -> dict[str, str | None]:
    """Versions of R and of the packages, None where missing."""
    versions: dict[str, str | None] = dict.fromkeys(("R", "vegan", "MASS"))
    if shutil.which("Rscript"):
        for line in _call_r("versions").splitlines():
            name, version = line.split()
            versions[name] = version
    return versions


def measure(run: Callable[[], T], budget_s: float) -> tuple[float, T]:
    """Repeats a run for `budget_s` seconds; returns its median seconds and its result.

    The first run is left out of the median if there are others.
    """
    times = []
    while True:
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
        if sum(times) >= budget_s or len(times) >= MAX_PASSES:
            return float(np.median(times[1:] or times)), result


def _solve_with_sklearn(problems, k, budget_s, **options):
    from sklearn.manifold import smacof
    from threadpoolctl import threadpool_limits

    problems = problems.astype(np.float64)

    def solve(dissimilarities):
        start = _classical(dissimilarities, k)
        return np.asarray(smacof(dissimilarities, init=start, n_init=1, **options)[0])

    with threadpool_limits(1):
        return measure(lambda: np.stack([solve(d) for d in problems]), budget_s)


def _classical(dissimilarities, k):
    """Classical scaling as R's cmdscale: (n, n) -> (n, k)."""
    n = len(dissimilarities)
    square = dissimilarities**2
    square = square - square.mean(0)
    products = (square - square.mean(1)[:, None]) / -2
    values, vectors = eigh(products, subset_by_index=(n - k, n - 1))
    return vectors * np.sqrt(np.maximum(values, 0))


def _solve_with_r(tool, problems, k, budget_s):
    count, n, _ = problems.shape
    with tempfile.TemporaryDirectory() as folder:
        problems.astype(np.float64).tofile(f"{folder}/problems")
        seconds = _call_r(tool, n, k, count, budget_s, MAX_PASSES, folder)
        columns = np.fromfile(f"{folder}/embeddings").reshape(count, k, n)
    return float(seconds), columns.swapaxes(1, 2)


def _call_r(*arguments):
    """What mds_peers.R prints."""
    command = ["Rscript", str(R_SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout
