"""One HTML page with all results, which a browser shows without a network."""

import base64
import hashlib
import html
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from deepmds_jax.data.views import Faces
from deepmds_jax.evaluation import report_figures
from deepmds_jax.evaluation.metrics import Metrics, error_unit
from deepmds_jax.evaluation.tables import Row, format_cells
from deepmds_jax.extras import require
from deepmds_jax.files import replacing
from deepmds_jax.topologies import Topology

_STYLE = """
body { margin: 0 auto; max-width: 1200px; padding: 1.5rem 1rem 3rem; background: #fff;
  color: #1f2933; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .25rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 1rem 0 .35rem; overflow-wrap: anywhere; }
p { margin: 0 0 .75rem; color: #52606d; max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; }
dt { color: #6b7785; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .4rem; text-align: left; white-space: nowrap;
  border-bottom: 1px solid #e3e6ea; }
th { color: #6b7785; font-weight: 600; border-bottom-color: #9aa5b1; white-space: normal;
  vertical-align: bottom; line-height: 1.25; }
.number { text-align: right; }
.chip { display: inline-block; width: .7em; height: .7em; margin-right: .45em;
  border-radius: 2px; }
.faces { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); }
.faces h3 { margin-bottom: 0; }
.faces p { margin: 0; font-size: .9rem; }
.scale { display: flex; align-items: center; gap: .6rem; font-size: .9rem; color: #52606d; }
.scale i { width: 12rem; max-width: 40vw; height: .7rem; border-radius: 2px; }
"""
# Only the page's own two scripts may run, and nothing may be loaded from elsewhere.
_POLICY = ("default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
           "script-src {scripts}")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
<script>{library}</script>
<script>{drawing}</script>
</body>
</html>
"""
_DRAWING = """
for (const [id, figure] of Object.entries(%s))
  Plotly.newPlot(id, figure.data, figure.layout, {
    responsive: true,
    displaylogo: false,
    displayModeBar: "scene" in figure.layout,
    modeBarButtons: [["resetCameraDefault3d", "toImage"]],
  });
"""


def write_report(
    folder: str | os.PathLike,
    *,
    title: str,
    about: Mapping[str, str],
    tables: Mapping[str, Sequence[Row]],
    metrics: Mapping[str, Metrics],
    faces: Faces,
    topology: Topology,
    predictions: Mapping[str, np.ndarray],
) -> pathlib.Path:
    """Writes a page with tables, error by pose, error on the face, and 3D skeletons.

    The page contains plotly.js and needs no other file and no network. The same input gives the
    same bytes. A method's means leave out the faces for which it has no finite result.

    Args:
      folder: where `index.html` is written; created if it is missing.
      title: title of the page.
      about: label -> text, shown below the title: what was run, and on what.
      tables: heading -> rows.
      metrics: method title -> `Metrics` of (F,) NumPy arrays. A method has one colour in all
        figures.
      faces: the F test faces that were scored.
      topology: the topology of the landmarks.
      predictions: method title -> (E, N, 3) predictions for the first E faces, in any pose and
        unit: x right, y down, z away from the viewer. The titles are among those of `metrics`.

    Returns:
      The path of the page.

    Raises:
      ValueError: a table is empty, there is no method, or shapes or titles do not match.
      ImportError: plotly is not installed.
    """
    x2d, points = np.asarray(faces.x2d), np.asarray(faces.points)
    predictions = {name: np.asarray(p) for name, p in predictions.items()}
    num_shown = _check(tables, metrics, x2d, points, topology, predictions)
    yaw = report_figures.head_yaw(faces, topology)
    aligned, mean_face = report_figures.align_faces(points, topology)
    styles = report_figures.styles(list(metrics))
    errors = {name: 100 * _finite_mean(np.asarray(m.landmark_errors))
              for name, m in metrics.items()}
    known = [error.max() for error in errors.values() if np.isfinite(error).all()]
    largest = float(max(known, default=0)) or 1.0
    figures = {"yaw": report_figures.draw_error_by_yaw(metrics, yaw, topology)}
    for i, error in enumerate(errors.values()):
        figures[f"face{i}"] = report_figures.draw_error_on_face(
            error, largest, mean_face, topology
        )
    figures["skeletons"] = report_figures.draw_skeletons(
        x2d[:num_shown], aligned[:num_shown], predictions, metrics, yaw, topology
    )
    chips = {name: style.color for name, style in styles.items()}
    body = "\n".join([
        _about(about), *(_table(name, rows, chips) for name, rows in tables.items()),
        _SECTIONS.format(faces=_faces(errors, chips), scale=_scale(largest),
                         unit=error_unit(topology)),
    ])
    path = pathlib.Path(folder) / "index.html"
    with replacing(path) as temporary:
        temporary.write_bytes(_page(title, body, figures).encode(
            errors="backslashreplace"))
    return path


_SECTIONS = """<h2>Error by pose</h2>
<p>NME is the mean distance between predicted and true landmarks, after the shape is aligned to the
truth by a similarity without reflection. Points are means over the faces in each bin of yaw; bars
are one standard deviation. Positive yaw turns the face to the image's right.</p>
<div id="yaw"></div>
<h2>Error on the face</h2>
<p>Mean error of each landmark, in % of {unit}, on the mean face as a viewer
sees it.</p>
{scale}
<div class="faces">
{faces}
</div>
<h2>3D skeletons</h2>
<p>Drag to turn, scroll to zoom. The menu selects a face; click a name in the legend to hide or show
its shape. At first, up to three methods are shown. All shapes are aligned to the truth by a
similarity without reflection; the number after a method's name is its NME on this face.</p>
<div id="skeletons"></div>"""


def _check(
    tables: Mapping[str, Sequence[Row]],
    metrics: Mapping[str, Metrics],
    x2d: np.ndarray,
    points: np.ndarray,
    topology: Topology,
    predictions: Mapping[str, np.ndarray],
) -> int:
    """The number of faces that have predictions; ValueError where the input does not match."""
    for name, rows in tables.items():
        if not rows:
            raise ValueError(f"tables: expected rows in {name!r}, got none")
    if not metrics or not predictions:
        raise ValueError("metrics, predictions: expected at least one method, got "
                         f"{list(metrics)} and {list(predictions)}")
    num_faces, num_landmarks = len(points), topology.num_landmarks
    for name, array, num_dims in (("x2d", x2d, 2), ("points", points, 3)):
        if array.shape != (num_faces, num_landmarks, num_dims) or not num_faces:
            raise ValueError(f"faces: expected {name} (F, {num_landmarks}, {num_dims}) of "
                             f"{topology.name}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"faces: expected finite {name}")
    for name, m in metrics.items():
        shapes = m.nme.shape, m.landmark_errors.shape
        if shapes != ((num_faces,), (num_faces, num_landmarks)):
            raise ValueError(f"metrics of {name!r}: expected nme ({num_faces},) and "
                             f"landmark_errors ({num_faces}, {num_landmarks}), got {shapes[0]} and "
                             f"{shapes[1]}")
    num_shown = len(next(iter(predictions.values())))
    for name, p in predictions.items():
        if name not in metrics:
            raise ValueError(f"predictions: expected titles among {list(metrics)}, got {name!r}")
        if p.shape != (num_shown, num_landmarks, 3) or not 0 < num_shown <= num_faces:
            raise ValueError(f"predictions of {name!r}: expected (E, {num_landmarks}, 3) with one "
                             f"E from 1 to {num_faces}, got {p.shape}")
    return num_shown


def _finite_mean(errors: np.ndarray) -> np.ndarray:
    """(N,) mean of (F, N) errors over the faces without NaN; NaN if there are none."""
    finite = errors[np.isfinite(errors).all(axis=1)]
    return finite.mean(axis=0) if len(finite) else np.full(errors.shape[1], np.nan)


def _page(title: str, body: str, figures: Mapping) -> str:
    library = require("plotly.offline", extra="report").get_plotlyjs()
    # plotly escapes <, > and / in its JSON, so nothing in it can end the script.
    entries = (f"{json.dumps(name)}: {figure.to_json()}" for name, figure in figures.items())
    drawing = _DRAWING % f"{{{', '.join(entries)}}}"
    digests = (hashlib.sha256(script.encode()).digest() for script in (library, drawing))
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return _PAGE.format(policy=_POLICY.format(scripts=hashes), title=html.escape(title),
                        style=_STYLE, body=body, library=library, drawing=drawing)


def _about(about: Mapping[str, str]) -> str:
    pairs = "\n".join(
        f"<dt>{html.escape(str(key))}</dt><dd>{html.escape(str(value))}</dd>"
        for key, value in about.items()
    )
    return f"<dl>\n{pairs}\n</dl>" if pairs else ""


def _table(name: str, rows: Sequence[Row], chips: Mapping[str, str]) -> str:
    header, numeric, cells = format_cells(rows)

    def line(tag, texts):
        marks = (' class="number"' if number else "" for number in numeric)
        return "".join(f"<{tag}{mark}>{_chip(chips.get(text))}{html.escape(text)}</{tag}>"
                       for mark, text in zip(marks, texts, strict=True))

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in cells)
    return (f'<h2>{html.escape(name)}</h2>\n<div class="wide"><table>\n<thead><tr>'
            f"{line('th', header)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>")


def _faces(errors: Mapping[str, np.ndarray], chips: Mapping[str, str]) -> str:
    def mean(error):
        return f"mean {error.mean():.2f} %" if np.isfinite(error).all() else "no result"

    return "\n".join(
        f'<div><h3>{_chip(chips[name])}{html.escape(name)}</h3><p>{mean(error)}</p>'
        f'<div id="face{i}"></div></div>'
        for i, (name, error) in enumerate(errors.items())
    )


def _scale(largest: float) -> str:
    colors = ", ".join(report_figures.ERROR_COLORS)
    return (f'<div class="scale">0 %<i style="background: linear-gradient(to right, {colors})"></i>'
            f"{largest:.1f} %</div>")


def _chip(color: str | None) -> str:
    return f'<span class="chip" style="background: {color}"></span>' if color else ""
