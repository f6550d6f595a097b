"""The flags of bin/train, and what they say."""

import dataclasses
import pathlib
import re
from typing import Any

import jax
from absl import flags

from deepmds_jax import topologies
from deepmds_jax.cli import program
from deepmds_jax.cli.outputs import check_folder
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset, open_dataset
from deepmds_jax.methods import table
from deepmds_jax.training.trainable import Run

FLAGS = program.new_flags()
METHOD = flags.DEFINE_enum(
    "method", table.DEFAULT, table.trained_names(),
    "What to train; mobileface needs a dataset with a dense model, to draw photographs of.",
    flag_values=FLAGS,
)
DATASET = flags.DEFINE_string(
    "dataset", "synthetic", f"One of {specs.names()}, or a spec of your own, NAME.toml.",
    flag_values=FLAGS)
DATA_DIR = flags.DEFINE_string(
    "data_dir", None,
    "Its files; default: data/DATASET. Of a mix: a folder of data sets; default: data.",
    flag_values=FLAGS)
TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Landmarks: a name, or a file NAME.toml; default: the dataset's first.",
    flag_values=FLAGS)
WORKDIR = flags.DEFINE_string(
    "workdir", None,
    "Checkpoints, curves and weights; default: runs/DATASET_TOPOLOGY for Deep-MDS as published, "
    "with the name of the method or variant in front for others.", flag_values=FLAGS,
)
SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of initial weights, faces, views and their order.", 0, 2**32 - 1,
    flag_values=FLAGS)
NUM_TRAIN = flags.DEFINE_integer(
    "num_train", None, "Number of faces; default: the dataset's.", 1, flag_values=FLAGS)
VARIANT = flags.DEFINE_enum(
    "variant", None, table.variant_names(),
    "Which system of the method to train; default: the dataset's.", flag_values=FLAGS,
)

DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False,
    "Train together with other processes, whose number and address JAX finds out, as it can under "
    "Slurm, Open MPI and Kubernetes and on Cloud TPU.", flag_values=FLAGS)
COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None,
    "Elsewhere: HOST:PORT of process 0, to which the others connect; the port has to be free.",
    flag_values=FLAGS)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of processes that train together.", 1, flag_values=FLAGS)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", None,
    "Which of them this is, from 0. Process 0 alone uses the workdir and tells how it goes.", 0,
    flag_values=FLAGS)


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
                name, None, list(choices), text, flag_values=FLAGS)
        elif isinstance(field.default, bool):
            holders[name] = flags.DEFINE_bool(name, None, text, flag_values=FLAGS)
        elif isinstance(field.default, int):
            holders[name] = flags.DEFINE_integer(name, None, text, low, flag_values=FLAGS)
        else:
            holders[name] = flags.DEFINE_float(name, None, text, low, flag_values=FLAGS)
    return holders


OPTIONS = _define_options()


def read() -> tuple[Any, Run, Dataset, pathlib.Path]:
    """What to train, on what, and where."""
    spec = specs.load_spec(DATASET.value)
    variants = table.variants(METHOD.value)
    if VARIANT.present and len(variants) == 1:
        raise ValueError(f"variant: no flag of --method={METHOD.value}")
    of_dataset = spec.variant if METHOD.value == table.DEFAULT else None
    method = table.find(METHOD.value, VARIANT.value or of_dataset)
    named = {field.name for field in table.options(method)}
    for name, flag in OPTIONS.items():
        if flag.present and name not in named:
            which = f"variant={method.VARIANT}" if method.VARIANT else f"method={method.NAME}"
            raise ValueError(f"{name}: no flag of --{which}")

    if not (TOPOLOGY.value or spec.topologies):
        raise ValueError(f"topology: {spec.name} has shapes of any; name the one of yours")
    topology = topologies.get(TOPOLOGY.value or spec.topologies[0]).name
    folder = pathlib.Path(DATA_DIR.value or ("data" if spec.mix else f"data/{spec.name}"))
    workdir = pathlib.Path(
        WORKDIR.value or f"runs/{table.run_name(method, spec.name, topology)}")
    if jax.process_index() == 0:
        check_folder("workdir", workdir)
    config = method.Config(topology, **_given(method.Config))
    training = method.Training(**_given(method.Training))
    run = Run(config, training, SEED.value, NUM_TRAIN.value or spec.num_train)
    return method, run, open_dataset(spec, topology, folder), workdir


def _given(options: type) -> dict[str, Any]:
    """The flags that were given, of those that these options have."""
    names = {field.name for field in dataclasses.fields(options)}
    return {name: flag.value for name, flag in OPTIONS.items() if name in names and flag.present}


def join_processes() -> None:
    """Makes this one of several processes, if the flags say so.

    Raises:
      ValueError: some of the flags lack, or the other processes do not come.
    """
    address, number, index = COORDINATOR_ADDRESS.value, NUM_PROCESSES.value, PROCESS_ID.value
    given = [value for value in (address, number, index) if value is not None]
    if not (given or DISTRIBUTED.value):
        return
    if address is not None and not re.fullmatch(r".+:\d+", address):
        raise ValueError(f"coordinator_address: expected HOST:PORT, got {address!r}")
    # JAX' own way to stop catches SIGTERM even while nothing asks for it.
    jax.config.update("jax_enable_preemption_service", False)
    program.warn("waiting for the other processes, for at most 5 minutes")
    try:
        # They end together, unless one fails: then the others need not wait for it for long.
        jax.distributed.initialize(address, number, index, shutdown_timeout_seconds=60)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        if len(given) < 3:
            reason = ("JAX finds no cluster here that says the rest; give --coordinator_address, "
                      f"--num_processes and --process_id ({reason})")
        raise ValueError(f"distributed: {reason}") from None
