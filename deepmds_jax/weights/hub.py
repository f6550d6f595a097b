"""Weights that others share on the Hugging Face Hub."""

import pathlib
import re

from deepmds_jax.extras import require

PREFIX = "hf://"
FILE_NAME = "model.safetensors"  # in a repository of the hub
_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def fetch(source: str) -> pathlib.Path:
    """The weights file of a repository, from the hub or the cache of earlier times.

    Args:
      source: `hf://owner/name`, or `hf://owner/name@revision`.

    Raises:
      ValueError: another text, no such repository or no such file in it, or the hub cannot be
        reached.
      ImportError: huggingface_hub is not installed.
    """
    found = _ADDRESS.fullmatch(source)
    if found is None:
        raise ValueError(f"{source}: expected hf://owner/name or hf://owner/name@revision")
    hub = require("huggingface_hub", "hub")
    repository, revision = found.groups()
    try:
        return pathlib.Path(hub.hf_hub_download(repository, FILE_NAME, revision=revision))
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: no {FILE_NAME} from the hub: "
                         f"{' '.join(str(error).split())[:200]}") from error
