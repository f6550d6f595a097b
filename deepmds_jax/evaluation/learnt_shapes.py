"""What an adaptation has learnt, as lines, as a table and as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepmds_jax import adaptation, topologies
from deepmds_jax.evaluation.tables import Row
from deepmds_jax.extras import require
from deepmds_jax.topologies import Topology

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Distance of the outer eye corners, mm, for a unit: ICT's mean face, and about that of adults.
_EYES = 88.0
_NUM_ROWS = 8
_VIEWS = (("front", (0, 1)), ("left profile", (2, 1)))


def shifts(learnt: adaptation.Learnt, topology: Topology) -> tuple[np.ndarray, str]:
    """Where the learnt mean has each landmark, less where the weights had it: (N, 3), and the unit.

    In the head frame, the two aligned as the adaptation aligned them. The unit is mm on a face
    whose outer eye corners are 88 mm apart; for things without eyes, % of their size.
    """
    shift = np.asarray(learnt.after.mean - learnt.before.mean)
    corners = [f"exocanthion_{side}" for side in topologies.SIDES]
    if not set(corners) <= set(topology.landmarks):
        return 100 * shift, "% of the size"
    right, left = (np.asarray(learnt.before.mean)[topology.landmarks.index(c)] for c in corners)
    return _EYES / np.linalg.norm(right - left) * shift, "mm"


def rows(learnt: adaptation.Learnt, topology: Topology) -> list[Row]:
    """The 8 landmarks that moved most, one a row."""
    shift, unit = shifts(learnt, topology)
    length = np.linalg.norm(shift, axis=1)
    return [
        {"landmark": topology.landmarks[i], f"shift, {unit}": float(length[i]),
         "right": float(shift[i, 0]), "down": float(shift[i, 1]), "away": float(shift[i, 2])}
        for i in np.argsort(-length)[:_NUM_ROWS]
    ]


def warnings(
    learnt: adaptation.Learnt, names: Sequence[str], start: str = "weights"
) -> list[str]:
    """A line for what could not be learnt, and for each of the first 8 faces that were left out.

    Args:
      learnt: from `adaptation.learn_shapes`.
      names: of its faces.
      start: what it started from, "weights" or "template".
    """
    lines = []
    if not learnt.sees_depth:
        degrees = np.degrees(np.arcsin(np.sqrt(max(learnt.spread, 0))))
        far = f"within {degrees:.1f} degrees, root mean square"
        lines.append(
            f"all faces are seen from nearly one direction ({far}): nothing of depth was learnt, "
            "only where the landmarks lie in the image" if start == "weights" else
            f"the views differ too little to tell bending from turning ({far}; "
            f"{np.degrees(np.arcsin(np.sqrt(learnt.min_spread))):.0f} are needed): nothing was "
            "learnt, and the template kept")
    if learnt.is_better and learnt.residual_after > learnt.residual_before:
        lines.append("the learnt mean shape explains the landmarks no better than that of the "
                     f"{start} ({100 * learnt.residual_after:.2f} against "
                     f"{100 * learnt.residual_before:.2f} % of the size)")
    if learnt.hidden and not learnt.is_better:
        before, after = learnt.hidden
        lines.append("what was learnt was dropped, and the template kept: shapes learnt from one "
                     "half predict hidden landmarks of the other half no better than the template "
                     f"does ({100 * after:.1f} against {100 * before:.1f} % of the size)")
    what = ("a face, or are mirrored or in another order (bin/reconstruct says which)"
            if start == "weights" else "something like the template")
    others = [name for name, used in zip(names, learnt.used, strict=True) if not used]
    lines += [f"{name}: left out, its landmarks are not those of {what}, or a copy of another's"
              for name in others[:_NUM_ROWS]]
    if len(others) > _NUM_ROWS:
        lines.append(f"and {len(others) - _NUM_ROWS} more, left out for the same reason")
    return lines


def summary(learnt: adaptation.Learnt, start: str = "weights") -> str:
    """How many faces were used, and how well the mean shape explains them before and after."""
    noise = 100 * float(np.median(learnt.noise[learnt.used]))
    hidden = "" if learnt.hidden is None else (
        f"; hidden landmarks lie {100 * learnt.hidden[0]:.1f} % of the size from where the "
        f"template says, {100 * learnt.hidden[1]:.1f} % from where shapes learnt from others say")
    return (f"{learnt.used.sum()} of {len(learnt.used)} faces used; their landmarks lie "
            f"{100 * learnt.residual_before:.2f} % of the face's size from the posed mean shape of "
            f"the {start}, {100 * learnt.residual_after:.2f} % from the learnt one; noise of a "
            f"landmark {noise:.2f} %{hidden}")


def draw(learnt: adaptation.Learnt, topology: Topology) -> "Figure":
    """The mean shape before and after, from the front and in profile, and the way between them."""
    figure = require("matplotlib.figure", "pictures").Figure(
        figsize=(9, 4.8), layout="constrained", facecolor="white")
    shift, unit = shifts(learnt, topology)
    before, after = np.asarray(learnt.before.mean), np.asarray(learnt.after.mean)
    length = np.linalg.norm(shift, axis=1)
    panels = figure.subplots(1, 2, sharey=True, width_ratios=(1.7, 1))
    dots = None
    for axes, (title, (across, down)) in zip(panels, _VIEWS, strict=True):
        for i, j in topology.edges:
            axes.plot(before[[i, j], across], before[[i, j], down], color="#c9ced6", linewidth=1)
            axes.plot(after[[i, j], across], after[[i, j], down], color="#2f5d9b", linewidth=1)
        axes.quiver(*before[:, [across, down]].T, *(after - before)[:, [across, down]].T,
                    color="#6b7785", angles="xy", scale_units="xy", scale=1, width=0.003)
        dots = axes.scatter(*after[:, [across, down]].T, c=length, cmap="plasma_r", s=14, vmin=0,
                            zorder=3)
        axes.set(aspect="equal", title=title, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    panels[0].invert_yaxis()
    assert dots is not None
    figure.colorbar(dots, ax=panels, label=f"shift of the landmark, {unit}", shrink=0.8)
    figure.suptitle("Mean shape: grey before, blue as learnt", fontsize=10)
    return figure
