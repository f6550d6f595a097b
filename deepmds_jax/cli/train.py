"""Trains Deep-MDS, or a network that it is compared with, on faces from a dataset.

  bin/train --dataset=synthetic
  bin/train --dataset=ict --data_dir=ICT-FaceKit --topology=flame51 --accelerator=gpu
  bin/train --method=zhao --dataset=synthetic --topology=bfm72
  bin/train --method=mobileface --dataset=ict --data_dir=ICT-FaceKit --accelerator=gpu

The same command, given again, continues an interrupted run.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from deepmds_jax import topologies
from deepmds_jax.cli import program
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.methods import table
from deepmds_jax.training.trainable import Run
from deepmds_jax.weights.locate import FILE_NAME

_FLAGS = program.new_flags()
_METHOD = flags.DEFINE_enum(
    "method", table.DEFAULT, table.trained_names(),
    "What to train; mobileface needs a dataset with a dense model, to draw photographs of.",
    flag_values=_FLAGS,
)
_DATASET = flags.DEFINE_string(
    "dataset", "synthetic", f"One of {specs.names()}, or a spec of your own, NAME.toml.",
    flag_values=_FLAGS)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None,
    "Its files; default: data/DATASET. Of a mix: a folder of data sets; default: data.",
    flag_values=_FLAGS)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Landmarks: a name, or a file NAME.toml; default: the dataset's first.",
    flag_values=_FLAGS)
_WORKDIR = flags.DEFINE_string(
    "workdir", None,
    "Checkpoints, curves and weights; default: runs/DATASET_TOPOLOGY for Deep-MDS as published, "
    "with the name of the method or variant in front for others.", flag_values=_FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of initial weights, faces, views and their order.", 0, 2**32 - 1,
    flag_values=_FLAGS)
_NUM_TRAIN = flags.DEFINE_integer(
    "num_train", None, "Number of faces; default: the dataset's.", 1, flag_values=_FLAGS)
_VARIANT = flags.DEFINE_enum(
    "variant", None, table.variant_names(),
    "Which system of the method to train; default: the dataset's.", flag_values=_FLAGS,
)


def _define_options() -> dict[str, flags.FlagHolder]:
    """A flag for every option of every method; methods may share one."""
    helps: dict[str, list[str]] = {}
    fields: dict[str, dataclasses.Field] = {}
    for method in table.trained_methods():
        label = method.VARIANT or method.NAME
        for field in table.options(method):
            helps.setdefault(field.name, []).append(
                f"{label}: {field.metadata['help']} (default: {str(field.default).lower()})")
            fields[field.name] = field
    holders = {}
    for name, field in fields.items():
        text = f"{'; '.join(helps[name])}."
        choices, low = field.metadata["choices"], field.metadata["lower_bound"]
        if choices:
            holders[name] = flags.DEFINE_enum(
                name, None, list(choices), text, flag_values=_FLAGS)
        elif isinstance(field.default, bool):
            holders[name] = flags.DEFINE_bool(name, None, text, flag_values=_FLAGS)
        elif isinstance(field.default, int):
            holders[name] = flags.DEFINE_integer(name, None, text, low, flag_values=_FLAGS)
        else:
            holders[name] = flags.DEFINE_float(name, None, text, low, flag_values=_FLAGS)
    return holders


_OPTIONS = _define_options()


def main(arguments: list[str]) -> None:
    """Trains as the flags say."""
    del arguments
    from deepmds_jax.training.run import train  # needs what only training needs

    spec = specs.load_spec(_DATASET.value)
    variants = table.variants(_METHOD.value)
    if _VARIANT.present and len(variants) == 1:
        raise ValueError(f"variant: no flag of --method={_METHOD.value}")
    of_dataset = spec.variant if _METHOD.value == table.DEFAULT else None
    method = table.find(_METHOD.value, _VARIANT.value or of_dataset)
    named = {field.name for field in table.options(method)}
    for name, flag in _OPTIONS.items():
        if flag.present and name not in named:
            which = f"variant={method.VARIANT}" if method.VARIANT else f"method={method.NAME}"
            raise ValueError(f"{name}: no flag of --{which}")

    if not (_TOPOLOGY.value or spec.topologies):
        raise ValueError(f"topology: {spec.name} has shapes of any; name the one of yours")
    topology = topologies.get(_TOPOLOGY.value or spec.topologies[0]).name
    folder = pathlib.Path(_DATA_DIR.value or ("data" if spec.mix else f"data/{spec.name}"))
    workdir = pathlib.Path(
        _WORKDIR.value or f"runs/{table.run_name(method, spec.name, topology)}")
    program.check_writable("workdir", workdir)
    config = method.Config(topology, **_given(method.Config))
    training = method.Training(**_given(method.Training))
    run = Run(config, training, _SEED.value, _NUM_TRAIN.value or spec.num_train)
    dataset = open_dataset(spec, topology, folder)
    program.tell(f"training on {spec.title}, {topology}; curves: tensorboard --logdir={workdir}")
    train(method, run, dataset, workdir)
    scored = (f"--weights={workdir}" if method.NAME == table.DEFAULT
              else f"--methods={method.NAME}={workdir} --topology={topology}")
    program.tell(f"wrote {workdir / FILE_NAME}; score it: bin/eval {scored}")


def _given(options: type) -> dict[str, Any]:
    """The flags that were given, of those that these options have."""
    names = {field.name for field in dataclasses.fields(options)}
    return {name: flag.value for name, flag in _OPTIONS.items() if name in names and flag.present}


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments)
