"""The weights file of a trained method: its arrays, and what they are of."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from deepmds_jax import topologies
from deepmds_jax.training.trainable import TrainableMethod
from deepmds_jax.weights.tensors import write_tensors

# Entry of a description: the topology, as `topologies.to_json` puts it.
DEFINITION = "topology_definition"


def write_params(
    path: str | os.PathLike, method: TrainableMethod, params: Any, metadata: Mapping[str, str]
) -> None:
    """Writes parameters to a .safetensors file, whole or not at all.

    Args:
      path: the file.
      method: whose parameters they are; its name and the configuration are stored with them, and
        a topology that is not one of this package, so that the file is enough to use them.
      params: the parameters.
      metadata: what else a reader should know: data, licence, command, figures.
    """
    config = dataclasses.asdict(params.config)
    if method.VARIANT:
        config = {"variant": method.VARIANT, **config}
    own = {"method": method.NAME, "topology": params.config.topology, "config": json.dumps(config)}
    own |= define_topology(params.config.topology)
    write_tensors(path, method.to_tree(params), {**metadata, **own})


def define_topology(name: str) -> dict[str, str]:
    """The entry that describes a topology to others; none for those of the package."""
    text = topologies.to_json(name)
    return {} if text is None else {DEFINITION: text}
