"""Converts the authors' published Keras weights to a .safetensors file, once.

  bin/convert --released=DeepMDS/weights --topology=bfm72 --out=bfm72.safetensors
"""

from absl import flags

from deepmds_jax import weights
from deepmds_jax.cli import common
from deepmds_jax.weights.keras import load_released

_RELEASED = flags.DEFINE_string("released", None, "Folder of the authors' .h5 files.")
_TOPOLOGY = flags.DEFINE_enum("topology", None, ["bfm72", "flame51"], "Which networks.")
_OUT = flags.DEFINE_string("out", None, "The .safetensors file to write.")
flags.mark_flags_as_required(["released", "topology", "out"])


def main() -> None:
    """Converts as the flags say."""
    if not _OUT.value.endswith(".safetensors"):
        raise ValueError(f"out: expected a name that ends in .safetensors, got {_OUT.value!r}")
    params = load_released(_RELEASED.value, _TOPOLOGY.value)
    weights.save_params(_OUT.value, params, {
        "data": "weights published by Kamyab & Azimifar, github.com/s2kamyab/DeepMDS",
        "data_licence": "no licence file; available for research purposes",
    })
    print(f"wrote {_OUT.value}; use it: bin/reconstruct --weights={_OUT.value}")


def run() -> None:
    """Console script."""
    common.run(main)
