"""Rows of tables 1 to 4: the paper's numbers beside our measurements."""

import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.views import Faces, take_faces
from deepmds_jax.evaluation.hardware import describe_hardware
from deepmds_jax.evaluation.protocol import summarize
from deepmds_jax.evaluation.tables import Row
from deepmds_jax.methods import Method
from deepmds_jax.paper.experiments import Scored
from deepmds_jax.paper.parameter_counts import parameter_rows
from deepmds_jax.paper.published import METHODS, PARAMETERS, TITLES, ScoreTable

_BATCH = 256
_REPEATS = 5


def score_rows(table: ScoreTable, scored: Scored) -> list[Row]:
    """Scores, a row per method of the paper's table and of ours; None where there is no number.

    To be comparable, the trace is also given as a share of its maximum N, because our N may differ
    from the paper's.
    """
    measured = {row["method"]: row for row in summarize(scored.results, scored.samples)}
    ours = {name: measured[method.title] for name, method in scored.methods.items()}
    titles = TITLES | {name: method.title for name, method in scored.methods.items()}
    rows = []
    for name in dict.fromkeys([*table.scores, *ours]):
        paper, row = table.scores.get(name), ours.get(name, {})
        share = paper and paper.depthcorr and paper.depthcorr / table.num_landmarks
        share = share if share and share <= 1 else None  # table 4 of the paper exceeds 1
        rows.append({
            "method": titles[name],
            "MSE, paper": paper and paper.mse,
            "MSE": _times(row.get("MSE"), 1 / table.unit),
            "MSE sd": _times(row.get("MSE sd"), 1 / table.unit),
            "DepthCorr, paper": paper and paper.depthcorr,
            "DepthCorr": row.get("DepthCorr (trace)"),
            "DepthCorr sd": row.get("DepthCorr (trace) sd"),
            "trace/N, paper": share,
            "trace/N": row.get("trace/N"),
            "depth correlation": row.get("depth correlation"),
            "NME": row.get("NME"),
            "right-handed": row.get("right-handed"),
            "not finite": row.get("not finite"),
        })
    return rows


def cost_rows(methods: Mapping[str, Method], faces: Faces) -> list[Row]:
    """Table 2: parameters as the paper counts them, and the time per face on this machine.

    Args:
      methods: name in the registry -> method.
      faces: test faces for the timing, at least one.
    """
    counted = {row["network"]: row["as Table 2"] for row in parameter_rows()
               if row["N"] in (72, None)}
    counted = {
        "deep_mds": counted["Deep-MDS, release features"],
        "zhao": counted["Zhao et al."],
        "mobileface": counted["MobileFace"],
        "aldrian": 0, "mean_shape": 0, "posed_mean": 0,
    }
    rows, num_landmarks = [], faces.x2d.shape[-2]
    for name in dict.fromkeys([*PARAMETERS, *methods]):
        method = methods.get(name)
        one, many = (_milliseconds(method, faces, n) for n in (1, _BATCH)) if method else 2 * [None]
        rows.append({
            "method": method.title if method else METHODS[name],
            "parameters, paper": PARAMETERS.get(name, "-"),
            "parameters, N = 72": counted.get(name),
            f"parameters as timed, N = {num_landmarks}": method.num_params if method else None,
            "ms a face, alone": one,
            f"ms a face, {_BATCH} at once": many,
        })
    return rows


def machine() -> str:
    """The machine that times were measured on, in words."""
    here = describe_hardware()
    name = f"{here['cores']} cores of {here['cpu']}" if here["device"] == "cpu" else here["device"]
    return f"{name}, jax {jax.__version__}"


def describe_landmarks(topology: str) -> str:
    """A topology in words."""
    return f"{topology}, N = {topologies.get(topology).num_landmarks}"


def _milliseconds(method: Method, faces: Faces, num: int) -> float:
    """Median time per face of a batch of `num`, without compilation and transfer of the faces."""
    rows = np.arange(num) % len(faces.x2d)
    batch = take_faces(faces, rows)
    run = jax.jit(method.predict)
    jax.block_until_ready(run(batch))
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(run(batch))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times)) / num


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def unit(table: ScoreTable) -> str:
    """The unit of the MSE column, in words."""
    return f"MSE in units of {table.unit:.0e}".replace("e-0", "e-")


def significance_rows(rows: Sequence[Row]) -> list[Row]:
    """Keeps the tests by the paper's two criteria."""
    return [row for row in rows if row["criterion"] in ("MSE", "DepthCorr (trace)")]
