"""Annotated frames of films."""

import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.evaluation.film_pictures import annotate

TOPOLOGY = topologies.get("flame51")


def face(x, y, converged=True):
    """Arrays of a frame; the shape is any."""
    points = np.random.default_rng(0).normal(size=(51, 3)) / 2
    return {"x2d": 30 * points[:, :2] + [x, y], "points": points, "rotation": np.eye(3),
            "yaw": np.float32(-12.3), "pitch": np.float32(4.5), "roll": np.float32(-0.1),
            "converged": np.bool_(converged)}


def picture(height, width):
    return np.full((height, width, 3), 40, np.uint8)


@pytest.mark.parametrize(("height", "drawn"), [(120, 360), (480, 480), (2160, 1080)])
def test_the_size_is_that_of_a_film(height, drawn):
    people = {"clip": face(60, 60)}
    sizes = {annotate(picture(height, height), state, 1.5, TOPOLOGY).shape
             for state in (people, {"clip": None}, {"clip": face(60, 60, False)})}
    ((rows, columns, _),) = sizes
    assert rows == drawn and columns > 1.3 * drawn


def test_landmarks_are_drawn_where_they_are_and_beside_the_picture():
    people = {"clip#0": face(120, 200), "clip#1": face(420, 250, converged=False), "clip#2": None}
    drawn = annotate(picture(480, 640), people, 1.5, TOPOLOGY).astype(int)
    left, panel = drawn[:400, :640], drawn[:, 640:]
    changed = np.abs(left - 40).max(axis=2) > 60
    for x, y in np.round(people["clip#0"]["x2d"]).astype(int):
        assert changed[y, x]
    assert not changed[:, 300:].any()  # a lost face is not drawn on the picture
    coloured = np.ptp(panel, axis=2) > 60
    rows = np.array_split(coloured, 3)
    assert rows[0].sum() > 100
    assert not rows[1].any() and (rows[1].size and (panel[160:320] < 200).any())  # grey
    assert (panel[330:, :] > 100).mean() > 0.98  # nothing but a name


def test_only_four_people_have_a_row():
    few, many = (annotate(picture(480, 640), {f"p{i}": face(99, 99) for i in range(number)}, 0,
                          TOPOLOGY) for number in (4, 9))
    assert few.shape == many.shape
