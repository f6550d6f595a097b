"""Pictures of a configuration."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from deepmds_jax.extras import require
from deepmds_jax.mds.biplot import FittedVectors
from deepmds_jax.mds.diagrams import DOTS, INK, LINE, TEXT, check_labels, plain_axes, shortened
from deepmds_jax.mds.inputs import as_numbers, check_number, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Where a label may stand: its centre, in halves of its width and height, and in points beside.
_SIDES = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)])
_ABOVE = np.array([(0, 1), (0, -1)])
_GAP = 4.0  # points, between a dot and its label
_LOST = 1e6  # square pixels that a label may cover rather than leave the page
_LETTER = 0.065  # inches that one takes


class _Text(NamedTuple):
    """What is written beside a place; `outward` is the direction of the arrow that ends there."""

    place: np.ndarray
    text: str
    outward: np.ndarray | None = None


def draw_configuration(
    points: ArrayLike,
    labels: Sequence[str] | None = None,
    *,
    dims: tuple[int, int] = (0, 1),
    covariances: ArrayLike | None = None,
    confidence: float = 0.95,
    vectors: FittedVectors | None = None,
    vector_labels: Sequence[str] | None = None,
) -> "Figure":
    """Draws the points of an embedding as a map, both axes in one scale.

    Args:
      points: (n, k) float; turn them by `to_principal_axes` first, for nothing else has directions.
        Points in one dimension are drawn on a line.
      labels: n names, each set where it covers least; none by default.
      dims: the two axes to draw, counted from 0.
      covariances: (n, 2, 2) of these two coordinates of each point: draws the ellipse that holds
        the point with the probability `confidence`, if its errors are normal.
      confidence: in (0, 1).
      vectors: from `fit_vectors` of these points: draws an arrow for each variable, whose length
        is as the correlation; the longest reaches the edge of the points.
      vector_labels: m names of the variables.

    Returns:
      A figure; save it with `figure.savefig`.

    Raises:
      ValueError: wrong shapes.
      ImportError: matplotlib is not installed.
    """
    points = as_numbers("points", points)
    if points.ndim != 2:
        raise ValueError(f"points: expected shape (n, k), got {points.shape}")
    n, k = points.shape
    if k == 1:
        points = np.hstack([points, np.zeros((n, 1))])
    known = np.shape(dims) == (2,) and np.asarray(dims).dtype.kind in "iu"
    if not known or not all(0 <= axis < points.shape[1] for axis in dims):
        raise ValueError(f"dims: expected two of 0 to {k - 1}, got {dims!r}")
    shown = points[:, list(dims)]
    names = [] if labels is None else check_labels(labels, n)
    if k == 1:  # on a line names stand upright, above it or below
        names = [shortened(name) for name in names]
    longest = max(map(len, names), default=0)
    figure, axes = plain_axes(5.6, max(2.6, 1.0 + 2 * _LETTER * longest) if k == 1 else 5.0)
    axes.set_aspect("equal", "datalim")
    axes.scatter(*shown.T, s=14, color=DOTS, linewidths=0, zorder=3)
    if covariances is not None:
        _draw_ellipses(axes, shown, as_numbers("covariances", covariances), confidence)
    texts = [_Text(point, name) for point, name in zip(shown, names, strict=False)]
    if vectors is not None:
        texts += _draw_vectors(axes, shown, vectors, dims, vector_labels)
    axes.margins(0.1)
    axes.set_xlabel(f"Dimension {dims[0] + 1}", **TEXT)
    if k == 1:
        axes.set_yticks([])
    else:
        axes.set_ylabel(f"Dimension {dims[1] + 1}", **TEXT)
    _write_labels(figure, axes, shown, texts, on_a_line=k == 1)
    return figure


def _draw_ellipses(axes, points, covariances, confidence):
    if covariances.shape != (len(points), 2, 2):
        raise ValueError(f"covariances: expected shape {(len(points), 2, 2)}, "
                         f"got {covariances.shape}")
    if not 0 < check_number("confidence", confidence) < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}")
    patches = require("matplotlib.patches", "pictures")
    radius = np.sqrt(-2 * np.log1p(-confidence))  # of the unit normal distribution in the plane
    for point, covariance in zip(points, covariances, strict=True):
        square, directions = np.linalg.eigh(covariance)
        height, width = 2 * radius * np.sqrt(np.maximum(square, 0))
        angle = np.degrees(np.arctan2(directions[1, 1], directions[0, 1]))
        axes.add_patch(patches.Ellipse(point, width, height, angle=angle, facecolor=DOTS,
                                       edgecolor=DOTS, alpha=0.25, linewidth=0.8, zorder=2))


def _draw_vectors(axes, points, vectors, dims, labels):
    """Arrows from the centre; returns their tips and names."""
    if not isinstance(vectors, FittedVectors):
        raise ValueError(f"vectors: expected FittedVectors of fit_vectors, got {one_line(vectors)}")
    directions = np.asarray(vectors.directions, np.float64)
    if directions.ndim != 2 or max(dims) >= max(directions.shape[1], 2):
        raise ValueError(f"vectors: expected directions (m, k) in the axes {dims}, "
                         f"got {directions.shape}")
    if directions.shape[1] == 1:
        directions = np.hstack([directions, np.zeros_like(directions)])
    names = check_labels(labels, len(directions), "vector_labels")
    centre = points.mean(axis=0)
    tips = directions[:, list(dims)] * np.sqrt(np.asarray(vectors.r_squared))[:, None]
    reach = np.max(np.linalg.norm(points - centre, axis=1))
    tips = centre + tips * reach / np.nanmax(np.linalg.norm(tips, axis=1))
    drawn = np.isfinite(tips).all(axis=1)
    for tip in tips[drawn]:
        axes.annotate("", tip, centre, zorder=4, arrowprops={
            "arrowstyle": "-|>", "color": LINE, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0})
    axes.update_datalim(tips[drawn])
    return [_Text(tip, name, tip - centre)
            for tip, name, seen in zip(tips, names, drawn, strict=True) if seen]


def _write_labels(
    figure: "Figure", axes: Any, points: np.ndarray, texts: Sequence[_Text], on_a_line: bool
) -> None:
    """Writes each text beside its place, on the side where it covers least."""
    agg = require("matplotlib.backends.backend_agg", "pictures")
    renderer = agg.FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # settles where the axes are
    frame, page = axes.get_window_extent(renderer), figure.bbox
    gap = _GAP * figure.dpi / 72
    dots = axes.transData.transform(points)
    boxes = np.zeros((0, 2, 2))
    for place, text, outward in texts:
        sides, rotation = (_ABOVE, 90) if on_a_line else (_SIDES, 0)
        if outward is not None:  # not on its own arrow
            along = sides @ outward / np.linalg.norm(sides, axis=1)
            order = np.argsort(-along)
            sides = sides[order[along[order] >= -1e-6 * np.linalg.norm(outward)]]
        note = axes.annotate(text, place, ha="center", va="center", rotation=rotation, fontsize=7.5,
                             color=INK if outward is None else LINE, textcoords="offset points",
                             xytext=(0, 0), annotation_clip=False, zorder=5)
        note.set_in_layout(False)
        size = np.array(note.get_window_extent(renderer).size)
        moves = sides * (size / 2 + gap)
        centres = axes.transData.transform(place) + moves
        if outward is not None:  # above and below a tip a long name moves into the frame
            slide = np.clip(centres, frame.min + size / 2, frame.max - size / 2) - centres
            slide *= (sides[:, :1] == 0) * [1, 0]
            moves, centres = moves + slide, centres + slide
        low, high = centres - size / 2, centres + size / 2
        overlap = np.minimum(high[:, None], boxes[:, 1]) - np.maximum(low[:, None], boxes[:, 0])
        covered = np.sum(np.prod(np.maximum(overlap, 0), axis=-1), axis=1)
        near = np.maximum(low[:, None] - dots, dots - high[:, None]) < gap / 2
        inside = np.all(near, axis=-1).sum(axis=1)
        outside = np.any((low < frame.min) | (high > frame.max), axis=1)
        lost = np.any((low < page.min) | (high > page.max), axis=1)
        best = np.argmin(covered + size[1] ** 2 * (inside + 4 * outside) + _LOST * lost)
        # Held by the side next to its place: in another resolution letters have other widths.
        side = sides[best]
        note.set(ha={1: "left", 0: "center", -1: "right"}[side[0]],
                 va={1: "bottom", 0: "center", -1: "top"}[side[1]])
        note.set_position((moves[best] - side * size / 2) * 72 / figure.dpi)
        boxes = np.append(boxes, [[low[best], high[best]]], axis=0)
