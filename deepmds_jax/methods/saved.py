"""Parameters of trained methods, from and to files."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deepmds_jax import topologies
from deepmds_jax.methods import table
from deepmds_jax.methods.contract import Params, TrainedMethod
from deepmds_jax.methods.options import read_entries
from deepmds_jax.training.weights_file import DEFINITION, write_params
from deepmds_jax.weights import hub
from deepmds_jax.weights.locate import locate, shipped_names
from deepmds_jax.weights.tensors import as_tree, read_tensors

# The description of the authors' weights.
_RELEASED = {
    "data": "weights published by Kamyab & Azimifar, github.com/s2kamyab/DeepMDS",
    "data_licence": "no licence file; available for research purposes",
}


def load_pretrained(name: str) -> Params:
    """Loads shipped weights, or some that are shared on the Hugging Face Hub.

    Args:
      name: "ibug68", "flame51": the anchored system, trained for any face and view, see
        docs/model_card.md; "ibug68_published", "flame51_published": the paper's system and views;
        "hf://owner/name" or "hf://owner/name@revision": a repository of the hub, such as
        `bin/export --format=hf` makes.

    Raises:
      ValueError: no weights are shipped under that name, or the hub has none.
      ImportError: they are on the hub, and huggingface_hub is not installed.
    """
    if not name.startswith(hub.PREFIX) and name not in shipped_names():
        raise ValueError(f"name: weights are shipped for {shipped_names()}, got {name!r}; of files "
                         "and run folders load_weights takes the path")
    return load_params(locate(name).path)


def load_weights(
    source: str | os.PathLike, *, method: str = table.DEFAULT, topology: str | None = None
) -> tuple[Any, dict[str, Any]]:
    """Loads the weights that a string names.

    Args:
      source: see `weights.locate.locate`.
      method: the name of the method that they are to be of.
      topology: of the landmarks they are to be for; any by default, but `released:FOLDER` needs
        one.

    Returns:
      The parameters, and their description: data, licence, options of the training.

    Raises:
      ValueError: there are none, or they are damaged, or of another method or topology.
    """
    kind, path = locate(source)
    if kind == "released":
        if topology is None:
            raise ValueError(f"{source}: the authors released networks for several topologies; "
                             "say which, with --topology where the program has it")
        return table.find(method).load_released(os.fspath(path), topology), dict(_RELEASED)
    if kind == "run":
        params, description = load_checkpoint(path)
        _check_name(path, table.method_of(params), method)
    else:
        params, description = load_params(path, method), read_metadata(path)
    if topology is not None and params.config.topology != topologies.get(topology).name:
        raise ValueError(f"{source}: for topology {params.config.topology}, expected {topology}")
    return params, description


def save_params(
    path: str | os.PathLike, params: Any, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes weights to a .safetensors file, whole or not at all.

    Args:
      path: the file.
      params: the weights; their method and configuration are stored with them, and a topology of
        one's own, which `load_params` then makes known.
      metadata: what else a reader should know: data, licence, command, figures. None by default.

    Raises:
      ValueError: they are of no method in the table.
    """
    write_params(path, table.method_of(params), params, {} if metadata is None else metadata)


def load_params(path: str | os.PathLike, method: str = table.DEFAULT) -> Any:
    """Reads weights that `save_params` wrote.

    Args:
      path: the file.
      method: the name of the method that they are to be of.

    Raises:
      ValueError: no such file, not a whole safetensors file, not of this package or of that method,
        tensors that do not fit the configuration in its metadata, or a topology of its own whose
        name is that of another.
    """
    path = pathlib.Path(path)
    metadata, tensors = read_tensors(path)
    found = _method_of_file(path, metadata)
    _check_name(path, found, method)
    _learn_topology(path, metadata)
    try:
        config = found.read_config(metadata, tensors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: its metadata hold no valid configuration of {found.TITLE}: "
                         f"{error}") from error
    tree = as_tree(path, tensors, _shapes(found, config),
                   f"{found.TITLE} with topology {config.topology}")
    return found.from_tree(config, tree)


@functools.cache
def _shapes(method: TrainedMethod, config: Any) -> dict[str, Any]:
    """Of all arrays in the method's weights files, kept: to trace the networks takes a while."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):  # all weights are float32
        return jax.eval_shape(lambda: method.to_tree(method.init(config, jax.random.key(0))))


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """The metadata of a weights file: configuration, data, licence, options of the training."""
    return read_tensors(pathlib.Path(path))[0]


def load_checkpoint(workdir: str | os.PathLike) -> tuple[Any, dict[str, Any]]:
    """Loads the parameters of a training run from its latest checkpoints.

    Returns:
      The parameters, and the description of the run.

    Raises:
      ValueError: the folder lacks a checkpoint of one of the networks, or has a damaged one, or one
        of another version of this package.
      ImportError: Orbax is not installed.
    """
    from deepmds_jax.training.checkpoints import read_run, read_stages

    run = read_run(workdir)
    method = table.find(run.get("method", table.DEFAULT), run.get("variant"))
    trained, beside = read_stages(workdir, method.STAGES)
    _learn_topology(workdir, run)
    fields = dataclasses.fields(method.Config)
    lacking = [f.name for f in fields if f.name not in run and not f.metadata.get("implied")]
    if lacking:
        raise ValueError(f"{workdir}: the run in its checkpoints has no {lacking[0]}; it was "
                         "written by another version; train again in a new --workdir")
    config = method.Config(**{f.name: run[f.name] for f in fields if f.name in run})
    trained = jax.tree.map(jnp.asarray, trained)
    return method.assemble(config, trained, jax.tree.map(jnp.asarray, beside)), run


def _method_of_file(path: pathlib.Path, metadata: Mapping[str, str]) -> TrainedMethod:
    name = metadata.get("method")
    try:
        config = read_entries(metadata) if "config" in metadata else {}
        # The first development versions did not name their only method.
        if name is None and "config" in metadata:
            name = table.DEFAULT
        # They had no variants at first, either: what they wrote is the first variant's.
        return table.find(name or "", config.get("variant"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _learn_topology(path: str | os.PathLike, description: Mapping[str, Any]) -> None:
    """Makes the topology known that comes with weights, where they are of one's own."""
    try:
        if DEFINITION in description:
            topologies.from_json(description[DEFINITION])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_name(path: pathlib.Path, found: TrainedMethod, name: str) -> None:
    if name != found.NAME:
        raise ValueError(f"{path}: the network of method {found.NAME}; expected that of {name}")
