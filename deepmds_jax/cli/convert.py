"""Converts the authors' published Keras weights to a .safetensors file, once.

  bin/convert --released=DeepMDS/weights --topology=bfm72 --out=bfm72.safetensors
"""

from collections.abc import Sequence

from absl import flags

from deepmds_jax.cli import program
from deepmds_jax.cli.outputs import check_file
from deepmds_jax.methods.saved import load_weights, save_params

_FLAGS = program.new_flags()
_RELEASED = flags.DEFINE_string(
    "released", None, "Folder of the authors' .h5 files.", flag_values=_FLAGS)
_TOPOLOGY = flags.DEFINE_enum(
    "topology", None, ["bfm72", "flame51"], "Which networks.", flag_values=_FLAGS)
_OUT = flags.DEFINE_string(
    "out", None, "The .safetensors file to write.", flag_values=_FLAGS)


def main(arguments: list[str]) -> None:
    """Converts as the flags say."""
    del arguments
    folder = program.require(_RELEASED, "FOLDER of the authors' .h5 files")
    topology = program.require(_TOPOLOGY, "bfm72 or --topology=flame51")
    out = program.require(_OUT, "FILE.safetensors")
    if not out.endswith(".safetensors"):
        raise ValueError(f"out: expected a name that ends in .safetensors, got {out!r}")
    check_file("out", out)
    params, description = load_weights(f"released:{folder}", topology=topology)
    save_params(out, params, description)
    program.tell(f"wrote {out}; use it: bin/reconstruct --weights={out}")


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments)
