"""Time of `reconstruct` per face, compile time apart; run: python benchmarks/reconstruct.py."""

import json
import pathlib
import platform
import time

import jax
import numpy as np

import deepmds_jax as dm
from deepmds_jax.data import specs
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import sample_faces
from deepmds_jax.evaluation.hardware import describe_hardware

RESULTS = pathlib.Path(__file__).parent / "results" / "reconstruct.json"
REPEATS = 7


def machine() -> dict:
    """What the numbers were measured on."""
    return {**describe_hardware(), "jax": jax.__version__, "python": platform.python_version()}


def main() -> None:
    """Times both topologies and some batch sizes."""
    rows = []
    for topology in ("ibug68", "flame51"):
        params = dm.load_pretrained(topology)
        model = synthetic.load(topology)
        views = specs.load_spec("synthetic").views
        for batch in (1, 16, 256):
            x2d = sample_faces(jax.random.key(0), model, views, batch).x2d
            start = time.perf_counter()
            run = jax.jit(dm.reconstruct_detailed).lower(params, x2d).compile()
            compile_s = time.perf_counter() - start
            result = jax.block_until_ready(run(params, x2d))
            times = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                jax.block_until_ready(run(params, x2d))
                times.append(time.perf_counter() - start)
            rows.append({
                "topology": topology, "batch": batch, "compile_s": round(compile_s, 2),
                "ms_per_face_median": round(1e3 * float(np.median(times)) / batch, 3),
                "mean_iterations": float(np.mean(result.num_iters)),
                "converged_share": float(np.mean(result.converged)),
            })
            print(rows[-1])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    print(machine())


if __name__ == "__main__":
    main()
