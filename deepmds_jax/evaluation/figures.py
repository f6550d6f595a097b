"""Pictures of reconstructed faces: the photograph, and the 3D landmarks seen from three sides."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepmds_jax.extras import require
from deepmds_jax.files import replacing
from deepmds_jax.topologies import Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Label, title, and rotation of the head about the vertical axis in degrees. A positive rotation
# brings the subject's left side to the front and moves the nose to the left of the picture.
_VIEWS = (
    ("front", "3D, front", 0),
    ("three-quarter", "3D, turned by 45°", 45),
    ("profile", "3D, left profile", 90),
)
_PANEL, _GAP, _LEFT, _TOP, _BOTTOM = 2.2, 0.07, 0.3, 0.34, 0.36  # inches
_MARGIN, _IMAGE_MARGIN = 1.2, 1.5  # size of a panel's window relative to the landmarks' extent
_CAPTION = 0.22  # inches, below each row
_MAX_ROWS = 10  # of a page
_INK, _MUTED, _CARD, _ALARM = "#1f2933", "#6b7785", "#f5f6f8", "#b3261e"
NEAR_TO_FAR = ("#e4572e", "#c13c6d", "#6d4595", "#2f5d9b", "#4aa3b5")


def draw_pages(
    faces: Mapping[str, Mapping[str, np.ndarray]],
    topology: Topology,
    images: Mapping[str, np.ndarray] | None = None,
) -> list["Figure"]:
    """Draws faces as `draw_reconstructions` does, at most 10 a page."""
    names = list(faces)
    pages = [names[i : i + _MAX_ROWS] for i in range(0, len(names), _MAX_ROWS)] or [[]]
    return [draw_reconstructions({name: faces[name] for name in page}, topology, images)
            for page in pages]


def draw_reconstructions(
    faces: Mapping[str, Mapping[str, np.ndarray]],
    topology: Topology,
    images: Mapping[str, np.ndarray] | None = None,
) -> "Figure":
    """Draws one row of panels per face.

    From left to right: the photograph with the landmarks on it (or the landmarks alone); the 3D
    landmarks on it, as they were placed in the image; the frontalised landmarks; and the 3D
    landmarks in orthographic projection: from the front, turned by 45 degrees, and in left profile.
    The last four kinds show the face upright and as a viewer sees it, with the subject's left eye
    to the right of the right eye. The 3D panels of all faces share one scale. Colour shows depth in
    the head frame, so a landmark has the same colour in all panels of a row; in the turned views
    the far side is paler. Below a row: pose, uncertainty, and whether the solver converged.

    Args:
      faces: face name -> its arrays: `x2d` (N, 2) landmarks, x right and y down, in pixels of the
        image if there is one; `points` (N, 3), head frame (x right, y down, z away from the
        viewer), as `reconstruct` returns them. Optionally `image_points` (N, 3), those in the
        image, and `frontal` (N, 2), x right and y down, in any unit: where no face has them that
        column is missing, where some have it stays empty for the others. Optionally `yaw`, `pitch`
        and `roll` in degrees, together, and with them `std` (N, 3), relative to the size of the
        face, `converged`, and `visible` (N,): how many are hidden, and so filled in, is told. Other
        keys are ignored.
      topology: the topology of the N landmarks; its edges are drawn.
      images: face name -> (height, width), (height, width, 3) or (height, width, 4), uint8 in
        0..255 or float in 0..1. A face without an image is drawn as landmarks alone.

    Returns:
      A figure. The axes of a row are labelled `image`, `placed`, `frontal`, `front`,
      `three-quarter` and `profile`.

    Raises:
      ValueError: there is no face, or an array is not finite or has the wrong shape.
      ImportError: matplotlib is not installed.
    """
    colors = require("matplotlib.colors", "pictures")
    figure_module = require("matplotlib.figure", "pictures")
    captions = {name: caption for name, face in faces.items() if (caption := _caption(face))}
    faces = {name: _check(name, face, topology.num_landmarks) for name, face in faces.items()}
    if not faces:
        raise ValueError("faces: expected at least one, got none")
    edges = np.asarray(topology.edges, int).reshape(-1, 2)
    turned = {
        name: [face["points"] @ _turn(degrees) for *_, degrees in _VIEWS]
        for name, face in faces.items()
    }
    window = _MARGIN * max(_extent(points) for views in turned.values() for points in views)
    depths = np.concatenate([face["points"][:, 2] for face in faces.values()])
    cmap = colors.LinearSegmentedColormap.from_list("depth", NEAR_TO_FAR)
    norm = colors.Normalize(depths.min(), depths.max())
    style = {"cmap": cmap, "norm": norm}

    optional = [key for key in ("image_points", "frontal")
                if any(key in face for face in faces.values())]
    num_columns = 1 + len(optional) + len(_VIEWS)
    row_height = _PANEL + (_CAPTION if captions else 0) + _GAP
    width = _LEFT + num_columns * (_PANEL + _GAP)
    height = _TOP + len(faces) * row_height + _BOTTOM
    figure = figure_module.Figure(figsize=(width, height), facecolor="white")
    for row, (name, face) in enumerate(faces.items()):
        x2d, frontal, points = face["x2d"], face.get("frontal"), face["points"]
        image = (images or {}).get(name)
        flat = points[:, :2]
        # The frontalised landmarks have a unit of their own: draw them as large as the 3D ones.
        frontal_window = (None if frontal is None else
                          window * np.sqrt(frontal.var(0).sum() / flat.var(0).sum()))
        image_window = _extent(x2d) * (_MARGIN if image is None else _IMAGE_MARGIN)
        panels = [
            ("image", "Landmarks", x2d, image_window, None),
            ("placed", "3D in the image", face.get("image_points"), image_window, None),
            ("frontal", "Frontalised", frontal, frontal_window, None),
        ] + [
            (label, title, view[:, :2], window, view[:, 2] if degrees else None)
            for (label, title, degrees), view in zip(_VIEWS, turned[name], strict=True)
        ]
        absent = {label for key, label in (("image_points", "placed"), ("frontal", "frontal"))
                  if key not in optional}
        panels = [panel for panel in panels if panel[0] not in absent]
        top = _TOP + row * row_height
        _write(figure, 0.5 * _LEFT, top + 0.5 * _PANEL, _shorten(name), rotation=90)
        for column, (label, title, shown, size, distance) in enumerate(panels):
            left = _LEFT + column * (_PANEL + _GAP)
            if row == 0:
                _write(figure, left + 0.5 * _PANEL, 0.6 * _TOP, title)
            if shown is None:
                continue
            axes = _add_axes(figure, left, top, _PANEL, _PANEL, label)
            _frame(axes, x2d if label == "placed" else shown, size)
            if label in ("image", "placed") and image is not None:
                _show_image(axes, np.asarray(image), name)
            _draw_skeleton(axes, shown[:, :2], edges, points[:, 2], distance, style)
        if name in captions:
            text, alarm = captions[name]
            _write(figure, _LEFT, top + _PANEL + 0.5 * _CAPTION, text, ha="left", fontsize=7.5,
                   color=_ALARM if alarm else _MUTED)
    _draw_legend(figure, _PANEL / window, cmap, norm)
    return figure


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Writes a figure to a file. If that fails, no partial file is left behind.

    Args:
      figure: the figure.
      path: a .png, .svg or .pdf file. A missing folder is created.

    Raises:
      ValueError: the file has another extension.
    """
    path = check_format(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=200)


def save_pages(pages: Sequence["Figure"], path: str | Path) -> list[Path]:
    """Writes figures, each whole or not at all: pages of one .pdf, or NAME-1.png, NAME-2.png, ...

    Args:
      pages: at least one; a single one is written to the path itself.
      path: as `save_figure` takes it.

    Returns:
      The files.

    Raises:
      ValueError: the file has another extension.
    """
    path = check_format(path)
    if len(pages) > 1 and path.suffix.lower() == ".pdf":
        pdf = require("matplotlib.backends.backend_pdf", "pictures")
        with replacing(path) as temporary, pdf.PdfPages(temporary) as file:
            for page in pages:
                file.savefig(page)
        return [path]
    paths = [path] if len(pages) == 1 else [
        path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(1, len(pages) + 1)]
    for page, file in zip(pages, paths, strict=True):
        save_figure(page, file)
    return paths


def check_format(path: str | Path) -> Path:
    """Returns the path if `save_figure` can write it.

    Raises:
      ValueError: its extension is not .png, .svg or .pdf.
      ImportError: Matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"{path}: unknown picture format, expected .png, .svg or .pdf")
    require("matplotlib", "pictures")  # before the work whose result it is to draw
    return path


def _check(name: str, face: Mapping[str, np.ndarray], num_landmarks: int) -> dict[str, np.ndarray]:
    checked = {}
    optional = {"frontal", "image_points"} - set(face)
    for key, num_dims in (("x2d", 2), ("frontal", 2), ("points", 3), ("image_points", 3)):
        if key in optional:
            continue
        array, expected = np.asarray(face.get(key), np.float64), (num_landmarks, num_dims)
        if array.shape != expected:
            raise ValueError(f"{key} of '{name}': expected {expected}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{key} of '{name}': expected finite numbers")
        checked[key] = array
    return checked


def _caption(face: Mapping[str, np.ndarray]) -> tuple[str, bool] | None:
    """Pose, uncertainty and convergence in words, and whether they are bad news."""
    if "yaw" not in face:
        return None
    parts = ["   ".join(f"{key} {_signed(face[key], 1)}°" for key in ("yaw", "pitch", "roll"))]
    if "std" in face:
        parts.append(f"std {100 * np.mean(face['std']):.1f} % of size")
    if "converged" in face:
        parts.append("converged" if face["converged"] else "not converged")
    hidden = np.count_nonzero(~np.asarray(face.get("visible", True)))
    if hidden:
        parts.append(f"{hidden} hidden, filled in")
    return "   ·   ".join(parts), not face.get("converged", True)


def _signed(number: float | np.ndarray, digits: int) -> str:
    """With a true minus, and none before zero."""
    return f"{float(number):z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _turn(degrees: float) -> np.ndarray:
    """(3, 3) rotation of the head, to multiply (N, 3) points by from the right."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def _extent(points: np.ndarray) -> float:
    """The larger of width and height."""
    return np.ptp(points[:, :2], axis=0).max()


def _shorten(name: str) -> str:
    # The end tells faces of one photograph apart.
    return name if len(name) <= 32 else f"{name[:19]}…{name[-12:]}"


def _add_axes(
    figure: "Figure", left: float, top: float, width: float, height: float, label: str
) -> "Axes":
    """Adds axes without ticks or frame; lengths in inches, from the top left corner."""
    full_width, full_height = figure.get_size_inches()
    box = (left / full_width, 1 - (top + height) / full_height,
           width / full_width, height / full_height)
    axes = figure.add_axes(box, label=label, facecolor=_CARD, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def _write(figure: "Figure", x: float, y: float, text: str, **style) -> None:
    """Writes text centred at a point, in inches from the top left corner."""
    width, height = figure.get_size_inches()
    style = {"fontsize": 8.5, "color": _INK, "ha": "center", "va": "center"} | style
    figure.text(x / width, 1 - y / height, text, parse_math=False, **style)


def _frame(axes: "Axes", points: np.ndarray, size: float) -> None:
    """Sets the window of the axes to a square of a given size around (N, 2) points, y down."""
    x, y = (points.min(0) + points.max(0)) / 2
    axes.set(xlim=(x - size / 2, x + size / 2), ylim=(y + size / 2, y - size / 2), aspect="equal")


def _show_image(axes: "Axes", image: np.ndarray, name: str) -> None:
    """Shows the part of an image inside the window. Pixel centres are at integer coordinates."""
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,), (4,)):
        raise ValueError(f"image of '{name}': expected (height, width, 3), got {image.shape}")
    white = 255 if image.dtype.kind == "u" else 1
    (xmin, xmax), (ymax, ymin) = axes.get_xlim(), axes.get_ylim()
    left, top = max(0, int(xmin)), max(0, int(ymin))
    image = image[top : max(0, int(ymax) + 2), left : max(0, int(xmax) + 2)]
    if image.size:
        height, width = image.shape[:2]
        extent = (left - 0.5, left + width - 0.5, top + height - 0.5, top - 0.5)
        axes.imshow(image, cmap="gray", vmin=0, vmax=white, extent=extent)
        axes.set(xlim=(xmin, xmax), ylim=(ymax, ymin))


def _draw_skeleton(
    axes: "Axes",
    points: np.ndarray,
    edges: np.ndarray,
    depth: np.ndarray,
    distance: np.ndarray | None,
    style: dict,
) -> None:
    """Draws points and edges, coloured by `depth`, from far to near.

    Args:
      axes: where to draw.
      points: (N, 2), x right and y down.
      edges: (E, 2) indices of points.
      depth: (N,) depth in the head frame, for the colour.
      distance: (N,) distance from the viewer in a turned view, whose far half is drawn paler; None
        in other views.
      style: the colour map and its norm.
    """
    collections = require("matplotlib.collections", "pictures")
    patheffects = require("matplotlib.patheffects", "pictures")
    alpha = np.ones(len(points))
    if distance is not None:
        alpha -= 0.8 * np.maximum(distance, 0) / np.abs(distance).max()
    distance = depth if distance is None else distance
    order = np.argsort(-distance)
    edges = edges[np.argsort(-distance[edges].mean(1))]
    if axes.images:
        dots = {"s": 9, "linewidths": 0.5, "edgecolors": "white"}
        lines = collections.LineCollection(points[edges], colors="white", linewidths=0.8)
        shadow = patheffects.Stroke(linewidth=1.6, foreground="#00000055")
        lines.set_path_effects([shadow, patheffects.Normal()])
    else:
        dots = {"s": 8, "linewidths": 0, "alpha": alpha[order]}
        lines = collections.LineCollection(points[edges], linewidths=1.1, **style)
        lines.set(array=depth[edges].mean(1), alpha=0.8 * alpha[edges].mean(1))
    lines.set_capstyle("round")
    axes.add_collection(lines, autolim=False)
    axes.scatter(*points[order].T, c=depth[order], zorder=3, **dots, **style)


def _draw_legend(figure: "Figure", inches_per_unit: float, cmap, norm) -> None:
    """Draws the unit of the 3D panels and the depths' colours along the lower edge."""
    width, height = figure.get_size_inches()
    middle = height - 0.5 * _BOTTOM
    small = {"fontsize": 7.5, "color": _MUTED}

    bar = _add_axes(figure, _LEFT, middle - 0.01, inches_per_unit, 0.02, "unit")
    bar.set_facecolor(_MUTED)
    text = "1 unit: root-mean-square distance to the centroid"
    _write(figure, _LEFT + inches_per_unit + 0.1, middle, text, ha="left", **small)

    right = width - _GAP
    _write(figure, right, middle, f"{_signed(norm.vmax, 2)} far", ha="right", **small)
    bar = _add_axes(figure, right - 1.75, middle - 0.035, 1.25, 0.07, "depth")
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=cmap, aspect="auto")
    near = f"depth in units: near {_signed(norm.vmin, 2)}"
    _write(figure, right - 1.85, middle, near, ha="right", **small)
