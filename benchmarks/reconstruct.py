"""Time of `reconstruct` per face: alone and in batches, forward and derivative, and where it goes.

  python benchmarks/reconstruct.py [--label=before]

Compile times stand apart; every time is the least of several. On a CPU each batch is lifted by one
jitted call and by one call outside jit, which uses all cores; on a GPU batches go up to 1,000,000
faces. Parts of the anchored system are timed for 2,048 faces beside their arithmetic at the speed
of a large matrix product in the same run. Writes results/reconstruct_LABEL.json, and
results/reconstruct.md of all labels there are.
"""

import functools
import json
import pathlib
import platform
import time
from collections.abc import Callable

import face_sets
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import deepmds_jax as dm
from deepmds_jax.evaluation.hardware import describe_hardware
from deepmds_jax.methods.anchored import pipeline
from deepmds_jax.methods.anchored.encoder import ShapeEncoder
from deepmds_jax.methods.anchored.pairs import PairNetwork
from deepmds_jax.methods.layers import apply_network

try:
    from deepmds_jax.mds.cores import map_in_blocks
except ImportError:  # of older versions, to be compared with
    def map_in_blocks(solve, *batch, block):
        """The whole batch at once."""
        del block
        return solve(*batch)

_LABEL = flags.DEFINE_string("label", "now", "Of these results.")

RESULTS = pathlib.Path(__file__).parent / "results"
WEIGHTS = "ibug68", "flame51", "ibug68_published", "flame51_published"
BATCHES = (1, 16, 256, 2048)
GPU_BATCHES = (1, 256, 16384, 1_000_000)
NOISE = 0.02  # of the size of the face in the image
BUDGET_S, MIN_REPEATS, MAX_REPEATS = 2.0, 3, 30


def least_seconds(run: Callable, *args) -> float:
    """The least time of repeated calls."""
    jax.block_until_ready(run(*args))
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < MIN_REPEATS or (
        time.perf_counter() - begin < BUDGET_S and len(times) < MAX_REPEATS
    ):
        start = time.perf_counter()
        jax.block_until_ready(run(*args))
        times.append(time.perf_counter() - start)
    return min(times)


def draw(weights: str, num_faces: int) -> np.ndarray:
    """(F, N, 2) landmarks of made-up faces with noise."""
    topology = weights.removesuffix("_published")
    return face_sets.noisy_landmarks(topology, num_faces, NOISE, 4096)


def loss(params, x2d: jax.Array) -> jax.Array:
    """Something to differentiate."""
    return jnp.sum(dm.reconstruct(params, x2d) ** 3)


def time_batches(weights: str, x2d: np.ndarray, batches: tuple[int, ...]) -> list[dict]:
    """Rows for each batch size: microseconds per face and seconds to compile."""
    params = dm.load_pretrained(weights)
    rows = []
    for batch in batches:
        faces = jax.device_put(x2d[:batch])
        row = {"weights": weights, "batch": batch}
        functions = {"points": dm.reconstruct, "all": dm.reconstruct_detailed}
        if batch == 1_000_000:
            del functions["all"]  # 18 GB of distances
        if batch <= 2048:
            functions["gradient"] = jax.grad(loss, argnums=1)
        for name, function in functions.items():
            start = time.perf_counter()
            run = jax.jit(function).lower(params, faces).compile()
            row[f"{name}_compile_s"] = round(time.perf_counter() - start, 2)
            row[f"{name}_us"] = round(1e6 * least_seconds(run, params, faces) / batch, 1)
        eager = functools.partial(dm.reconstruct, params)
        row["points_outside_jit_us"] = round(1e6 * least_seconds(eager, faces) / batch, 1)
        rows.append(row)
        print(row, flush=True)
    return rows


def time_parts(weights: str, x2d: np.ndarray) -> list[dict]:
    """Rows for the parts of the anchored system: microseconds and operations per face."""
    params = dm.load_pretrained(weights)
    num_landmarks = x2d.shape[1]
    near = x2d - np.mean(x2d, axis=1, keepdims=True)
    near = near / np.sqrt(np.mean(near**2, axis=(1, 2), keepdims=True))
    visible = np.ones(near.shape[:2], np.float32)

    def encode(x2d, visible):
        return apply_network(ShapeEncoder(num_landmarks), params.encoder, x2d, visible)

    def estimate(proposal, visible):
        found = apply_network(PairNetwork(num_landmarks), params.pairs, proposal, visible)
        return found._replace(trust=visible)  # it has no axis of faces

    def solve(x2d, visible):
        return pipeline.solve(params.encoder, params.pairs, x2d, visible).embedded

    def in_blocks(function):
        return jax.jit(lambda *batch: map_in_blocks(function, *batch, block=16))

    with jax.default_matmul_precision("highest"):
        proposal = in_blocks(encode)(near, visible)
        inputs = {"encoder": (encode, near, visible),
                  "pair network": (estimate, proposal, visible),
                  "encoder, pairs and solver": (solve, near, visible)}
        rows = []
        for name, (function, *batch) in inputs.items():
            seconds = least_seconds(in_blocks(function), *batch)
            one = jax.jit(function).lower(*jax.tree.map(lambda x: x[:1], batch)).compile()
            operations = (one.cost_analysis() or {}).get("flops", 0)
            rows.append({"weights": weights, "part": name, "batch": len(near),
                         "us": round(1e6 * seconds / len(near), 1),
                         "kiloflop": round(operations / 1e3)})
            print(rows[-1], flush=True)
    return rows


def peak() -> float:
    """GFLOP/s of a product of large matrices."""
    size = 2048
    matrix = jnp.ones((size, size)) / size
    return 2 * size**3 / least_seconds(jax.jit(lambda x: x @ x), matrix) / 1e9


def report() -> str:
    """The results of all labels as Markdown."""
    lines = ["# Time of `reconstruct`", "", "Made by `python benchmarks/reconstruct.py`; *before* "
             "is the version of 2026-11-26, which took every pair of landmarks twice and checked "
             "its own estimates, on the same machine in the same hour. "
             "Parts are of batches of 2,048; their operations are those that XLA counts, the body "
             "of a loop once.", ""]
    for file in sorted(RESULTS.glob("reconstruct_*.json")):
        found = json.loads(file.read_text())
        machine = found["machine"]
        label = file.stem.removeprefix("reconstruct_")
        lines += [
            f"## {label.capitalize()}", "",
            f"{machine['device']}, {machine['cores']} cores, {machine['cpu']}, "
            f"jax {machine['jax']}; a product of large matrices: {found['peak_gflops']:.0f} "
            "GFLOP/s. Microseconds a face; seconds to compile in brackets.", "",
            "| weights | batch | `reconstruct` | `reconstruct_detailed` | derivative "
            "| outside jit |", "|---|---|---|---|---|---|"]
        for row in found["rows"]:
            cells = [f"{row[f'{name}_us']} ({row[f'{name}_compile_s']})"
                     if f"{name}_us" in row else "" for name in ("points", "all", "gradient")]
            lines.append(f"| {row['weights']} | {row['batch']:,} | {' | '.join(cells)} | "
                         f"{row['points_outside_jit_us']} |")
        lines += ["", "| weights | part | us a face | kFLOP counted | us at that speed |",
                  "|---|---|---|---|---|"]
        lines += [f"| {row['weights']} | {row['part']} | {row['us']} | {row['kiloflop']} | "
                  f"{row['kiloflop'] / found['peak_gflops']:.1f} |" for row in found["parts"]]
        lines.append("")
    return "\n".join(lines)


def main(_) -> None:
    """Times all weights and batch sizes."""
    batches = BATCHES if jax.default_backend() == "cpu" else GPU_BATCHES
    rows, parts = [], []
    for weights in WEIGHTS:
        x2d = draw(weights, max(batches))
        rows += time_batches(weights, x2d, batches)
        if not weights.endswith("_published"):
            parts += time_parts(weights, x2d[:2048])
    machine = {**describe_hardware(), "jax": jax.__version__, "python": platform.python_version()}
    found = {"machine": machine, "peak_gflops": round(peak(), 1), "rows": rows, "parts": parts}
    file = RESULTS / f"reconstruct_{_LABEL.value}.json"
    file.write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "reconstruct.md").write_text(report())


if __name__ == "__main__":
    app.run(main)
