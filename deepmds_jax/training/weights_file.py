"""The weights file of a trained method: its arrays, and what they are of."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from deepmds_jax.training.trainable import TrainableMethod
from deepmds_jax.weights.tensors import write_tensors


def write_params(
    path: str | os.PathLike, method: TrainableMethod, params: Any, metadata: Mapping[str, str]
) -> None:
    """Writes parameters to a .safetensors file, whole or not at all.

    Args:
      path: the file.
      method: whose parameters they are; its name and the configuration are stored with them.
      params: the parameters.
      metadata: what else a reader should know: data, licence, command, figures.
    """
    config = dataclasses.asdict(params.config)
    if method.VARIANT:
        config = {"variant": method.VARIANT, **config}
    own = {"method": method.NAME, "topology": params.config.topology, "config": json.dumps(config)}
    write_tensors(path, method.to_tree(params), {**metadata, **own})
