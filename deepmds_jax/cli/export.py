"""Writes lifting or scaling to files that run without this package, each checked against JAX.

  bin/export --weights=ibug68 --out=exported
  bin/export --weights=mine.safetensors --format=onnx --batch=1 --out=exported
  bin/export --weights=mine.safetensors --format=hf --out=to_share
  bin/export --smacof=ordinal --num_points=60 --dims=2 --format=stablehlo,onnx --out=exported

Landmarks x2d (B, N, 2) float32 and visible (B, N) bool in, points, std, rotation, angle_std and
converged out. The README.md beside the files has code for Python, phones and browsers.
"""

import os
from collections.abc import Sequence

from absl import flags

from deepmds_jax import exports
from deepmds_jax.cli import program
from deepmds_jax.cli.outputs import check_folder
from deepmds_jax.evaluation import tables
from deepmds_jax.methods.saved import load_weights

_FLAGS = program.new_flags()
_FORMAT = flags.DEFINE_list(
    "format", list(exports.FORMATS), "Which formats, with commas; hf makes a folder for the "
    "Hugging Face Hub: weights, model card, example, stablehlo and onnx.", flag_values=_FLAGS)
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "Shipped (ibug68, flame51, with _published), a .safetensors file, a "
    "training run's workdir, or hf://owner/name.", flag_values=_FLAGS)
_SMACOF = flags.DEFINE_enum(
    "smacof", None, ["ratio", "interval", "ordinal"],
    "Instead of weights: scaling by this transform, of problems of one size.", flag_values=_FLAGS)
_NUM_POINTS = flags.DEFINE_integer(
    "num_points", None, "With --smacof: points of a problem.", 2, flag_values=_FLAGS)
_DIMS = flags.DEFINE_integer(
    "dims", 2, "With --smacof: dimensions of the result.", 1, flag_values=_FLAGS)
_BATCH = flags.DEFINE_integer(
    "batch", None, "How many faces or problems at once; default: any number, and 1 where the "
    "format needs a fixed one (tflite). Files for 1 run one face faster.", 1, flag_values=_FLAGS)
_OUT = flags.DEFINE_string("out", None, "Folder for the files.", flag_values=_FLAGS)


def main(arguments: list[str]) -> None:
    """Exports as the flags say."""
    del arguments
    out = program.require(_OUT, "FOLDER")
    if bool(_WEIGHTS.value) == bool(_SMACOF.value):
        raise ValueError("weights: expected --weights=NAME|FILE or --smacof=ordinal, got "
                         f"{'both' if _SMACOF.value else 'none'}")
    if not _SMACOF.value and (_NUM_POINTS.value or _FLAGS["dims"].present):
        raise ValueError("smacof: expected --smacof=ordinal with --num_points or --dims, got none")
    check_folder("out", out)
    if not _WEIGHTS.value:
        if not _NUM_POINTS.value:
            raise ValueError("num_points: expected --num_points=60 with --smacof, got none")
        problem = exports.Smacof(program.require(_SMACOF, "ordinal"), _NUM_POINTS.value,
                                 _DIMS.value)
        what, name, description = problem, None, None
    else:
        what, description = load_weights(_WEIGHTS.value)
        name = _WEIGHTS.value
    files = exports.export(what, out, _FORMAT.value, name=name, batch=_BATCH.value,
                           description=description)
    program.tell(tables.to_text([
        {"file": file.path.name, "kB": f"{os.path.getsize(file.path) / 1000:.0f}",
         "batch": file.batch or "any", "error": f"{file.agreement.error:.1e}"}
        for file in files]))
    program.tell(f"the column error: {files[0].agreement.as_metadata()['error_of']}",
                 f"wrote {out}; {os.path.join(out, 'README.md')} has code for each file")


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments)
