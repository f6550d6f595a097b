"""The report of benchmarks/mds.py: machine, table and plot."""

import json
import os
import pathlib
import platform
import re
from importlib import metadata
from itertools import groupby

import numpy as np
from matplotlib.figure import Figure
from mds_peers import find_r_versions

from deepmds_jax.evaluation.hardware import describe_hardware
from deepmds_jax.mds.cores import num_cores

OURS = "deepmds_jax"
EQUAL = 1e-6  # a mean excess of stress-1 below this counts as the optimum
COLUMNS = {  # key of a row: heading, format
    "transform": ("transform", "{}"),
    "tool": ("tool", "{}"),
    "batch": ("batch", "{:,}"),
    "problems_per_s": ("problems/s", "{:,.4g}"),
    "ms_per_problem": ("ms/problem", "{:,.4g}"),
    "stress": ("stress-1", "{:.7f}"),
    "excess": ("excess", "{:+.1e}"),
    "relative_excess": ("relative", "{:+.1e}"),
    "excess_max": ("worst", "{:+.1e}"),
    "speedup": ("x fastest peer", "{:.3g}"),
    "speedup_at_optimum": ("x fastest at optimum", "{:.3g}"),
    "mean_iterations": ("iterations", "{:.0f}"),
    "converged_share": ("converged", "{:.3g}"),
    "first_call_s": ("first call s", "{:.1f}"),
}
COLORS = {"deepmds_jax": "#d1495b", "vegan": "#2e7d4f", "MASS": "#7a5195", "scikit": "#2f6db5"}
ABOUT = """\
A problem is one matrix of dissimilarities; its start, classical scaling, is in the time. Peers
solve one problem after the other on one core. {ours} solves `batch` of them in one call,
in float32, on all of the device. Times are medians of repeated passes over the same problems,
or one pass where it takes longer than a second.

*faces*: landmarks in 3D of random faces ({faces}), scaled to [0, 1], distances times 1 + 0.03 e.
*general*: normal points in 5 dimensions, distances times 1 + 0.1 e; e ~ N(0, 1).

*Excess* is stress-1, worked out in float64 from the configurations with optimal disparities, above
the optimum: what {ours} reaches in float64 with a tolerance of 1e-9, or, above {most} points, the
lowest that any of these tools reached. *excess* and *relative* (to the optimum) are means, *worst*
is the largest, all over the problems that the peers solved too; one far off is another local
minimum. *x fastest peer*: speed over that of the fastest peer at whatever stress; *at optimum*:
over that of the fastest peer with a mean excess below {equal:g}."""


def machine() -> dict:
    """What the numbers are measured on; the version of what is not installed is None."""
    packages = ("jax", "jaxlib", "numpy", "scipy", "scikit-learn")
    versions = {"python": platform.python_version(), **{name: _version(name) for name in packages}}
    hardware = {**describe_hardware(), "cores": num_cores()}
    return {**hardware, "versions": {**versions, **find_r_versions()}}


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def is_ours(tool: str) -> bool:
    """Whether this is deepmds_jax, whatever its settings."""
    return tool.split(",")[0] == OURS


def add_speedups(rows: list[dict]) -> None:
    """Adds to our rows, all of one kind of problem, the speed over that of the fastest peers."""
    ours = [row for row in rows if is_ours(row["tool"])]
    peers = [row for row in rows if not is_ours(row["tool"])]
    exact = [row for row in peers if row["excess"] < EQUAL]
    for key, others in (("speedup", peers), ("speedup_at_optimum", exact)):
        for row in ours if others else []:
            row[key] = row["problems_per_s"] / max(r["problems_per_s"] for r in others)


def write(folder: str | os.PathLike, results: dict) -> list[pathlib.Path]:
    """Writes mds_<device>.json, .md and .png into a folder and returns their paths."""
    machine = results["machine"]
    stem = re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-")
    if stem == "cpu" and machine["cores"] == 1:
        stem += "_one_core"
    paths = [pathlib.Path(folder) / f"mds_{stem}{suffix}" for suffix in (".json", ".md", ".png")]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    paths[0].write_text(json.dumps(results, indent=1) + "\n")
    paths[1].write_text(to_page(results, paths[2].name))
    draw(results).savefig(paths[2], dpi=150)
    return paths


def to_page(results: dict, picture: str) -> str:
    """The report in Markdown."""
    machine = results["machine"]
    versions = [f"{name} {v or 'not installed'}" for name, v in machine["versions"].items()]
    about = ABOUT.format(ours=OURS, faces=results["faces"], most=results["most"], equal=EQUAL)
    parts = [
        "# Multidimensional scaling: time and stress",
        f"`python benchmarks/mds.py` on {_name(machine)}; {', '.join(versions)}.",
        f"![speed and time]({picture})",
        about,
    ]
    for (data, n, k), rows in groupby(results["rows"], lambda r: (r["data"], r["n"], r["k"])):
        parts += [f"## {data}: {n:,} points in {k} dimensions", to_table(list(rows))]
    if results["skipped"]:
        parts += ["## Left out because it was likely to take too long"]
        parts += ["\n".join(f"- {line}" for line in results["skipped"])]
    return "\n\n".join(parts) + "\n"


def to_table(rows: list[dict]) -> str:
    """Rows as a Markdown table."""
    headings, formats = zip(*COLUMNS.values(), strict=True)
    lines = [headings, ["---", "---", *["---:"] * (len(headings) - 2)]]
    for row in rows:
        pairs = zip(COLUMNS, formats, strict=True)
        lines.append([form.format(row[key]) if key in row else "" for key, form in pairs])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(results: dict) -> Figure:
    """Above, faces of 68 points: speed by batch size. Below, single general problems: time by n."""
    figure = Figure(figsize=(11, 9.5), layout="constrained")
    figure.suptitle(f"{_name(results['machine'])}; peers on one core")
    axes = figure.subplots(2, 2, sharey="row")
    for transform, (speed, time) in zip(("ratio", "ordinal"), axes.T, strict=True):
        rows = [row for row in results["rows"] if row["transform"] == transform]
        faces = [row for row in rows if row["data"] == "faces" and row["n"] == 68]
        single = [row for row in rows if row["data"] == "general" and row["batch"] == 1]
        _draw(speed, faces, "batch", "problems_per_s")
        _draw(time, single, "n", "ms_per_problem")
        speed.set(title=f"{transform}: faces, 68 points", xlabel=f"batch size of {OURS}")
        time.set(title=f"{transform}: one general problem, colours as above", xlabel="points")
        speed.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16),
                     ncols=2, title="stress-1 above the optimum", title_fontsize=8)
    axes[0, 0].set_ylabel("problems per second")
    axes[1, 0].set_ylabel("milliseconds")
    return figure


def _draw(axes, rows, x, y):
    """A curve per tool; where x is the batch size, a peer is a level line."""
    ticks = sorted({row[x] for row in rows})
    for tool in dict.fromkeys(row["tool"] for row in rows):
        of_tool = [row for row in rows if row["tool"] == tool]
        excess = 100 * of_tool[-1]["relative_excess"]
        percent = np.format_float_positional(excess, 1, fractional=False, trim="-", sign=True)
        style = {
            "color": COLORS[re.split("[:,-]", tool)[0]], "label": f"{tool}: {percent} %",
            "linestyle": ":" if "," in tool and "default" not in tool else "-",
            "linewidth": 2.5 if is_ours(tool) else 1.5,
        }
        if x == "batch" and not is_ours(tool):
            axes.axhline(of_tool[0][y], **style)
        else:
            points = [row[x] for row in of_tool], [row[y] for row in of_tool]
            axes.plot(*points, marker="o", markersize=4, **style)
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.grid(color="#e3e6ea")
    axes.spines[["top", "right"]].set_visible(False)


def _name(machine):
    cores = machine["cores"]
    cpu = f"{machine['cpu']}, {cores} core{'s' if cores > 1 else ''}"
    return cpu if machine["device"] == "cpu" else f"{machine['device']} ({cpu})"
