"""Diagrams of the fit: Shepard's, stress by dimensions, stress per point."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from deepmds_jax.extras import require
from deepmds_jax.mds.inputs import as_numbers, check_kind, missing_pairs, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, CARD, DOTS, LINE = "#1f2933", "#6b7785", "#f5f6f8", "#4aa3b5", "#e4572e"
TEXT = {"fontsize": 8.5, "color": INK}
_MAX_BARS, _MAX_NAME = 40, 32  # letters


class ShepardDiagram(NamedTuple):
    """The m observed pairs of points, in order of dissimilarity and, among ties, of distance.

    Attributes:
      dissimilarities: (m,) float.
      distances: (m,) float, of the embedding.
      disparities: (m,) float.
      weights: (m,) float, positive.
    """

    dissimilarities: np.ndarray
    distances: np.ndarray
    disparities: np.ndarray
    weights: np.ndarray

    @property
    def stress(self) -> float:
        """Kruskal's stress-1."""
        misfit = np.sum(self.weights * (self.disparities - self.distances) ** 2)
        return float(np.sqrt(misfit / np.sum(self.weights * self.distances**2)))


def shepard(
    dissimilarities: ArrayLike,
    embedding: ArrayLike,
    disparities: ArrayLike,
    weights: ArrayLike | None = None,
) -> ShepardDiagram:
    """Collects the pairs i < j of a solution for a Shepard diagram, with NumPy in float64.

    Args:
      dissimilarities: (n, n) float, the input of `smacof`; NaN, on either side of the diagonal,
        marks a missing value.
      embedding: (n, k) float, from `smacof`.
      disparities: (n, n) float, from `smacof`.
      weights: (n, n), 0 marks a missing pair; all 1 by default.

    Returns:
      A `ShepardDiagram`.

    Raises:
      ValueError: wrong shapes.

    Source: Shepard (1962), "The analysis of proximities: multidimensional scaling with an unknown
    distance function", Psychometrika 27; Borg & Groenen (2005), Modern Multidimensional Scaling,
    section 3.3.
    """
    points = as_numbers("embedding", embedding)
    if points.ndim != 2:
        raise ValueError(f"embedding: expected shape (n, k), got {points.shape}")
    n = len(points)
    matrices = {"dissimilarities": dissimilarities, "disparities": disparities,
                "weights": np.ones((n, n)) if weights is None else weights}
    rows, columns = np.triu_indices(n, 1)
    pairs = {}
    for name, matrix in matrices.items():
        matrix = as_numbers(name, matrix)
        if matrix.shape != (n, n):
            raise ValueError(f"{name}: expected shape {(n, n)}, got {matrix.shape}")
        pairs[name] = matrix[rows, columns]
    # One coordinate at a time: all at once would not fit in memory for thousands of points.
    pairs["distances"] = np.sqrt(sum((x[rows] - x[columns]) ** 2 for x in points.T))
    missing = missing_pairs(as_numbers("dissimilarities", dissimilarities))[rows, columns]
    observed = (pairs["weights"] > 0) & ~missing
    pairs = {name: values[observed] for name, values in pairs.items()}
    order = np.lexsort((pairs["disparities"], pairs["distances"], pairs["dissimilarities"]))
    return ShepardDiagram(**{name: values[order] for name, values in pairs.items()})


def draw_shepard(diagram: ShepardDiagram, unit: str = "") -> "Figure":
    """Draws a Shepard diagram.

    A dot per pair shows its distance, the line its disparity: the closer the dots are to the line,
    the better the fit. The title gives stress-1.

    Args:
      diagram: from `shepard`.
      unit: of the dissimilarities, for the label of their axis. The label of the other axis gives
        the root mean square of the distances, whose unit depends on the transform.

    Returns:
      A figure; save it with `figure.savefig`.

    Raises:
      ValueError: no such diagram, or one without pairs.
      ImportError: matplotlib is not installed.
    """
    if not isinstance(diagram, ShepardDiagram):
        raise ValueError(f"diagram: expected a ShepardDiagram of shepard, got {one_line(diagram)}")
    if not len(diagram.distances):
        raise ValueError("diagram: expected one pair or more, got none")
    figure, axes = plain_axes(4.6, 3.9)
    num_pairs = len(diagram.distances)
    dots = {"s": np.clip(9000 / num_pairs, 2, 16), "alpha": np.clip(1200 / num_pairs, 0.1, 0.8)}
    axes.scatter(diagram.dissimilarities, diagram.distances, color=DOTS, linewidths=0,
                 rasterized=num_pairs > 5000, label="distance", **dots)
    axes.plot(diagram.dissimilarities, diagram.disparities, color=LINE, linewidth=1.3,
              label="disparity")

    root_mean_square = np.sqrt(np.mean(diagram.distances**2))
    axes.set_xlabel(f"Dissimilarity ({unit})" if unit else "Dissimilarity", **TEXT)
    axes.set_ylabel(f"Distance (root mean square {root_mean_square:.3g})", **TEXT)
    axes.set_title(f"Stress-1: {diagram.stress:.4f}   ({num_pairs} pairs)", loc="left", **TEXT)
    axes.set(xlim=(0, None), ylim=(min(0, diagram.disparities.min()), None))
    legend = axes.legend(loc="upper left", frameon=False, fontsize=7.5, labelcolor=INK)
    legend.legend_handles[0].set(alpha=1, sizes=[16])
    return figure


def draw_scree(dims: Sequence[int], stress: ArrayLike) -> "Figure":
    """Draws stress against the number of dimensions: where the line bends, more add little.

    Args:
      dims: d numbers of dimensions, those given to `smacof_dims`.
      stress: (d,) stress-1, of its result.

    Returns:
      A figure; save it with `figure.savefig`.

    Raises:
      ValueError: wrong shapes.
      ImportError: matplotlib is not installed.

    Source: Kruskal (1964), Psychometrika 29; Borg & Groenen (2005), section 3.5.
    """
    check_kind("dims", dims)
    check_kind("stress", stress)
    numbers, values = np.asarray(dims), np.asarray(stress)
    if numbers.ndim != 1 or values.shape != numbers.shape:
        raise ValueError(f"stress: expected shape {numbers.shape} like dims, got {values.shape}")
    if not numbers.size:
        raise ValueError("dims: expected one or more, got none")
    if not np.isfinite(values).all():
        raise ValueError(f"stress: expected finite numbers, got {values[~np.isfinite(values)][0]}")
    order = np.argsort(numbers)
    figure, axes = plain_axes(4.6, 3.2)
    axes.plot(numbers[order], values[order], color=DOTS, marker="o", markersize=5, linewidth=1.3,
              clip_on=False, zorder=3)
    for number, value in zip(numbers, values, strict=True):
        axes.annotate(f"{value:.3f}", (number, value), xytext=(4, 5), textcoords="offset points",
                      fontsize=7.5, color=MUTED)
    axes.set_xticks(np.sort(numbers))
    axes.set_xlim(numbers.min() - 0.3, numbers.max() + 0.6)
    axes.set_ylim(0, 1.12 * max(values.max(), 0.01))
    axes.set_xlabel("Dimensions", **TEXT)
    axes.set_ylabel("Stress-1", **TEXT)
    return figure


def draw_stress_per_point(shares: ArrayLike, labels: Sequence[str] | None = None) -> "Figure":
    """Draws each point's share of the squared residuals as a bar, the worst first.

    Args:
      shares: (n,) from `stress_per_point`. Only the 40 largest are drawn.
      labels: n names; 1, 2, ... by default.

    Returns:
      A figure; save it with `figure.savefig`. The dashed line is the mean, 1 / n.

    Raises:
      ValueError: wrong shapes.
      ImportError: matplotlib is not installed.
    """
    values = 100 * as_numbers("shares", shares)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"shares: expected shape (n,), got {values.shape}")
    names = check_labels(labels, len(values))
    shown = np.argsort(-values, kind="stable")[:_MAX_BARS][::-1]
    figure, axes = plain_axes(4.6, 0.9 + 0.17 * len(shown))
    axes.barh(np.arange(len(shown)), values[shown], color=DOTS, height=0.7)
    axes.set_yticks(np.arange(len(shown)), [shortened(names[i]) for i in shown])
    axes.axvline(100 / len(values), color=LINE, linewidth=1, linestyle="--")
    axes.set(ylim=(-0.7, len(shown) - 0.3))
    left_out = f"\nthe largest {len(shown)} of {len(values)}, dashed: the mean of all"
    left_out = left_out if len(shown) < len(values) else "; dashed: the mean"
    axes.set_xlabel(f"Share of the squared residuals (%){left_out}", **TEXT)
    axes.grid(axis="y", visible=False)
    return figure


def shortened(name: str) -> str:
    """A name for which there is little room."""
    return name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME - 1]}…"


def check_labels(
    labels: Sequence[str] | None, num_points: int, name: str = "labels"
) -> list[str]:
    """The labels as text that matplotlib draws as it is; 1, 2, ... if there are none."""
    if labels is None:
        return [str(i + 1) for i in range(num_points)]
    if not hasattr(labels, "__len__") or len(labels) != num_points:
        found = len(labels) if hasattr(labels, "__len__") else one_line(labels)
        raise ValueError(f"{name}: expected {num_points}, got {found}")
    return [str(label).replace("$", r"\$") for label in labels]  # else mathematics


def plain_axes(width: float, height: float) -> tuple["Figure", Any]:
    """A figure of this size in inches, with axes in the style of all diagrams."""
    figure_module = require("matplotlib.figure", "pictures")
    figure = figure_module.Figure(figsize=(width, height), facecolor="white", layout="constrained")
    axes = figure.add_subplot(facecolor=CARD)
    axes.tick_params(length=0, labelsize=7.5, labelcolor=MUTED)
    axes.grid(color="white", linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    return figure, axes
