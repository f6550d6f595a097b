"""Memory and time of one large problem; run: python benchmarks/mds_large.py --points=5000.

Prints, for ratio and ordinal, the seconds of start and first iterations without compiling, and the
peak of the whole process, Python, JAX and the problem included, in matrices of n x n float32.
"""

import resource
import time

import jax
import jax.numpy as jnp
from absl import app, flags

from deepmds_jax import mds

_POINTS = flags.DEFINE_integer("points", 5000, "Number of points.", lower_bound=10)
_ITERATIONS = flags.DEFINE_integer("iterations", 10, "Iterations.", lower_bound=1)


def main(_) -> None:
    """Ratio before ordinal, which needs more: the peak only rises."""
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
