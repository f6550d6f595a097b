"""Figures of the report: error by pose, error on the face, and 3D skeletons that a reader can turn.

Text is escaped, because plotly interprets a subset of HTML.
"""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from deepmds_jax.data.views import Faces
from deepmds_jax.evaluation.metrics import Metrics, error_unit
from deepmds_jax.extras import require
from deepmds_jax.geometry import place_in_image, standardize
from deepmds_jax.geometry.similarity import align
from deepmds_jax.topologies import Topology

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Okabe & Ito, "Color Universal Design", 2008, without the black and the yellow (too pale on white);
# then the darker colours of the muted scheme of Tol, "Colour Schemes", 2021.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#332288",
           "#999933")
# When all colours are used, they repeat with another dash and marker.
_LINES = (("solid", "circle"), ("dash", "square"), ("dot", "diamond"))
_INK, _MUTED, _GRID, _CARD = "#1f2933", "#6b7785", "#e3e6ea", "#f5f6f8"
TRUTH_COLOR = _INK
# From no error to the largest: viridis reversed, which colour-blind readers can order, too.
ERROR_COLORS = ("#fde725", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154")
_ZOOM = 1.4
_NUM_SWITCHED_ON = 3  # methods whose skeletons are visible when the page opens
_LEGEND_LINE = 20  # pixels
_BIN = 15  # width in degrees of yaw; the paper's -45, 0 and 45 are centres of bins
_FONT = {"family": "system-ui, sans-serif", "size": 13, "color": _INK}


class Style(NamedTuple):
    """How a method is drawn in every figure: colour, dash of the lines, symbol of the points."""

    color: str
    dash: str
    symbol: str


def styles(titles: Sequence[str]) -> dict[str, Style]:
    """A style for each method; the first nine differ in colour."""
    count = len(_COLORS)
    return {
        title: Style(_COLORS[i % count], *_LINES[i // count % len(_LINES)])
        for i, title in enumerate(titles)
    }


def head_yaw(faces: Faces, topology: Topology) -> np.ndarray:
    """Yaw of each face in its image, (F,) degrees, positive towards the image's right.

    If the views are not known, the true shapes are placed in the images, and the yaw is that of the
    mean step from the right to the left landmark of each pair.
    """
    if faces.view is not None:
        return np.asarray(faces.view.yaw)
    x, _, z = _to_left(np.asarray(place_in_image(faces.points, faces.x2d).points), topology).T
    return np.degrees(np.arctan2(z, x))


def align_faces(points: np.ndarray, topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """Turns true shapes to one frontal pose.

    Sources without known poses give shapes as they lie in the image. So all shapes are aligned to
    the most frontal one; shapes that are already in the head frame hardly move. Those of a topology
    without symmetry stay turned as they are.

    Args:
      points: (F, N, 3) true shapes, in any pose and unit.
      topology: the topology of the landmarks, which says what is left and right.

    Returns:
      (F, N, 3) aligned shapes and their (N, 3) mean: x right, y down, z away from the viewer, with
      the centroid at 0 and a root-mean-square distance to it of about 1.
    """
    if topology.mirror is None:  # without sides, what is frontal is the source's to know
        aligned = np.asarray(standardize(jnp.asarray(points)))
        return aligned, aligned.mean(axis=0)
    to_left = _to_left(points, topology)
    straightness = to_left[:, 0] / np.linalg.norm(to_left, axis=-1)
    reference = standardize(points[np.argmax(straightness)])
    aligned = np.asarray(align(points, reference))
    return aligned, aligned.mean(axis=0)


def draw_error_by_yaw(
    metrics: Mapping[str, Metrics], yaw: np.ndarray, topology: Topology
) -> "Figure":
    """Draws mean and standard deviation of the NME over the faces in each bin of yaw.

    Args:
      metrics: method title -> (F,) metrics; faces whose NME is not finite are left out.
      yaw: (F,) degrees.
      topology: of the landmarks, which says what errors are relative to.
    """
    go = require("plotly.graph_objects", extra="report")
    number = np.round(yaw / _BIN).astype(int)
    bins = np.unique(number)
    height = 360 + _LEGEND_LINE * len(metrics)  # a narrow screen needs a legend line per method
    figure = go.Figure(layout=_layout(height=height))
    for i, (title, style) in enumerate(styles(list(metrics)).items()):
        nme = 100 * np.asarray(metrics[title].nme, np.float64)
        groups = [nme[(number == k) & np.isfinite(nme)] for k in bins]
        # Methods are side by side within a bin, so that no error bar hides another.
        shift = 0.6 * _BIN * ((i + 0.5) / len(metrics) - 0.5)
        hover = "%{y:.2f} ± %{error_y.array:.2f} %<br>%{text}<extra>%{fullData.name}</extra>"
        figure.add_trace(go.Scatter(
            x=_numbers(bins * _BIN + shift),
            y=_numbers([g.mean() if g.size else np.nan for g in groups]),
            error_y={
                "array": _numbers([g.std() if g.size else np.nan for g in groups]),
                "color": style.color, "thickness": 1.2, "width": 3,
            },
            name=_escape(title),
            text=[f"{g.size} faces" for g in groups],
            hovertemplate=hover,
            mode="lines+markers",
            line={"color": style.color, "dash": style.dash, "width": 2},
            marker={"color": style.color, "symbol": style.symbol, "size": 7},
        ))
    figure.update_xaxes(
        title={"text": "yaw of the head, and number of faces", "font": _FONT},
        tickvals=(bins * _BIN).tolist(), tickangle=0, showgrid=False, zeroline=False,
        ticktext=[f"{k * _BIN:+d}°<br>{np.sum(number == k)}".replace("+0", "0") for k in bins],
        fixedrange=True,
    )
    figure.update_yaxes(
        title={"text": f"NME, % of {error_unit(topology)}", "font": _FONT},
        gridcolor=_GRID, zerolinecolor=_GRID, rangemode="tozero", fixedrange=True,
    )
    return figure


def draw_error_on_face(
    errors: np.ndarray, largest: float, mean_face: np.ndarray, topology: Topology
) -> "Figure":
    """Draws the mean face from the front, each landmark in the colour of its error.

    Args:
      errors: (N,) in % of what `metrics.error_unit` says; an error that is not finite is not drawn.
      largest: the error that has the last of `ERROR_COLORS`.
      mean_face: (N, 3) as `align_faces` returns it.
      topology: the topology of the landmarks.
    """
    go = require("plotly.graph_objects", extra="report")
    path = _path(topology)
    order = np.argsort(-mean_face[:, 2])  # from far to near, so that near landmarks are on top
    order = order[np.isfinite(errors[order])]
    figure = go.Figure(layout=_layout(height=280, margin={"l": 4, "r": 4, "t": 4, "b": 4}))
    figure.add_trace(go.Scatter(
        x=_follow(path, mean_face[:, 0]), y=_follow(path, mean_face[:, 1]), mode="lines",
        line={"color": "#b8c0c9", "width": 1.2}, hoverinfo="skip",
    ))
    figure.add_trace(go.Scatter(
        x=_numbers(mean_face[order, 0]), y=_numbers(mean_face[order, 1]), mode="markers",
        text=[_name(topology.landmarks[i]) for i in order],
        customdata=_numbers(errors[order]),
        hovertemplate="%{text}: %{customdata:.2f} %<extra></extra>",
        marker={
            "size": 8, "line": {"width": 0.6, "color": _MUTED}, "color": _numbers(errors[order]),
            "cmin": 0, "cmax": largest, "colorscale": list(ERROR_COLORS),
        },
    ))
    figure.update_layout(showlegend=False)
    figure.update_xaxes(visible=False, fixedrange=True)
    figure.update_yaxes(visible=False, fixedrange=True, autorange="reversed", scaleanchor="x")
    return figure


def draw_skeletons(
    x2d: np.ndarray,
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    metrics: Mapping[str, Metrics],
    yaw: np.ndarray,
    topology: Topology,
) -> "Figure":
    """Draws 3D skeletons of the first faces, one face at a time, with its 2D landmarks in a corner.

    A menu selects the face; the legend switches the truth and each method on and off.

    Args:
      x2d: (E, N, 2) 2D landmarks, x right and y down.
      truth: (E, N, 3) as `align_faces` returns them.
      predictions: method title -> (E, N, 3) in any pose and unit; they are aligned to the truth by
        a similarity without reflection. A face that is not finite is not drawn.
      metrics: method title -> metrics of at least these E faces, in the same order.
      yaw: (E,) degrees.
      topology: the topology of the landmarks.
    """
    go = require("plotly.graph_objects", extra="report")
    path = _path(topology)
    names = _follow(path, [_name(landmark) for landmark in topology.landmarks])
    style = styles(list(metrics))
    stacked = np.stack(list(predictions.values()))
    aligned = dict(zip(predictions, np.asarray(align(stacked, truth)), strict=True))
    size = 1.02 * max(np.abs(p[np.isfinite(p)]).max(initial=0) for p in (truth, *aligned.values()))

    def contents(face: int) -> list[dict]:
        """What selecting a face changes in each trace."""
        def shown(points, name, errors=None):
            x, y, z = points.T
            text = names
            if errors is not None:
                percent = [f"{100 * e:.1f} %" for e in errors]
                text = [n and f"{n}: {p}" for n, p in
                        zip(names, _follow(path, percent), strict=True)]
            # In plotly, z points up and y away from the viewer.
            return {"x": _follow(path, x), "y": _follow(path, z), "z": _follow(path, -y),
                    "text": text, "name": name}

        traces = [shown(truth[face], "Truth")]
        for title, points in aligned.items():
            nme = metrics[title].nme[face]
            score = f"{100 * nme:.1f} %" if np.isfinite(nme) else "no result"
            errors = metrics[title].landmark_errors[face]
            traces.append(shown(points[face], f"{_escape(title)} ({score})", errors))
        low, high = x2d[face].min(axis=0), x2d[face].max(axis=0)
        x, y = ((x2d[face] - (low + high) / 2) / max(high - low)).T
        return [*traces, {"x": _follow(path, x), "y": _follow(path, y), "text": names, "name": ""}]

    legend = _LEGEND_LINE * (2 + len(aligned))
    height = 520 + legend
    figure = go.Figure(layout=_layout(
        height=height, margin={"l": 0, "r": 0, "t": 0, "b": 0}, paper_bgcolor=_CARD,
    ))
    *first, flat = contents(0)
    drawn = [("solid", 5, 3, "circle", TRUTH_COLOR)]
    drawn += [(style[t].dash, 3, 2, style[t].symbol, style[t].color) for t in aligned]
    for i, (data, drawing) in enumerate(zip(first, drawn, strict=True)):
        dash, width, dot, symbol, color = drawing
        figure.add_trace(go.Scatter3d(
            **data, mode="lines+markers", visible=True if i <= _NUM_SWITCHED_ON else "legendonly",
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
            line={"color": color, "width": width, "dash": dash},
            marker={"color": color, "size": dot, "symbol": symbol},
        ))
    figure.add_trace(go.Scatter(
        **flat, mode="lines+markers", showlegend=False, hovertemplate="%{text}<extra></extra>",
        line={"color": TRUTH_COLOR, "width": 1}, marker={"color": TRUTH_COLOR, "size": 2},
    ))
    choices = []
    for face in range(len(truth)):
        columns = contents(face)
        data = {key: [trace.get(key) for trace in columns] for key in columns[0]}
        label = f"Face {face + 1}, yaw {round(float(yaw[face]))}°"
        choices.append({"label": label, "method": "restyle", "args": [data]})
    hidden = {"visible": False, "range": [-size, size]}
    bare = {
        "showgrid": False, "zeroline": False, "showticklabels": False, "fixedrange": True,
        "constrain": "domain",
    }
    figure.update_layout(
        scene={
            "xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "bgcolor": "rgba(0,0,0,0)",
            # One scale on all axes; in orthographic projection it is also the zoom.
            "aspectmode": "manual", "aspectratio": dict.fromkeys("xyz", _ZOOM),
            "camera": {"eye": {"x": 0.6, "y": -1.3, "z": 0.15}, "up": {"x": 0, "y": 0, "z": 1},
                       "projection": {"type": "orthographic"}},
            "dragmode": "turntable", "domain": {"y": [legend / height, 1]},
        },
        legend={
            "orientation": "h", "x": 0.5, "xanchor": "center", "y": legend / height,
            "yanchor": "top",
        },
        xaxis=bare | {
            "domain": [0.76, 0.99], "range": [-0.52, 0.52],
            "title": {"text": "2D landmarks", "font": {"size": 11, "color": _MUTED}, "standoff": 2},
        },
        yaxis=bare | {
            "domain": [0.72, 0.95], "range": [0.52, -0.52], "scaleanchor": "x",
            "constraintoward": "top",
        },
        updatemenus=[{
            "buttons": choices, "x": 0.01, "xanchor": "left", "y": 0.99, "yanchor": "top",
            "bgcolor": "white", "bordercolor": _GRID,
        }],
    )
    return figure


def _layout(**changes) -> dict:
    return {
        "template": "none", "font": _FONT, "paper_bgcolor": "rgba(0,0,0,0)", "hovermode": "closest",
        "plot_bgcolor": "rgba(0,0,0,0)", "margin": {"l": 56, "r": 12, "t": 12, "b": 64},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"}, "dragmode": False,
        "showlegend": True,
    } | changes


def _to_left(points: np.ndarray, topology: Topology) -> np.ndarray:
    """(F, 3) mean step from the right to the left landmark of each pair."""
    if topology.mirror is None:
        raise ValueError(f"topology: {topology.name} has no symmetry, and poses are not known")
    left = [i for i, name in enumerate(topology.landmarks) if name.endswith("_left")]
    right = [topology.mirror[i] for i in left]
    return np.mean(points[:, left] - points[:, right], axis=1)


def _path(topology: Topology) -> list[int | None]:
    """One line through all edges and all landmarks without an edge; None marks its gaps."""
    path: list[int | None] = []
    for a, b in topology.edges:
        if path and path[-1] == a:
            path.append(b)
        else:
            path += [None, a, b] if path else [a, b]
    for alone in sorted(set(range(topology.num_landmarks)) - set(path)):
        path += [None, alone]
    return path


def _follow(path: Sequence[int | None], values: np.ndarray | Sequence[str]) -> list:
    """The values along a path, None at its gaps."""
    items = _numbers(values) if isinstance(values, np.ndarray) else values
    return [None if i is None else items[i] for i in path]


def _numbers(values: ArrayLike) -> list[float | None]:
    """Numbers rounded for JSON; None where not finite."""
    values = np.asarray(values, np.float64)
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


def _escape(text: str) -> str:
    return html.escape(text, quote=False)


def _name(landmark: str) -> str:
    return _escape(landmark.replace("_", " "))
