"""Teaches weights where a detector puts its landmarks, from faces without any 3D.

  bin/adapt landmarks --weights=flame51 --out=mine.safetensors
  bin/adapt faces.npz more/*.pts --weights=runs/ict_flame51 --out=mine.safetensors
  bin/reconstruct faces.npz --weights=mine.safetensors

Takes landmark files as bin/reconstruct does: 50 faces are worth it, 200 are plenty; seen from
several directions, or nothing of depth can be learnt. Draws what it learnt beside the weights.
"""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from deepmds_jax import adaptation, faces_by_name, topologies
from deepmds_jax.cli import program
from deepmds_jax.data.formats.landmark_files import list_all, read_all_landmarks
from deepmds_jax.evaluation import figures, learnt_shapes, tables
from deepmds_jax.methods.saved import load_weights, save_params

_FLAGS = program.new_flags()
_WEIGHTS = flags.DEFINE_string(
    "weights", None,
    "To start from: shipped (a topology), a .safetensors file, or a training run's workdir; "
    "default: the shipped weights for that number of landmarks.", flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string(
    "out", None, "File for the adapted weights, .safetensors.", flag_values=_FLAGS)
_PICTURE = flags.DEFINE_string(
    "picture", None, "Picture of what was learnt, .png, .svg or .pdf; default: --out as .png.",
    flag_values=_FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the faces that the networks are trained on.", 0, 2**32 - 1,
    flag_values=_FLAGS)


def main(paths: list[str]) -> int:
    """Adapts weights to the landmark files in `paths`, as the flags say."""
    out = pathlib.Path(program.require(_OUT, "mine.safetensors"))
    if out.suffix != ".safetensors":
        raise ValueError(f"out: expected a .safetensors file, got {out}")
    picture = figures.check_format(_PICTURE.value or out.with_suffix(".png"))
    for flag, path in (("out", out), ("picture", picture)):
        program.check_writable(flag, path.parent)
    if not paths:
        raise ValueError("expected landmark files or folders of them, got none; "
                         "try: bin/adapt landmarks --out=mine.safetensors")
    program.check_outputs([("out", out), ("picture", picture)],
                          [*list_all(paths)[0], *([_WEIGHTS.value] if _WEIGHTS.value else [])])
    landmarks, warnings, left_out = read_all_landmarks(paths)
    print(*warnings, sep="\n", end="\n" if warnings else "", file=sys.stderr)
    weights = _WEIGHTS.value or faces_by_name.load_pretrained_for(landmarks).config.topology
    params, description = load_weights(weights)
    topology = topologies.get(params.config.topology)
    landmarks, unfit = faces_by_name.select_faces(landmarks, params)
    if not landmarks:
        raise ValueError("no faces to learn from: " + "; ".join((left_out + unfit)[:3]))
    x2d = np.stack([face.points for face in landmarks.values()])
    visible = np.stack([face.visible for face in landmarks.values()])
    learnt = adaptation.learn_shapes(params, x2d, visible, progress=True)
    print(learnt_shapes.summary(learnt))
    print(tables.to_text(learnt_shapes.rows(learnt, topology)))
    warnings = learnt_shapes.warnings(learnt, list(landmarks))
    print(*warnings, sep="\n", end="\n" if warnings else "", file=sys.stderr)
    figures.save_figure(learnt_shapes.draw(learnt, topology), picture)
    adapted = adaptation.refine(params, learnt, seed=_SEED.value, progress=True)
    num_used = int(learnt.used.sum())
    save_params(out, adapted, {
        **{name: str(value) for name, value in description.items() if name != "config"},
        "adapted": f"to {num_used} unlabelled faces, seed {_SEED.value}"})
    if left_out + unfit:
        print("left out:", *left_out, *unfit, sep="\n  ", file=sys.stderr)
    print(f"wrote {out}, {picture}; use them: bin/reconstruct FILES --weights={out}")
    return 0


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments, positional=True)
