"""Memory and time of one large problem; run: python benchmarks/mds_large.py --points=5000.

Prints, for ratio and ordinal, the seconds of start and first iterations without compiling, and the
peak of the whole process, Python, JAX and the problem included, in matrices of n x n float32.
With --converge instead the time and stress of a ratio problem of benchmarks/mds.py until it has
converged, and scikit-learn's.
"""

import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from mds_peers import find_peers
from mds_problems import Case, draw_problems, stress_of

from deepmds_jax import mds

_POINTS = flags.DEFINE_integer("points", 5000, "Number of points.", lower_bound=10)
_ITERATIONS = flags.DEFINE_integer("iterations", 10, "Iterations.", lower_bound=1)
_CONVERGE = flags.DEFINE_bool("converge", False, "Until converged, beside scikit-learn.")


def compare_converged(n: int) -> None:
    """Prints how long a ratio problem takes, and where it ends, with two tolerances."""
    problems = draw_problems(Case("general", n, 2, (1,)), 1)

    def report(tool, seconds, points):
        stress = stress_of(problems, np.asarray(points, np.float64), "ratio")[0]
        print(f"{tool}, {n} points: {seconds:.1f} s, stress-1 {stress:.6f}", flush=True)

    dissimilarities = jax.device_put(problems[0])
    mds.smacof(dissimilarities, 2, transform="ratio", max_iters=1)  # compiles
    for tolerance in (2e-4, 1e-3):  # the first is the default
        start = time.perf_counter()
        result = mds.smacof(dissimilarities, 2, transform="ratio", tolerance=tolerance)
        points = np.asarray(result.embedding)
        report(f"deepmds_jax, tolerance {tolerance:g}, {result.num_iters} iterations",
               time.perf_counter() - start, points[None])
    for peer in find_peers():
        if peer.transform == "ratio" and "default" in peer.name:
            report(peer.name, *peer.solve(problems, 2, 0.0))


def main(_) -> None:
    """Ratio before ordinal, which needs more: the peak only rises."""
    if _CONVERGE.value:
        compare_converged(_POINTS.value)
        return
    n = _POINTS.value
    points, noise = (jax.random.normal(key, shape) for key, shape in zip(
        jax.random.split(jax.random.key(0)), ((n, 5), (n, n)), strict=True))
    dissimilarities = mds.distances(points) * (1 + 0.03 * (noise + noise.T))
    dissimilarities = jax.block_until_ready(jnp.maximum(dissimilarities, 0))
    del noise
    for transform in ("ratio", "ordinal"):
        for max_iters in (0, _ITERATIONS.value):
            start = time.perf_counter()
            mds.smacof(
                dissimilarities, 2, transform=transform, max_iters=max_iters, progress=True
            ).stress.block_until_ready()
            seconds = time.perf_counter() - start
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{transform}, {n} points: {seconds:.1f} s for start and {max_iters} iterations, "
              f"peak {peak / (4 * n * n):.1f} matrices", flush=True)


if __name__ == "__main__":
    app.run(main)
