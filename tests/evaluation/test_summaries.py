import numpy as np
import pytest

from deepmds_jax.evaluation.summaries import spread_evenly, summarize_face, summarize_frame

FACE = {
    "yaw": np.float32(-12.345), "pitch": np.float32(3.25), "roll": np.float32(0.04),
    "stress": np.float32(0.125), "num_iters": np.int32(7), "converged": np.bool_(True),
    "seconds": np.float64(1.23456), "std": np.array([0.01, 0.03]),
}
ANGLES = {"yaw (deg)": -12.3, "pitch (deg)": 3.2, "roll (deg)": 0.0}


def test_summary_of_a_face():
    row = summarize_face("a", FACE)
    assert row == {"face": "a", **ANGLES, "std (% of size)": 2.0, "stress-1": 0.125,
                   "iterations": 7, "converged": "yes"}
    assert [*row][:2] == ["face", "yaw (deg)"] and [*row][-2:] == ["iterations", "converged"]
    without = {key: value for key, value in FACE.items() if key != "std"}
    row = summarize_face("a", without | {"converged": np.bool_(False)})
    assert row == {"face": "a", **ANGLES, "stress-1": 0.125, "iterations": 7, "converged": "no"}


def test_summary_of_a_frame():
    row = summarize_frame("0007", FACE)
    assert row == {"frame": "0007", "time (s)": 1.235, **ANGLES, "iterations": 7,
                   "converged": "yes"}
    assert list(row)[:2] == ["frame", "time (s)"]


@pytest.mark.parametrize(("number", "max_amount", "expected"), [
    (5, 3, "ace"), (3, 20, "abc"), (1, 5, "a"), (26, 2, "az"), (4, 4, "abcd"),
])
def test_names_are_spread_from_the_first_to_the_last(number, max_amount, expected):
    names = [chr(ord("a") + i) for i in range(number)]
    assert spread_evenly(names, max_amount) == list(expected)
