"""Draws figures that the paper does not have: frontal views, shapes, criteria, replaced parts."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepmds_jax.evaluation.tables import Row
from deepmds_jax.extras import require
from deepmds_jax.paper.drawing import (
    COLOURS,
    INK,
    TRUTH,
    cycle,
    explain_shapes,
    frame,
    legend,
    panels,
    plain,
    shape,
    skeleton,
    standardized,
)
from deepmds_jax.topologies import Topology

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SeenFace(NamedTuple):
    """A face and its frontal view. All points have x right and y down, each in a unit of its own.

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
    """A column per face, with the input above, and the output on the truth below.

    Each panel is scaled to its points.
    """
    figure, axes = panels(2, len(faces), "Input", "Autoencoder's\noutput")
    for column, face in zip(axes.T, faces, strict=True):
        column[0].set_title(face.title, fontsize=8, color=INK)
        for axis, points in zip(column, (face.x2d, face.truth), strict=True):
            frame(axis, standardized(points))
        skeleton(column[0], standardized(face.x2d), topology, INK)
        # The output has a scale and an origin of its own: both are taken from the truth.
        skeleton(column[1], standardized(face.truth), topology, TRUTH)
        skeleton(column[1], standardized(face.frontal), topology, COLOURS[0])
    legend(figure, {"output": COLOURS[0], "frontal view of the true face": TRUTH})
    return figure


def draw_shapes(
    truth: np.ndarray, aligned: Mapping[str, np.ndarray], topology: Topology
) -> "Figure":
    """A row per face, a column per method, with the truth behind each shape in grey.

    The heads are turned by 55 degrees, with their left side to the front. The number in a panel is
    the root-mean-square distance to the truth over the size of the face, which is the root-mean-
    square distance of its landmarks to their centroid.

    Args:
      truth: (F, N, 3) head frame, any unit.
      aligned: method title -> (F, N, 3), aligned to the truth.
      topology: the topology of the landmarks; its edges are drawn.
    """
    figure, axes = panels(len(truth), 1 + len(aligned), *(
        f"Face {i + 1}" for i in range(len(truth))))
    colours = dict(zip(aligned, cycle(len(aligned)), strict=True))
    for row, points in enumerate(truth):
        shape(axes[row, 0], points, None, topology, INK)
        for axis, (title, shapes) in zip(axes[row, 1:], aligned.items(), strict=True):
            shape(axis, shapes[row], points, topology, colours[title])
    for axis, title in zip(axes[0], ("Truth", *aligned), strict=True):
        axis.set_title(title, fontsize=8.5, color=INK)
    explain_shapes(figure)
    return figure


def draw_samples(criteria: Mapping[str, Mapping[str, np.ndarray]]) -> "Figure":
    """Box plots over the samples, a panel per criterion, a box per method.

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
    axes = figure.subplots(1, len(finite), sharey=True, squeeze=False)[0]
    figure.get_layout_engine().set(w_pad=0.12)  # the ends of two axes have labels
    for axis, (name, methods) in zip(axes, finite.items(), strict=True):
        places = np.arange(len(titles))
        for place, title, colour in zip(places, titles, cycle(len(titles)), strict=True):
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
        axis.set_yticks(places, titles, fontsize=8.5, color=INK)
        axis.set_ylim(len(titles) - 0.4, -0.6)
        axis.set_xlabel(name, fontsize=8.5, color=INK)
        plain(axis)
    return figure


def draw_replaced(rows: Sequence[Row]) -> "Figure":
    """A panel for each set of faces, a bar of NME for each system of `replaced_rows`."""
    figure_module = require("matplotlib.figure", "pictures")
    titles = list(dict.fromkeys(row["faces"] for row in rows))
    systems = list(dict.fromkeys(row["system"] for row in rows))
    size = (2.3 + 2.9 * len(titles), 0.9 + 0.31 * len(systems))
    figure = figure_module.Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for axis, title in zip(axes, titles, strict=True):
        found = {row["system"]: row["NME, %"] for row in rows if row["faces"] == title}
        for place, system in enumerate(systems):
            learns = place < len(systems) - 2  # the last two do not
            axis.barh(place, found[system], 0.62, color=COLOURS[0] if learns else TRUTH)
            axis.text(found[system], place, f" {found[system]:.2f}", va="center", fontsize=7.5,
                      color=INK)
        axis.set_xlim(0, 1.2 * max(found.values()))
        axis.set_yticks(range(len(systems)), systems, fontsize=8, color=INK)
        axis.set_ylim(len(systems) - 0.4, -0.6)
        axis.set_title("\n".join(textwrap.wrap(title, 34)), fontsize=8.5, color=INK)
        axis.set_xlabel("NME, %", fontsize=8, color=INK)
        plain(axis)
    return figure
