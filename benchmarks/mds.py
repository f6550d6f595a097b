"""Multidimensional scaling: `deepmds_jax.mds` and the installed peers in one run, at equal stress.

  python benchmarks/mds.py            # minutes; --quick: under one
  taskset -c 0 python benchmarks/mds.py  # one core for ours, too: mds_cpu_one_core

Writes mds_<device>.json, .md and .png. A problem is one matrix of dissimilarities, and its start
(classical scaling) is in the time. Peers solve `--subset` problems of each kind one after the other
on one core; ours solves them in batches, on all cores or the accelerator; the first call, which
compiles, is timed apart. Speed means nothing without accuracy: every row has its *excess*, how far
the stress-1 of the tool's configurations, worked out in float64 by mds_problems.py, lies above the
optimum.
"""

import pathlib
from functools import partial
from typing import NamedTuple

import jax
import mds_report
import numpy as np
from absl import app, flags
from mds_peers import find_peers, measure
from mds_problems import Case, draw_problems, source_of_faces, stress_of

from deepmds_jax import mds

_QUICK = flags.DEFINE_bool("quick", False, "A few small problems, to see that it runs.")
_SUBSET = flags.DEFINE_integer("subset", 16, "Problems that the peers solve and that are judged.")
_OUT = flags.DEFINE_string(
    "out", str(pathlib.Path(__file__).parent / "results"), "Folder for the results."
)

# Ours with its default, for ratio also with one that ends nearer to where scikit-learn's default
# does, but still below its stress.
TOLERANCES = {"ratio": (None, 1e-3), "ordinal": (None,)}
MAX_POINTS_OF_OPTIMUM = 200  # beyond, converging to 1e-9 takes longer than all the rest


class Plan(NamedTuple):
    """What is measured and for how long.

    Attributes:
      cases: the kinds of problems; those of one kind of data ascend in n.
      subset: problems that peers solve; fewer where n is large.
      budget_s: seconds for which a measurement is repeated.
      limit_s: no measurement begins that is likely to take longer.
    """

    cases: tuple[Case, ...]
    subset: int
    budget_s: float
    limit_s: float


def full_plan(subset: int) -> Plan:
    """Batches of faces and of general problems; single problems of 20 to 2,000 points."""
    batches = (1, 8, 64, 512, 4096)
    cases = [Case("faces", 68, 3, batches)]
    for n in (20, 68, 200, 500, 1000, 2000):
        cases.append(Case("general", n, 2, batches if n == 68 else (1,)))
    if jax.default_backend() != "cpu":
        cases.append(Case("faces", 72, 3, (16384,)))
    return Plan(tuple(cases), subset, budget_s=3.0, limit_s=15.0)


def quick_plan(subset: int) -> Plan:
    """A small batch of faces and two small sizes."""
    cases = (
        Case("faces", 68, 3, (1, 8)), Case("general", 20, 2, (1,)), Case("general", 40, 2, (1,))
    )
    return Plan(cases, min(subset, 2), budget_s=0.1, limit_s=5.0)


def benchmark(plan: Plan) -> dict:
    """Measures all tools: machine, source of the faces, rows, and what was left out."""
    peers = find_peers()
    limit = Limit(plan.limit_s)
    rows = []
    for case in plan.cases:
        # As many problems as 100 points allow, down to one.
        subset = max(1, min(plan.subset, plan.subset * 100**2 // case.n**2))
        problems = draw_problems(case, subset + max(case.batches))
        for transform in ("ratio", "ordinal"):
            fitting = [peer for peer in peers if peer.transform == transform]
            found = [
                *time_peers(case, fitting, problems[:subset], plan.budget_s, limit),
                *(row for tolerance in TOLERANCES[transform] for row in time_ours(
                    case, transform, tolerance, problems, subset, plan.budget_s, limit)),
            ]
            if not found:
                continue
            replace_points(found, problems[:subset], case, transform)
            mds_report.add_speedups(found)
            print(f"\n{case.data}, {case.n} points\n{mds_report.to_table(found)}", flush=True)
            rows += found
    faces = {source_of_faces(case.n) for case in plan.cases if case.data == "faces"}
    return {
        "machine": mds_report.machine(), "faces": ", ".join(sorted(faces)),
        "most": MAX_POINTS_OF_OPTIMUM, "rows": rows, "skipped": limit.skipped,
    }


class Limit:
    """Foretells from the last time of the same kind how long more work would take."""

    def __init__(self, limit_s: float):
        self.limit_s, self.last, self.skipped = limit_s, {}, []

    def allows(self, case: Case, name: str, num_problems: int) -> bool:
        """Whether these problems are likely to be solved within the limit; if not, notes it."""
        work, seconds = self.last.get((case.data, name), (1.0, 0.0))
        foretold = seconds * _work(case, num_problems) / work
        if foretold > self.limit_s:
            self.skipped.append(f"{name}, {case.data}, {num_problems} x {case.n} points")
        return foretold <= self.limit_s

    def note(self, case: Case, name: str, num_problems: int, seconds: float) -> None:
        """Remembers a measurement."""
        self.last[case.data, name] = _work(case, num_problems), seconds


def _work(case: Case, num_problems: int) -> float:
    return num_problems * case.n**2.5  # between n^2 of an iteration and n^3 of a full eigh


def time_peers(case, peers, problems, budget_s, limit) -> list[dict]:
    """A row per peer, with the configurations."""
    rows = []
    for peer in peers:
        name = f"{peer.name} ({peer.transform})"
        if limit.allows(case, name, len(problems)):
            seconds, points = peer.solve(problems, case.k, budget_s)
            limit.note(case, name, len(problems), seconds)
            rows.append(row(case, peer.transform, peer.name, 1, len(problems), seconds, points))
    return rows


def time_ours(case, transform, tolerance, problems, subset, budget_s, limit) -> list[dict]:
    """A row per batch size; small batches go through enough problems to cover the subset."""
    tool, options = mds_report.OURS, {}
    if tolerance is not None:
        tool, options = f"{tool}, tolerance {tolerance:g}", {"tolerance": tolerance}
    name = f"{tool} ({transform})"
    solve = partial(mds.smacof, num_dims=case.k, transform=transform, **options)
    rows = []
    for batch in case.batches:
        num_batches = -(-subset // batch)
        count = num_batches * batch
        if not limit.allows(case, name, count):
            continue
        batches = np.split(problems[:count], num_batches)
        first_s, seconds, result = solve_batches(solve, batches, budget_s)
        limit.note(case, name, count, seconds)
        points = result.embedding[:subset]
        rows.append({
            **row(case, transform, tool, batch, count, seconds, points),
            "mean_iterations": float(result.num_iters.mean()),
            "converged_share": float((result.status == mds.Status.CONVERGED).mean()),
            "first_call_s": first_s,
        })
    return rows


def solve_batches(smacof, batches, budget_s) -> tuple[float, float, mds.MDSResult]:
    """Seconds of the first call, median seconds for all batches, and their results together.

    The calls are those of a user outside jit: checks of the input and the spread over the cores of
    a CPU are in the time.
    """
    batches = [jax.device_put(batch) for batch in batches]

    def solve(batch):
        return jax.block_until_ready(smacof(batch))

    first_s, _ = measure(lambda: solve(batches[0]), 0)
    seconds, results = measure(lambda: [solve(batch) for batch in batches], budget_s)
    return first_s, seconds, jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def row(case, transform, tool, batch, count, seconds, points) -> dict:
    """What peers and ours are both asked."""
    return {
        "data": case.data, "n": case.n, "k": case.k, "transform": transform, "tool": tool,
        "batch": batch, "problems_per_s": count / seconds, "ms_per_problem": 1e3 * seconds / count,
        "points": points,
    }


def replace_points(rows, problems, case, transform) -> None:
    """Replaces the configurations of rows by their stress-1 and its excess over the optimum."""
    stress = np.stack([stress_of(problems, r.pop("points"), transform) for r in rows])
    known = case.n <= MAX_POINTS_OF_OPTIMUM
    optimum = find_optima(problems, case.k, transform) if known else stress.min(axis=0)
    excess = stress - optimum
    for i, r in enumerate(rows):
        r |= {
            "stress": float(stress[i].mean()),
            "excess": float(excess[i].mean()),
            "relative_excess": float((excess[i] / optimum).mean()),
            "excess_max": float(excess[i].max()),
        }


def find_optima(problems, k, transform) -> np.ndarray:
    """Stress-1 where our own solver ends on CPU in float64 with a tolerance of 1e-9."""
    solve = partial(mds.smacof, transform=transform, tolerance=1e-9, max_iters=20_000)
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        points = np.asarray(solve(problems.astype(np.float64), k).embedding)
    return stress_of(problems, points, transform)


def main(_) -> None:
    """Measures and writes."""
    plan = quick_plan if _QUICK.value else full_plan
    mds_report.write(_OUT.value, benchmark(plan(_SUBSET.value)))


if __name__ == "__main__":
    app.run(main)
