"""Draws figures 2 to 6 of the paper, as it has them, from our results."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepmds_jax.extras import require
from deepmds_jax.paper.drawing import (
    CARD,
    COLOURS,
    INK,
    MUTED,
    TRUTH,
    cycle,
    explain_shapes,
    frame,
    plain,
    shape,
    skeleton,
    standardized,
)
from deepmds_jax.topologies import Topology

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL = 1.45  # inches
_AROUND = 1.5  # side of the part of a photograph that is shown, in longer sides of the face's box


class Picture(NamedTuple):
    """A cell with a photograph.

    Attributes:
      image: (height, width, 3) uint8 in 0..255 or float in 0..1.
      x2d: (N, 2) landmarks in its pixels, x right and y down; None to draw none, and show all.
    """

    image: np.ndarray
    x2d: np.ndarray | None


class Points(NamedTuple):
    """A cell with landmarks in 2D: (N, 2), x right and y down, any unit; behind them the truth."""

    x2d: np.ndarray
    truth: np.ndarray | None = None


class Shape(NamedTuple):
    """A cell with a shape, turned.

    Attributes:
      points: (N, 3), head frame, any unit.
      truth: likewise, to draw behind it; None where it is not known, or is the shape itself.
      is_truth: whether it is the truth.
    """

    points: np.ndarray
    truth: np.ndarray | None = None
    is_truth: bool = False


def draw_faces(
    columns: Sequence[str],
    rows: Sequence[str],
    cells: Sequence[Sequence[Picture | Points | Shape | None]],
    topology: Topology,
) -> "Figure":
    """Figures 2 to 5: a row for each face, a column for each thing shown of it.

    Shapes are turned by 55 degrees, their left side to the front. Where a cell has a truth it is
    grey, behind; for a shape the panel tells the root-mean-square distance to it, relative to the
    size of the face. Landmarks in 2D are centred and scaled to their panel, and laid on their truth
    so.

    Args:
      columns: headings.
      rows: names of the faces.
      cells: of each row, as many as there are columns; None where a method found no face, "N/A".
      topology: of the landmarks; its edges are drawn.
    """
    figure_module = require("matplotlib.figure", "pictures")
    shown = [cell for row in cells for cell in row if cell is not None]
    with_truth = any(getattr(cell, "truth", None) is not None for cell in shown)
    lines = 1 + max(column.count("\n") for column in columns)
    below = 0.25 if with_truth else 0
    size = (_PANEL * len(columns) + 0.4, _PANEL * len(rows) + 0.2 * lines + below)
    figure = figure_module.Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    colours = dict(zip(columns, cycle(len(columns)), strict=True))
    for row, name, found in zip(axes, rows, cells, strict=True):
        row[0].set_ylabel(name, fontsize=7.5, color=INK)
        for axis, column, cell in zip(row, columns, found, strict=True):
            axis.set(xticks=[], yticks=[], facecolor=CARD, aspect="equal")
            axis.spines[:].set_visible(False)
            if isinstance(cell, Picture):
                _photograph(axis, cell, topology)
            elif isinstance(cell, Points):
                frame(axis, standardized(cell.x2d if cell.truth is None else cell.truth))
                if cell.truth is not None:
                    skeleton(axis, standardized(cell.truth), topology, TRUTH)
                colour = INK if cell.truth is None else COLOURS[0]
                skeleton(axis, standardized(cell.x2d), topology, colour)
            elif isinstance(cell, Shape):
                colour = INK if cell.is_truth else colours[column]
                shape(axis, cell.points, cell.truth, topology, colour)
            else:
                axis.text(0.5, 0.5, "N/A", transform=axis.transAxes, ha="center", va="center",
                          fontsize=11, color=MUTED)
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(column, fontsize=8.5, color=INK)
    if with_truth:
        explain_shapes(figure)
    return figure


def draw_training(
    steps: Mapping[str, tuple[np.ndarray, np.ndarray]],
    epochs: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> "Figure":
    """Figure 6: a loss curve per kind of minibatch, and the error on other faces against time.

    Args:
      steps: title -> the (P,) numbers of steps done and the (P,) mean losses since the point
        before.
      epochs: title -> (E,) seconds of training up to the end of each epoch, and (E,) errors then.
    """
    figure_module = require("matplotlib.figure", "pictures")
    figure = figure_module.Figure(figsize=(9.2, 3.6), layout="constrained")
    first, second = figure.subplots(1, 2)
    for axis, curves, mark in ((first, steps, None), (second, epochs, "o")):
        for (title, (x, y)), colour in zip(curves.items(), cycle(len(curves)), strict=True):
            axis.plot(x, y, color=colour, linewidth=1.4, label=title, marker=mark, markersize=3.5)
        axis.set_yscale("log")
        plain(axis)
    first.set_xlabel("minibatches", fontsize=8.5, color=INK)
    first.set_ylabel("training loss: squared error of distances", fontsize=8.5, color=INK)
    first.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    second.set_xlabel("seconds of training, a point per epoch", fontsize=8.5, color=INK)
    second.set_ylabel("squared error of distances, other faces", fontsize=8.5, color=INK)
    second.set_xlim(left=0)
    return figure


def _photograph(axis, cell: Picture, topology: Topology) -> None:
    height, width = cell.image.shape[:2]
    axis.imshow(cell.image, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    if cell.x2d is None:
        return
    low, high = cell.x2d.min(0), cell.x2d.max(0)
    (x, y), half = (low + high) / 2, _AROUND * (high - low).max() / 2
    axis.set(xlim=(x - half, x + half), ylim=(y + half, y - half))
    skeleton(axis, cell.x2d, topology, COLOURS[0])
