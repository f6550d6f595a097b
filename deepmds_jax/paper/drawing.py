"""What the figures share: panels, skeletons and colours."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from deepmds_jax.extras import require
from deepmds_jax.topologies import Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, TRUTH, CARD = "#1f2933", "#6b7785", "#aeb6bf", "#f5f6f8"
COLOURS = (
    "#e4572e", "#2f5d9b", "#3a9d74", "#8a4fa3", "#c98a1b", "#4aa3b5", "#a13a5b", "#5b6b2f",
)
PANEL = 1.75  # inches
TURN = 55  # degrees by which the 3D panels turn the head, its left side to the front


def panels(num_rows: int, num_columns: int, *names: str) -> tuple["Figure", np.ndarray]:
    """A figure and its (num_rows, num_columns) square axes, with row names on the left."""
    figure_module = require("matplotlib.figure", "pictures")
    size = (PANEL * num_columns + 0.4, PANEL * num_rows + 0.6)
    figure = figure_module.Figure(figsize=size, layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    for row, name in zip(axes, names, strict=True):
        row[0].set_ylabel(name, fontsize=8.5, color=INK)
        for axis in row:
            axis.set(xticks=[], yticks=[], facecolor=CARD, aspect="equal")
            axis.spines[:].set_visible(False)
    return figure, axes


def frame(axis: "Axes", points: np.ndarray) -> None:
    """Sets the window of the axes to a square around (N, 2) points of size 1, y down."""
    x, y = (points.min(0) + points.max(0)) / 2
    axis.set(xlim=(x - 1.8, x + 1.8), ylim=(y + 1.8, y - 1.8))


def standardized(points: np.ndarray) -> np.ndarray:
    """Centres (N, 2) points and scales them to root-mean-square distance 1 from the centre."""
    points = points - points.mean(0)
    return points / np.sqrt((points**2).sum(-1).mean())


def turned(points: np.ndarray) -> np.ndarray:
    """Turns the head: (N, 3) points in the head frame -> (N, 2) in the picture."""
    cos, sin = np.cos(np.deg2rad(TURN)), np.sin(np.deg2rad(TURN))
    return np.stack([points[:, 0] * cos + points[:, 2] * sin, points[:, 1]], axis=-1)


def skeleton(axis: "Axes", points: np.ndarray, topology: Topology, colour: str) -> None:
    """Draws (N, 2) points and the edges between them, y down."""
    collections = require("matplotlib.collections", "pictures")
    edges = np.asarray(topology.edges, int).reshape(-1, 2)
    lines = collections.LineCollection(points[edges], colors=colour, linewidths=0.9)
    axis.add_collection(lines, autolim=False)
    axis.scatter(*points.T, s=4, color=colour, linewidths=0, zorder=3)


def shape(
    axis: "Axes", points: np.ndarray, truth: np.ndarray | None, topology: Topology, colour: str
) -> None:
    """Draws an (N, 3) shape turned, behind it the truth, and tells how far it is from that."""
    behind = points if truth is None else truth
    middle, size = behind.mean(0), np.sqrt(((behind - behind.mean(0)) ** 2).sum(-1).mean())
    frame(axis, turned((behind - middle) / size))
    if truth is not None:
        skeleton(axis, turned((truth - middle) / size), topology, TRUTH)
        error = np.sqrt(((points - truth) ** 2).sum(-1).mean()) / size
        axis.text(0.97, 0.03, f"{100 * error:.1f} %", transform=axis.transAxes, ha="right",
                  va="bottom", fontsize=7.5, color=MUTED)
    skeleton(axis, turned((points - middle) / size), topology, colour)


def explain_shapes(figure: "Figure") -> None:
    """What `shape` tells of the truth, below the panels."""
    figure.supxlabel("grey: the truth; per cent: root-mean-square distance to it, relative to the "
                     "size of the face", fontsize=7.5, color=MUTED)


def legend(figure: "Figure", colours: Mapping[str, str]) -> None:
    """What the colours of lines mean, below the panels: name -> colour."""
    lines = require("matplotlib.lines", "pictures")
    handles = [lines.Line2D([], [], color=c, label=name) for name, c in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
                  fontsize=8, labelcolor=INK)


def plain(axis: "Axes") -> None:
    """Gives a chart a grid and takes away its frame."""
    axis.tick_params(which="both", labelsize=8, color="#e3e6ea", labelcolor=INK)
    axis.grid(True, color="#e3e6ea", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[:].set_visible(False)


def cycle(num: int) -> list[str]:
    """A colour for each of so many things."""
    return [COLOURS[i % len(COLOURS)] for i in range(num)]
