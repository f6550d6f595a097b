"""Pictures of a face over time: some of its frames, and curves of its pose."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepmds_jax.evaluation.figures import draw_reconstructions
from deepmds_jax.topologies import Topology

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES_HEIGHT = 2.3  # inches
_ANGLES = {"yaw": "#2f5d9b", "pitch": "#e4572e", "roll": "#4a9d6f"}


def draw_sequence(
    frames: Mapping[str, Mapping[str, np.ndarray]],
    shown: Sequence[str],
    topology: Topology,
    images: Mapping[str, np.ndarray] | None = None,
) -> "Figure":
    """Draws some frames as `figures.draw_reconstructions` does, with the pose over time below them.

    Args:
      frames: frame name -> its arrays, in temporal order: those that `draw_reconstructions` takes,
        and `seconds`, `yaw`, `pitch`, `roll` (degrees) and `converged`, one number each. Where a
        frame has not converged, because it shows no face, the background of the curves is grey.
      shown: names of the frames to draw; dotted lines mark them on the curves.
      topology: the topology of the landmarks.
      images: frame name -> photograph, as `draw_reconstructions` takes them.

    Returns:
      A figure. The axes of the curves are labelled `pose`, the others as `draw_reconstructions`
      labels them.

    Raises:
      ValueError, ImportError: as `draw_reconstructions` does.
    """
    figure = draw_reconstructions({name: frames[name] for name in shown}, topology, images)
    width, height = figure.get_size_inches()
    full_height = height + _CURVES_HEIGHT
    figure.set_size_inches(width, full_height)
    share = height / full_height  # the frames keep their size and move to the top
    for axes in figure.axes:
        x, y, w, h = axes.get_position(original=True).bounds
        axes.set_position((x, 1 - share + share * y, w, share * h))
    for text in figure.texts:
        text.set_y(1 - share + share * text.get_position()[1])

    box = (0.65 / width, 0.5 / full_height, 1 - 0.85 / width, 1 - share - 0.75 / full_height)
    axes = figure.add_axes(box, label="pose")
    seconds, found = (np.array([float(frame[key]) for frame in frames.values()])
                      for key in ("seconds", "converged"))
    half = (seconds[1] - seconds[0]) / 2 if len(seconds) > 1 else 0.5
    for time in seconds[found == 0]:
        axes.axvspan(time - half, time + half, color="#e3e6ea", lw=0)
    for name in shown:
        axes.axvline(float(frames[name]["seconds"]), color="#6b7785", lw=0.7, ls=":")
    for name, color in _ANGLES.items():
        axes.plot(seconds, [float(frame[name]) for frame in frames.values()], color=color, lw=1.3,
                  label=name)
    axes.set(xlabel="time (s)", ylabel="degrees",
             xlim=(seconds[0] - half, seconds[-1] + half))
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98))
    return figure
