"""Table rows that sum up reconstructed faces and video frames, and a choice of which to show."""

from collections.abc import Mapping, Sequence

import numpy as np

from deepmds_jax.evaluation.tables import Row


def summarize_face(name: str, face: Mapping[str, np.ndarray | np.generic]) -> Row:
    """Pose, uncertainty and the solver's report of one face.

    Args:
      name: name of the face.
      face: its arrays: `yaw`, `pitch` and `roll` in degrees; `stress`, `num_iters` and `converged`
        of the solver; and optionally `std` (N,), standard deviations of the landmarks relative to
        the size of the face.

    Returns:
      "face"; "yaw (deg)", "pitch (deg)" and "roll (deg)"; "std (% of size)", the mean over the
      landmarks, if known; "stress-1", "iterations" and "converged" ("yes" or "no").
    """
    std = {"std (% of size)": round(100 * float(face["std"].mean()), 1)} if "std" in face else {}
    return {
        "face": name, **_angles(face), **std, "stress-1": float(face["stress"]), **_solver(face)
    }


def summarize_frame(name: str, frame: Mapping[str, np.ndarray | np.generic]) -> Row:
    """Time, pose and the solver's report of one video frame.

    Args:
      name: name of the frame.
      frame: its arrays: `seconds`; `yaw`, `pitch` and `roll` in degrees; `num_iters` and
        `converged` of the solver.

    Returns:
      "frame"; "time (s)"; "yaw (deg)", "pitch (deg)" and "roll (deg)"; "iterations" and
      "converged" ("yes" or "no").
    """
    return {
        "frame": name, "time (s)": round(float(frame["seconds"]), 3), **_angles(frame),
        **_solver(frame),
    }


def spread_evenly(names: Sequence[str], max_amount: int) -> list[str]:
    """At most `max_amount` of the names, spread evenly from the first to the last."""
    places = np.unique(np.linspace(0, len(names) - 1, max_amount).round().astype(int))
    return [names[int(i)] for i in places]


def _angles(face: Mapping[str, np.ndarray | np.generic]) -> dict[str, float]:
    return {f"{key} (deg)": round(float(face[key]), 1) for key in ("yaw", "pitch", "roll")}


def _solver(face: Mapping[str, np.ndarray | np.generic]) -> dict[str, int | str]:
    return {"iterations": int(face["num_iters"]), "converged": "yes" if face["converged"] else "no"}
