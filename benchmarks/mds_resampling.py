"""Jackknife, bootstrap and permutation test: one batch here, a loop over problems elsewhere.

  python benchmarks/mds_resampling.py        # two minutes

Writes mds_resampling.json and .md. Peers solve the same problems one after the other on one core:
vegan's monoMDS the ordinal ones, scikit-learn's smacof the ratio ones, where they are installed.
Their time is that of the problems alone; ours is that of the whole function, with drawing, aligning
and covariances, on one core and on all. They take turns of equal length, and the median of the
ratios counts.
"""

import json
import os
import pathlib
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from absl import app, flags
from mds_peers import find_peers, find_r_versions

from deepmds_jax import mds

_OUT = flags.DEFINE_string(
    "out", str(pathlib.Path(__file__).parent / "results"), "Folder for the results."
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns of each tool that count.")

K = 2
LEAST_S = 0.3  # of a measurement
PEERS = {"ordinal": "vegan::monoMDS", "ratio": "scikit-learn, default eps"}


class Plan(NamedTuple):
    """One row of the table.

    Attributes:
      name: what is done.
      ours: transform -> stress of the replicates.
      problems: (R, n, n), those that a loop solves for the same.
    """

    name: str
    ours: Callable[[str], jax.Array]
    problems: np.ndarray


def draw_data(num_points: int, num_judges: int) -> np.ndarray:
    """(judges, n, n) distances in the plane, with errors."""
    rng = np.random.default_rng(num_points)
    points = rng.standard_normal((num_points, K))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    noise = np.triu(0.3 * rng.standard_normal((num_judges, num_points, num_points)), 1)
    return np.abs(distances + noise + noise.swapaxes(1, 2)).astype(np.float32)


def plan_all() -> list[Plan]:
    """The three functions."""
    rng, key = np.random.default_rng(0), jax.random.key(0)
    plans = []
    for n in (20, 60):
        data = draw_data(n, 10)
        given = data.mean(axis=0)
        others = np.array([np.delete(np.arange(n), i) for i in range(n)])
        rows = rng.integers(0, len(data), (200, len(data)))
        upper = np.triu_indices(n, 1)
        permuted = np.zeros((199, n, n), np.float32)
        for matrix in permuted:
            matrix[upper] = rng.permutation(given[upper])
        plans += [
            Plan(f"jackknife of {n} points",
                 lambda transform, d=given: mds.jackknife(d, K, transform=transform).stress,
                 given[others[:, :, None], others[:, None, :]]),
            Plan(f"bootstrap of {n} points, 200 replicates",
                 lambda transform, x=data: mds.bootstrap(x, mean, key, K,
                                                         transform=transform).stress,
                 data[rows].mean(axis=1)),
            Plan(f"permutation test of {n} points, 199 permutations",
                 lambda transform, d=given: mds.permutation_test(
                     d, key, K, num_permutations=199, transform=transform).permuted,
                 permuted + permuted.swapaxes(1, 2)),
        ]
    return plans


def mean(data: jax.Array) -> jax.Array:
    """(n, n) of (judges, n, n)."""
    return data.mean(axis=0)


def repeat(run: Callable[[], jax.Array], least_s: float) -> tuple[float, np.ndarray]:
    """Mean seconds of a run, repeated for this long, and its result.

    As long as the peer takes: where other programs share the cores, whatever takes long is
    interrupted more often, and a least time would favour what is short.
    """
    start, count = time.perf_counter(), 0
    while True:
        result = np.asarray(run())
        count += 1
        if (passed := time.perf_counter() - start) >= least_s:
            return passed / count, result


def measure(plan: Plan, transform: str, num_rounds: int) -> dict:
    """One row: how many times as fast ours is, and the mean stress-1 of both."""
    peer = next(p for p in find_peers() if (p.transform, p.name) == (transform, PEERS[transform]))
    everywhere = os.sched_getaffinity(0)
    ratios: dict[str, list[float]] = {"one": [], "all": []}
    stress, embeddings = np.empty(0), np.empty(0)
    for turn in range(num_rounds + 1):
        seconds, embeddings = peer.solve(plan.problems, K, LEAST_S)
        for name, cores in (("one", {min(everywhere)}), ("all", everywhere)):
            os.sched_setaffinity(0, cores)
            mean_seconds, stress = repeat(partial(plan.ours, transform), max(LEAST_S, seconds))
            if turn:  # the first one compiles
                ratios[name].append(seconds / mean_seconds)
    times = {name: float(np.median(values)) for name, values in ratios.items()}
    still = mds.smacof(plan.problems, K, transform=transform, init=embeddings.astype(np.float32),
                       max_iters=0)
    return {
        "what": plan.name, "transform": transform, "peer": peer.name, "problems": len(stress),
        "stress": float(np.mean(stress)), "peer_stress": float(np.mean(still.stress)),
        "times_on_one_core": times["one"], "times_on_all_cores": times["all"],
    }


def write(folder: pathlib.Path, rows: list[dict]) -> None:
    """The JSON file and the table."""
    folder.mkdir(parents=True, exist_ok=True)
    setup = {"cores": len(os.sched_getaffinity(0)), "jax": jax.__version__, **find_r_versions()}
    (folder / "mds_resampling.json").write_text(json.dumps({"setup": setup, "rows": rows}, indent=1)
                                                + "\n")
    lines = [
        "# Resampling", "", f"`python benchmarks/mds_resampling.py`; {setup}", "",
        "How many times as fast the whole function is as a loop over its problems elsewhere, which "
        "runs on one core. Stress-1 is the mean over the problems.", "",
        "| what | transform | a loop of | on one core | on all cores | our stress | its stress |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['what']} | {r['transform']} | {r['peer']} | {r['times_on_one_core']:.1f} | "
        f"{r['times_on_all_cores']:.1f} | {r['stress']:.4f} | {r['peer_stress']:.4f} |"
        for r in rows
    ]
    (folder / "mds_resampling.md").write_text("\n".join(lines) + "\n")


def main(_):
    names = {peer.name for peer in find_peers()}
    transforms = [transform for transform, name in PEERS.items() if name in names]
    rows = []
    for plan in plan_all():
        for transform in transforms:
            rows.append(measure(plan, transform, _ROUNDS.value))
            print(rows[-1])
    write(pathlib.Path(_OUT.value), rows)


if __name__ == "__main__":
    app.run(main)
