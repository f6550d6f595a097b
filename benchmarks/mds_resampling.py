"""Jackknife, bootstrap and permutation test: one batch here, a loop over problems elsewhere.

  python benchmarks/mds_resampling.py        # two minutes

Writes mds_resampling.json and .md. Peers solve the same problems one after the other on one core:
vegan's monoMDS the ordinal ones, scikit-learn's smacof the ratio ones, where they are installed.
Their time is that of the problems alone; ours is that of the whole function, with drawing, aligning
and covariances, on one core and on all. All take turns, and the least time of each counts.
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
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each tool.")

K = 2
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


def measure(plan: Plan, transform: str, num_rounds: int) -> dict:
    """One row: seconds and mean stress-1 of ours and of the peer."""
    peer = next(p for p in find_peers() if (p.transform, p.name) == (transform, PEERS[transform]))
    everywhere = os.sched_getaffinity(0)
    run = partial(plan.ours, transform)
    times: dict[str, list[float]] = {"one": [], "all": [], "peer": []}
    stress, embeddings = np.empty(0), np.empty(0)
    for _ in range(num_rounds + 1):
        for name, cores in (("one", {min(everywhere)}), ("all", everywhere)):
            os.sched_setaffinity(0, cores)
            start = time.perf_counter()
            stress = np.asarray(run())
            times[name].append(time.perf_counter() - start)
        seconds, embeddings = peer.solve(plan.problems, K, 0)
        times["peer"].append(seconds)
    least = {name: min(values[1:]) for name, values in times.items()}  # the first one compiles
    still = mds.smacof(plan.problems, K, transform=transform, init=embeddings.astype(np.float32),
                       max_iters=0)
    return {
        "what": plan.name, "transform": transform, "peer": peer.name, "problems": len(stress),
        "seconds": least, "stress": float(np.mean(stress)),
        "peer_stress": float(np.mean(still.stress)),
        "times_on_one_core": least["peer"] / least["one"],
        "times_on_all_cores": least["peer"] / least["all"],
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
