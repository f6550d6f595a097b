"""Teaches weights where a detector puts its landmarks, from faces without any 3D.

Or things of another kind, from one 3D shape, a template.

  bin/adapt landmarks --weights=flame51 --out=mine.safetensors
  bin/adapt faces.npz more/*.pts --weights=runs/ict_flame51 --out=mine.safetensors
  bin/reconstruct faces.npz --weights=mine.safetensors
  bin/adapt hands.npz --template=hand.csv --topology=hand.toml --out=hand.safetensors

Takes landmark files as bin/reconstruct does, but for Parquet: 50 faces are worth it, 200 are
plenty; seen from several directions, or nothing of depth can be learnt. Draws what it learnt beside
the weights. Takes some minutes; of an interrupted run nothing is kept.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from deepmds_jax import adaptation, faces_by_name, topologies
from deepmds_jax.cli import image_size, program
from deepmds_jax.cli.outputs import check_distinct, check_file
from deepmds_jax.data.formats.faces import Face
from deepmds_jax.data.formats.landmark_files import list_all, read_all_landmarks
from deepmds_jax.data.sources.shapes import read_shape
from deepmds_jax.evaluation import figures, learnt_shapes, tables
from deepmds_jax.files import all_or_none
from deepmds_jax.methods.saved import load_weights, save_params
from deepmds_jax.topologies import Topology

_FLAGS = program.new_flags()
_WEIGHTS = flags.DEFINE_string(
    "weights", None,
    "To start from: shipped (a topology), a .safetensors file, or a training run's workdir; "
    "default: the shipped weights for that number of landmarks.", flag_values=_FLAGS,
)
_TEMPLATE = flags.DEFINE_string(
    "template", None,
    "To start from instead of weights: a file of one shape (N, 3), .csv with columns x, y, z, "
    ".npy, .npz or .mat; needs --topology.", flag_values=_FLAGS)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Of the template: a name, or the path of a .toml file.", flag_values=_FLAGS)
_SMOOTHNESS = flags.DEFINE_float(
    "smoothness", adaptation.SMOOTHNESS,
    "Over what distance landmarks of the template move together at first, in sizes of it.",
    lower_bound=0, flag_values=_FLAGS)
_OUT = flags.DEFINE_string(
    "out", None, "File for the adapted weights, .safetensors.", flag_values=_FLAGS)
_PICTURE = flags.DEFINE_string(
    "picture", None, "Picture of what was learnt, .png, .svg or .pdf; default: --out as .png.",
    flag_values=_FLAGS,
)
_IMAGE_SIZE = image_size.define(_FLAGS)
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
        check_file(flag, path)
    if not paths:
        raise ValueError("expected landmark files or folders of them, got none; "
                         "try: bin/adapt landmarks --out=mine.safetensors")
    if not _TEMPLATE.value and (_TOPOLOGY.value or _FLAGS["smoothness"].present):
        raise ValueError("template: expected --template=hand.csv with --topology or --smoothness, "
                         "got none; weights know theirs")
    if _TEMPLATE.value and _WEIGHTS.value:
        raise ValueError("weights: expected none with --template, which starts from nothing else, "
                         f"got {_WEIGHTS.value}")
    read = [path for path in (_WEIGHTS.value, _TEMPLATE.value, _TOPOLOGY.value) if path]
    check_distinct([("out", out), ("picture", picture)], [*list_all(paths)[0], *read])
    start = _from_template if _TEMPLATE.value else _from_weights
    landmarks, warnings, left_out = read_all_landmarks(
        paths, image_size=image_size.read(_IMAGE_SIZE))
    program.warn(*warnings)
    learn, train, topology, description = start(landmarks)
    landmarks, unfit = faces_by_name.select_faces(landmarks, topology)
    if not landmarks:
        raise ValueError("no faces to learn from: " + "; ".join((left_out + unfit)[:3]))
    what = "template" if _TEMPLATE.value else "weights"
    learnt = learn(np.stack([face.points for face in landmarks.values()]),
                   np.stack([face.visible for face in landmarks.values()]))
    program.tell(learnt_shapes.summary(learnt, what))
    program.tell(tables.to_text(learnt_shapes.rows(learnt, topology)))
    warnings = learnt_shapes.warnings(learnt, list(landmarks), what)
    program.warn(*warnings)
    num_used = int(learnt.used.sum())
    with all_or_none():
        figures.save_figure(learnt_shapes.draw(learnt, topology), picture)
        save_params(out, train(learnt), {
            **{name: str(value) for name, value in description.items() if name != "config"},
            "adapted": f"to {num_used} unlabelled faces, seed {_SEED.value}"})
    program.list_left_out(left_out + unfit)
    program.tell(f"wrote {out}, {picture}; use them: bin/reconstruct FILES --weights={out}")
    return 0


class _Start(NamedTuple):
    """What there is to start from: how to learn shapes from landmarks and to train on what was
    learnt, the topology, and entries for the weights file."""

    learn: Callable[[np.ndarray, np.ndarray], adaptation.Learnt]
    train: Callable[[adaptation.Learnt], Any]
    topology: Topology
    description: Mapping[str, Any]


def _from_weights(landmarks: Mapping[str, Face]) -> _Start:
    weights = _WEIGHTS.value
    if weights is None:
        weights = faces_by_name.load_pretrained_for(landmarks).config.topology
        program.warn(*faces_by_name.losing_landmarks(landmarks))
    params, description = load_weights(weights)
    return _Start(
        lambda x2d, visible: adaptation.learn_shapes(params, x2d, visible, progress=True),
        lambda learnt: adaptation.refine(params, learnt, seed=_SEED.value, progress=True),
        topologies.get(params.config.topology), description)


def _from_template(landmarks: Mapping[str, Face]) -> _Start:
    del landmarks
    topology = topologies.get(program.require(_TOPOLOGY, "hand.toml"))
    path = program.require(_TEMPLATE, "hand.csv")
    template = read_shape(path, topology.name)
    description = {
        "data": f"shapes learnt from the template {pathlib.Path(path).name} and "
                "unlabelled landmarks", "data_licence": "that of template and landmarks"}
    return _Start(
        lambda x2d, visible: adaptation.learn_from_template(
            template, topology.name, x2d, visible, smoothness=_SMOOTHNESS.value, progress=True),
        lambda learnt: adaptation.train(learnt, topology.name, seed=_SEED.value, progress=True),
        topology, description)


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments, positional=True)
