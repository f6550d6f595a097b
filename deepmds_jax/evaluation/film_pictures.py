"""Annotated frames of a film: landmarks on the picture, and the 3D face beside it as it turns.

Drawn by Pillow, which takes milliseconds where matplotlib takes tenths of a second.
"""

from collections.abc import Mapping

import numpy as np

from deepmds_jax.evaluation.figures import NEAR_TO_FAR
from deepmds_jax.extras import require
from deepmds_jax.topologies import Topology

_HEIGHTS = (360, 1080)  # of the annotated film; others are scaled
_MAX_ROWS = 4  # people with a 3D face beside the picture
_REACH = 1.8  # half a view, in sizes of the face
_INK, _MUTED, _CARD = "#1f2933", "#9aa5b1", "#f5f6f8"
_SIDE = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # turns what is seen from the left forward


def annotate(
    pixels: np.ndarray,
    people: Mapping[str, Mapping[str, np.ndarray] | None],
    seconds: float,
    topology: Topology,
) -> np.ndarray:
    """Draws one frame.

    The picture is on the left, with the landmarks of each face on it, coloured by depth from orange
    (near) to blue. On the right is a row for each of the first four people: yaw, pitch and roll,
    and the face in its pose, as the camera sees it and from the subject's left, in orthographic
    projection. Where a face is lost, its row says so and shows in grey what was filled in.

    Args:
      pixels: (height, width, 3) uint8 RGB.
      people: the same names in all frames of a film, by name the arrays of `faces_by_name`'s
        frames (`x2d`, `points`, `rotation`, `yaw`, `pitch`, `roll`, `converged`), or None before
        that face appears and after it has left.
      seconds: time of the frame.
      topology: of the landmarks.

    Returns:
      (H, W, 3) uint8, of one size for a film; H is between 360 and 1080.

    Raises:
      ImportError: Pillow is not installed.
    """
    image_module = require("PIL.Image", "pictures")
    draw_module = require("PIL.ImageDraw", "pictures")
    height, width, _ = pixels.shape
    scale = float(np.clip(height, *_HEIGHTS)) / height
    height, width = round(height * scale), round(width * scale)
    picture = image_module.fromarray(np.ascontiguousarray(pixels)).resize((width, height))
    unit = max(11, height // 30)  # height of the text
    font = require("PIL.ImageFont", "pictures").load_default(unit)
    draw = draw_module.Draw(picture)
    edges = np.asarray(topology.edges, int).reshape(-1, 2)
    for name, face in people.items():
        if face is None or not face["converged"]:
            continue
        x2d = (face["x2d"] + 0.5) * scale - 0.5  # pixel centres stay pixel centres
        _draw_skeleton(draw, x2d, face["points"][:, 2], edges, max(1, unit // 9), "white")
        if len(people) > 1:
            left, top = x2d[:, 0].mean(), x2d[:, 1].min() - 0.7 * unit
            draw.text((left, top), _shorten(name), "white", font, anchor="mb", stroke_width=1,
                      stroke_fill="black")
    draw.text((unit // 2, height - unit // 2), f"{seconds:.2f} s", "white", font, anchor="lb",
              stroke_width=1, stroke_fill="black")

    rows = list(people)[:_MAX_ROWS]
    row = height // max(len(rows), 1)
    # One person's views are one below the other; rows of several have them side by side.
    side = (height - 3 * unit) // 2 if len(rows) == 1 else row - 3 * unit
    step = (0, side) if len(rows) == 1 else (side, 0)
    panel = image_module.new("RGB", (max(side + step[0], 15 * unit), height), "white")
    for i, name in enumerate(rows):
        _draw_person(panel, i * row, side, step, unit, font, name, people[name], edges)
    whole = image_module.new("RGB", (width + panel.width, height))
    whole.paste(picture, (0, 0))
    whole.paste(panel, (width, 0))
    return np.asarray(whole)


def _draw_person(panel, top, side, step, unit, font, name, face, edges):
    """A row of the panel: two lines of text, and two views below them, a step apart."""
    image_module = require("PIL.Image", "pictures")
    draw_module = require("PIL.ImageDraw", "pictures")
    draw = draw_module.Draw(panel)
    there = face is not None and bool(face["converged"])
    draw.text((unit // 2, top + unit // 3), _shorten(name), _INK if there else _MUTED, font)
    text = "" if face is None else "lost"
    if face is not None and there:
        text = "  ".join(f"{key} {round(float(face[key])):+d}°" for key in ("yaw", "pitch", "roll"))
    draw.text((unit // 2, top + unit // 3 + 1.3 * unit), text,
              _INK if there else _MUTED, font)
    if face is None:
        return
    posed = face["points"] @ face["rotation"].T  # in the camera frame
    for i, view in enumerate((posed, posed @ _SIDE.T)):
        # Drawn twice as large: no jagged lines.
        card = image_module.new("RGB", (2 * side, 2 * side), _CARD)
        points = side * (1 + view[:, :2] / _REACH)
        order = np.argsort(-view[edges, 2].mean(axis=1))  # far ones first
        _draw_skeleton(draw_module.Draw(card), points, face["points"][:, 2] if there else None,
                       edges[order], max(2, side // 70), None)
        panel.paste(card.resize((side, side), image_module.Resampling.BOX),
                    (i * step[0], top + 3 * unit + i * step[1]))


def _draw_skeleton(draw, points, depth, edges, width, line):
    """Edges and points, coloured by depth in the head frame, grey without one."""
    colours = [_MUTED] * len(points) if depth is None else _colours(depth)
    for a, b in edges:
        draw.line([*points[a], *points[b]], line or colours[a], width)
    for (x, y), colour in zip(points, colours, strict=True):
        draw.ellipse([x - 1.5 * width, y - 1.5 * width, x + 1.5 * width, y + 1.5 * width], colour)


def _colours(depth: np.ndarray) -> list[tuple[int, ...]]:
    """Colours from near to far, of depths in sizes of the face."""
    stops = np.array([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in NEAR_TO_FAR])
    place = np.interp(depth, [-0.8, 0.6], [0, len(stops) - 1])  # from nose to temples
    channels = [np.interp(place, range(len(stops)), stops[:, i]) for i in range(3)]
    return [tuple(round(value) for value in colour) for colour in zip(*channels, strict=True)]


def _shorten(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
