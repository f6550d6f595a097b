"""Draws figures 2, 3, 4 and 6 of the paper from our results; `evaluation.figures` draws figure 5.

We do not have the paper's captions. Known are the contents of figure 5 (four CelebA-HQ photographs)
and figure 6 (pairs of one face against pairs shuffled over faces). What figures 2 to 4 show is our
choice: views and their frontal output, the truth beside every method (as the release's
`evaluate_occ.m` draws it), and the criteria over the ten samples.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepmds_jax.extras import require
from deepmds_jax.topologies import Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _MUTED, _TRUTH, _CARD = "#1f2933", "#6b7785", "#aeb6bf", "#f5f6f8"
_COLOURS = (
    "#e4572e", "#2f5d9b", "#3a9d74", "#8a4fa3", "#c98a1b", "#4aa3b5", "#a13a5b", "#5b6b2f",
)
_PANEL = 1.75  # inches
_TURN = 55  # degrees by which the 3D panels turn the head, its left side to the front


class SeenFace(NamedTuple):
    """A face of figure 2. All points have x right and y down, each in a unit of its own.

    Attributes:
      title: the view in words.
      x2d: (N, 2) input of the autoencoder.
      frontal: (N, 2) its output.
      truth: (N, 2) frontal view of the true face.
    """

    title: str
    x2d: np.ndarray
    frontal: np.ndarray
    truth: np.ndarray


def draw_frontal_views(faces: Sequence[SeenFace], topology: Topology) -> "Figure":
    """Figure 2: a column per face, with the input above, and the output on the truth below.

    Each panel is scaled to its points.
    """
    figure, axes = _panels(2, len(faces), "Input", "Autoencoder's\noutput")
    for column, face in zip(axes.T, faces, strict=True):
        column[0].set_title(face.title, fontsize=8, color=_INK)
        for axis, points in zip(column, (face.x2d, face.truth), strict=True):
            _frame(axis, _standardized(points))
        _skeleton(column[0], _standardized(face.x2d), topology, _INK)
        # The output has a scale and an origin of its own: both are taken from the truth.
        _skeleton(column[1], _standardized(face.truth), topology, _TRUTH)
        _skeleton(column[1], _standardized(face.frontal), topology, _COLOURS[0])
    _legend(figure, {"output": _COLOURS[0], "frontal view of the true face": _TRUTH})
    return figure


def draw_shapes(
    truth: np.ndarray, aligned: Mapping[str, np.ndarray], topology: Topology
) -> "Figure":
    """Figure 3: a row per face, a column per method, with the truth behind each shape in grey.

    The heads are turned by 55 degrees, with their left side to the front. The number in a panel is
    the root-mean-square distance to the truth over the size of the face, which is the root-mean-
    square distance of its landmarks to their centroid.

    Args:
      truth: (F, N, 3) head frame, any unit.
      aligned: method title -> (F, N, 3), aligned to the truth.
      topology: the topology of the landmarks; its edges are drawn.
    """
    figure, axes = _panels(len(truth), 1 + len(aligned), *(
        f"Face {i + 1}" for i in range(len(truth))))
    colours = dict(zip(aligned, _cycle(len(aligned)), strict=True))
    for row, points in zip(range(len(truth)), truth, strict=True):
        middle, size = points.mean(0), np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean())
        shown = _turned((points - middle) / size)
        for axis in axes[row]:
            _frame(axis, shown)
        _skeleton(axes[row, 0], shown, topology, _INK)
        for axis, (title, shapes) in zip(axes[row, 1:], aligned.items(), strict=True):
            _skeleton(axis, shown, topology, _TRUTH)
            _skeleton(axis, _turned((shapes[row] - middle) / size), topology, colours[title])
            error = np.sqrt(((shapes[row] - points) ** 2).sum(-1).mean()) / size
            axis.text(0.97, 0.03, f"{100 * error:.1f} %", transform=axis.transAxes, ha="right",
                      va="bottom", fontsize=7.5, color=_MUTED)
    for axis, title in zip(axes[0], ("Truth", *aligned), strict=True):
        axis.set_title(title, fontsize=8.5, color=_INK)
    figure.supxlabel("grey: the truth; per cent: root-mean-square distance to it, relative to the "
                     "size of the face", fontsize=7.5, color=_MUTED)
    return figure


def draw_samples(criteria: Mapping[str, Mapping[str, np.ndarray]]) -> "Figure":
    """Figure 4: box plots over the samples, a panel per criterion, a box per method.

    Boxes show the quartiles, whiskers reach to the extremes, dots are the samples.

    Args:
      criteria: name of the criterion -> method title -> (S,) means of the samples. Means that are
        not finite are not drawn.
    """
    figure_module = require("matplotlib.figure", "pictures")
    ticker = require("matplotlib.ticker", "pictures")
    finite = {name: {title: means[np.isfinite(means)] for title, means in methods.items()}
              for name, methods in criteria.items()}
    titles = list(next(iter(finite.values())))
    height = 1.3 + 0.42 * len(titles)
    figure = figure_module.Figure(figsize=(4.2 * len(finite), height), layout="constrained")
    panels = figure.subplots(1, len(finite), sharey=True, squeeze=False)[0]
    for axis, (name, methods) in zip(panels, finite.items(), strict=True):
        places = np.arange(len(titles))
        for place, title, colour in zip(places, titles, _cycle(len(titles)), strict=True):
            line = {"color": colour, "linewidth": 1.2}
            axis.boxplot([methods[title]], positions=[place], widths=0.55, orientation="horizontal",
                         whis=(0, 100), boxprops=line, medianprops=line | {"linewidth": 2},
                         whiskerprops=line, capprops=line)
            axis.scatter(methods[title], np.full(len(methods[title]), place), s=7, zorder=3,
                         color=colour, alpha=0.5, linewidths=0)
        values = np.concatenate([methods[title] for title in titles])
        if values.min() > 0 and values.max() > 8 * values.min():
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_minor_locator(ticker.NullLocator())
        else:
            axis.xaxis.set_major_locator(ticker.MaxNLocator(4))
        axis.xaxis.set_major_formatter("{x:.7g}")
        axis.set_yticks(places, titles, fontsize=8.5, color=_INK)
        axis.set_ylim(len(titles) - 0.4, -0.6)
        axis.set_xlabel(name, fontsize=8.5, color=_INK)
        _plain(axis)
    return figure


def draw_training(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> "Figure":
    """Figure 6: a loss curve per kind of minibatch.

    Args:
      curves: title -> the (P,) numbers of steps done and the (P,) mean losses since the point
        before.
    """
    figure_module = require("matplotlib.figure", "pictures")
    figure = figure_module.Figure(figsize=(5.6, 3.6), layout="constrained")
    axis = figure.subplots()
    for (title, (steps, losses)), colour in zip(curves.items(), _cycle(len(curves)), strict=True):
        axis.plot(steps, losses, color=colour, linewidth=1.4, label=title)
    axis.set_yscale("log")
    axis.set_xlabel("minibatches", fontsize=8.5, color=_INK)
    axis.set_ylabel("mean squared error of the estimated distances", fontsize=8.5, color=_INK)
    axis.legend(frameon=False, fontsize=8.5, labelcolor=_INK)
    _plain(axis)
    return figure


def _panels(num_rows: int, num_columns: int, *names: str) -> tuple["Figure", np.ndarray]:
    """A figure and its (num_rows, num_columns) square axes, with row names on the left."""
    figure_module = require("matplotlib.figure", "pictures")
    size = (_PANEL * num_columns + 0.4, _PANEL * num_rows + 0.6)
    figure = figure_module.Figure(figsize=size, layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    for row, name in zip(axes, names, strict=True):
        row[0].set_ylabel(name, fontsize=8.5, color=_INK)
        for axis in row:
            axis.set(xticks=[], yticks=[], facecolor=_CARD, aspect="equal")
            axis.spines[:].set_visible(False)
    return figure, axes


def _frame(axis: "Axes", points: np.ndarray) -> None:
    """Sets the window of the axes to a square around (N, 2) points of size 1, y down."""
    x, y = (points.min(0) + points.max(0)) / 2
    axis.set(xlim=(x - 1.8, x + 1.8), ylim=(y + 1.8, y - 1.8))


def _standardized(points: np.ndarray) -> np.ndarray:
    """Centres (N, 2) points and scales them to root-mean-square distance 1 from the centre."""
    points = points - points.mean(0)
    return points / np.sqrt((points**2).sum(-1).mean())


def _turned(points: np.ndarray) -> np.ndarray:
    """Turns the head: (N, 3) points in the head frame -> (N, 2) in the picture."""
    cos, sin = np.cos(np.deg2rad(_TURN)), np.sin(np.deg2rad(_TURN))
    return np.stack([points[:, 0] * cos + points[:, 2] * sin, points[:, 1]], axis=-1)


def _skeleton(axis: "Axes", points: np.ndarray, topology: Topology, colour: str) -> None:
    collections = require("matplotlib.collections", "pictures")
    edges = np.asarray(topology.edges, int).reshape(-1, 2)
    lines = collections.LineCollection(points[edges], colors=colour, linewidths=0.9)
    axis.add_collection(lines, autolim=False)
    axis.scatter(*points.T, s=4, color=colour, linewidths=0, zorder=3)


def _legend(figure: "Figure", colours: Mapping[str, str]) -> None:
    lines = require("matplotlib.lines", "pictures")
    handles = [lines.Line2D([], [], color=c, label=name) for name, c in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
                  fontsize=8, labelcolor=_INK)


def _plain(axis: "Axes") -> None:
    axis.tick_params(which="both", labelsize=8, color="#e3e6ea", labelcolor=_INK)
    axis.grid(True, color="#e3e6ea", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[:].set_visible(False)


def _cycle(num: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(num)]
