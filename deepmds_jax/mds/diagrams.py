"""The Shepard diagram: distances and disparities plotted against dissimilarities."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from deepmds_jax.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK, _MUTED, _CARD, _DOTS, _LINE = "#1f2933", "#6b7785", "#f5f6f8", "#4aa3b5", "#e4572e"


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
      dissimilarities: (n, n) float, the input of `smacof`; NaN marks a missing value.
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
    points = np.asarray(embedding, np.float64)
    if points.ndim != 2:
        raise ValueError(f"embedding: expected shape (n, k), got {points.shape}")
    n = len(points)
    matrices = {"dissimilarities": dissimilarities, "disparities": disparities,
                "weights": np.ones((n, n)) if weights is None else weights}
    rows, columns = np.triu_indices(n, 1)
    pairs = {}
    for name, matrix in matrices.items():
        matrix = np.asarray(matrix, np.float64)
        if matrix.shape != (n, n):
            raise ValueError(f"{name}: expected shape {(n, n)}, got {matrix.shape}")
        pairs[name] = matrix[rows, columns]
    # One coordinate at a time: all at once would not fit in memory for thousands of points.
    pairs["distances"] = np.sqrt(sum((x[rows] - x[columns]) ** 2 for x in points.T))
    observed = (pairs["weights"] > 0) & ~np.isnan(pairs["dissimilarities"])
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
      ImportError: matplotlib is not installed.
    """
    figure_module = require("matplotlib.figure", "pictures")
    figure = figure_module.Figure(figsize=(4.6, 3.9), facecolor="white", layout="constrained")
    axes = figure.add_subplot(facecolor=_CARD)
    num_pairs = len(diagram.distances)
    dots = {"s": np.clip(9000 / num_pairs, 2, 16), "alpha": np.clip(1200 / num_pairs, 0.1, 0.8)}
    axes.scatter(diagram.dissimilarities, diagram.distances, color=_DOTS, linewidths=0,
                 rasterized=num_pairs > 5000, label="distance", **dots)
    axes.plot(diagram.dissimilarities, diagram.disparities, color=_LINE, linewidth=1.3,
              label="disparity")

    root_mean_square = np.sqrt(np.mean(diagram.distances**2))
    text = {"fontsize": 8.5, "color": _INK}
    axes.set_xlabel(f"Dissimilarity ({unit})" if unit else "Dissimilarity", **text)
    axes.set_ylabel(f"Distance (root mean square {root_mean_square:.3g})", **text)
    axes.set_title(f"Stress-1: {diagram.stress:.4f}   ({num_pairs} pairs)", loc="left", **text)
    axes.set(xlim=(0, None), ylim=(min(0, diagram.disparities.min()), None))
    axes.tick_params(length=0, labelsize=7.5, labelcolor=_MUTED)
    axes.grid(color="white", linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    legend = axes.legend(loc="upper left", frameon=False, fontsize=7.5, labelcolor=_INK)
    legend.legend_handles[0].set(alpha=1, sizes=[16])
    return figure
