"""What a GPU does: faces lifted and problems solved per second, at batches of 1 to 1,000,000.

  python benchmarks/gpu.py        # some three minutes; --quick: small batches, on any device

Results on the GPU are compared with those of the CPU, in the same process. Every time is the least
of several, of a call outside jit that is waited for; the first call, which compiles, stands apart.
Writes results/gpu.json and gpu.md, which keep the results on other cards.
"""

import json
import pathlib
import time
from collections.abc import Callable

import face_sets
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import deepmds_jax as dm
from deepmds_jax import mds
from deepmds_jax.data.sources import synthetic
from deepmds_jax.evaluation.hardware import describe_hardware

RESULTS = pathlib.Path(__file__).parent / "results"
LIFTED = {"ibug68": (1, 4096, 1_000_000), "flame51": (1_000_000,), "ibug68_published": (4096,)}
SOLVED = {"ratio": (1, 4096, 1_000_000), "ordinal": (4096, 1_000_000)}
PART = 4096  # problems drawn at once
NOISE = 0.02  # of the size of the face in the image, or of a distance
BUDGET_S, MAX_REPEATS = 1.0, 30

_QUICK = flags.DEFINE_bool("quick", False, "Small batches, to see that it runs.")
_PARTS = flags.DEFINE_list("parts", ["lift", "mds"], "What to measure.")


def least_seconds(run: Callable, *args) -> tuple[float, float]:
    """Of the first call, and the least of repeated ones."""
    start = time.perf_counter()
    jax.block_until_ready(run(*args))
    first = time.perf_counter() - start
    times: list[float] = []
    begin = time.perf_counter()
    while not times or (time.perf_counter() - begin < BUDGET_S and len(times) < MAX_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(run(*args))
        times.append(time.perf_counter() - start)
    return first, min(times)


def landmarks(weights: str, num_faces: int) -> np.ndarray:
    """(F, N, 2) of made-up faces with noise; of more than 16,384 faces, the same ones again."""
    topology = weights.removesuffix("_published")
    return face_sets.noisy_landmarks(topology, num_faces, NOISE, 16384)


def dissimilarities(num_problems: int) -> jax.Array:
    """(P, 68, 68) distances of the landmarks of made-up faces, each with noise of its own."""
    model = synthetic.load("ibug68")

    def draw(key):
        shape_key, noise_key = jax.random.split(key)
        amounts = jax.random.normal(shape_key, (PART, len(model.identity)))
        points = model.mean + jnp.einsum("fk,knd->fnd", amounts, model.identity)
        noise = jax.random.normal(noise_key, (PART, 68, 68))
        return mds.distances(points) * jnp.exp(NOISE * (noise + noise.mT) / 2**0.5)

    @jax.jit
    def draw_all(key):
        parts = jax.lax.map(draw, jax.random.split(key, -(-num_problems // PART)))
        return parts.reshape(-1, 68, 68)[:num_problems]

    return draw_all(jax.random.key(0))


def time_lifting(cases: dict[str, tuple[int, ...]]) -> list[dict]:
    """Rows of `reconstruct` for each of the weights and batch sizes."""
    rows = []
    for weights, batches in cases.items():
        params = dm.load_pretrained(weights)
        x2d = landmarks(weights, max(batches))
        few = x2d[:256]
        here = np.asarray(dm.reconstruct(params, few))
        with jax.default_device(jax.devices("cpu")[0]):
            there = np.asarray(dm.reconstruct(params, few))
        error = np.max(np.sqrt(np.mean((here - there) ** 2, axis=(1, 2))))
        for batch in batches:
            faces = jax.device_put(x2d[:batch])
            first, seconds = least_seconds(dm.reconstruct, params, faces)
            rows.append({"weights": weights, "batch": batch, "first_s": round(first, 2),
                         "us": 1e6 * seconds / batch, "per_s": round(batch / seconds),
                         "error": float(error)})
            print(rows[-1], flush=True)
    return rows


def time_scaling(cases: dict[str, tuple[int, ...]]) -> list[dict]:
    """Rows of `mds.smacof` for each transform and batch size."""
    rows = []
    problems = dissimilarities(max(max(batches) for batches in cases.values()))
    for transform, batches in cases.items():
        def solve(problems, transform=transform):
            return mds.smacof(problems, 3, transform=transform)

        few = np.asarray(problems[:100])
        here = solve(few)
        with jax.default_device(jax.devices("cpu")[0]):
            there = solve(few)
        error = np.max(np.abs(np.asarray(here.stress) / np.asarray(there.stress) - 1))
        for batch in batches:
            part = problems if batch == len(problems) else jax.block_until_ready(problems[:batch])
            first, seconds = least_seconds(solve, part)
            found = jax.tree.map(np.asarray, solve(part)._replace(disparities=0))
            rows.append({
                "transform": transform, "batch": batch, "first_s": round(first, 2),
                "us": 1e6 * seconds / batch, "per_s": round(batch / seconds),
                "iterations": float(np.mean(found.num_iters)),
                "most_iterations": int(np.max(found.num_iters)),
                "converged": float(np.mean(found.converged)), "error": float(error)})
            print(rows[-1], flush=True)
            del found
    return rows


def report(runs: dict[str, dict]) -> str:
    """The results on each card as Markdown."""
    lines = [
        "# On a GPU", "", "`python benchmarks/gpu.py`, on each card. Calls outside jit; data on "
        "the device. *first call* compiles. Of `reconstruct`, *error* is the largest of 256 faces "
        "against the CPU, root mean square over landmarks, in sizes of the face; of `mds.smacof`, "
        "68 points in 3 dimensions, the largest difference of stress against the CPU, relative, "
        "over 100 problems."]
    for device, found in runs.items():
        lines += ["", f"## {device}", "", f"jax {found['machine']['jax']}", "",
                  "| weights | batch | faces/s | µs a face | first call s | error |",
                  "| --- | ---: | ---: | ---: | ---: | ---: |"]
        lines += [f"| {row['weights']} | {row['batch']:,} | {row['per_s']:,} | {row['us']:.3g} | "
                  f"{row['first_s']} | {row['error']:.1g} |" for row in found["lift"]]
        lines += ["", "| transform | batch | problems/s | µs a problem | first call s "
                  "| iterations | of the slowest | converged | error |",
                  "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
        lines += [f"| {row['transform']} | {row['batch']:,} | {row['per_s']:,} | "
                  f"{row['us']:.3g} | {row['first_s']} | {row['iterations']:.1f} | "
                  f"{row['most_iterations']} | {row['converged']:.4f} | {row['error']:.1g} |"
                  for row in found["mds"]]
        lines += [f"\n{note}" for note in found.get("notes", ())]
    return "\n".join([*lines, ""])


def main(_) -> None:
    """Measures, writes and prints."""
    few = _QUICK.value
    found = {"machine": {**describe_hardware(), "jax": jax.__version__}, "lift": [], "mds": []}
    if "lift" in _PARTS.value:
        found["lift"] = time_lifting({"flame51": (1, 64)} if few else LIFTED)
    if "mds" in _PARTS.value:
        found["mds"] = time_scaling({"ratio": (1, 64)} if few else SOLVED)
    path = RESULTS / "gpu.json"
    runs = {} if few or not path.exists() else json.loads(path.read_text())
    runs[found["machine"]["device"]] = found
    if not few:
        path.write_text(json.dumps(runs, indent=1) + "\n")
        path.with_suffix(".md").write_text(report(runs))
    print(report(runs))


if __name__ == "__main__":
    app.run(main)
