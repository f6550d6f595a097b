"""A folder as the Hugging Face Hub shares models: weights, an example, and the head of the card."""

import pathlib
from collections.abc import Mapping
from typing import Any

from deepmds_jax.exports.functions import Exported
from deepmds_jax.files import replacing
from deepmds_jax.methods.contract import Params
from deepmds_jax.methods.saved import save_params
from deepmds_jax.weights.hub import FILE_NAME
from deepmds_jax.weights.tensors import read_tensors

EXAMPLE = "example.py"
FILES = (FILE_NAME, EXAMPLE)  # that `write` writes
_FREE = ("MIT", "Apache", "CC0")  # data licences that leave the weights that of this package

_EXAMPLE = '''"""Lifts landmarks with these weights: pip install deepmds-jax; python example.py."""

import numpy as np

import deepmds_jax as dm

params = dm.load_params("{weights}")  # or dm.load_pretrained("hf://owner/name")
# Yours here: ({num_landmarks}, 2), x right, y down, in the order of topology {topology}.
x2d = 100 * np.asarray(params.reference)[:, :2] + 300
found = dm.reconstruct_detailed(params, x2d)
print(found.points.shape, bool(found.converged))
'''

_CARD = """---
license: {licence}
library_name: deepmds-jax
tags:
- 3d-face-reconstruction
- face-landmarks
- jax
- onnx
- safetensors
---

# 3D shape from {num_landmarks} 2D landmarks

Weights of {title}, for topology {topology}. Trained on: {data} ({data_licence}).

```
pip install 'deepmds-jax[hub]'
```

`dm.load_pretrained("hf://owner/name")` loads them, and `bin/reconstruct FILES --weights=hf://owner/name`;
`{example}` shows how to go on. This folder is shared by `hf upload owner/name .`.

"""


def write(
    params: Params, exported: Exported, folder: pathlib.Path, description: Mapping[str, Any]
) -> None:
    """Writes weights and an example.

    Args:
      params: the weights.
      exported: what was made of them.
      folder: to write to.
      description: of the weights, as `load_weights` gives it.
    """
    about = {key: str(value) for key, value in description.items() if key != "config"}
    save_params(folder / FILE_NAME, params, {**about, "about": exported.metadata["function"]})
    with replacing(folder / EXAMPLE) as temporary:
        temporary.write_text(_EXAMPLE.format(
            weights=FILE_NAME, topology=params.config.topology,
            num_landmarks=len(params.reference)))


def card_head(folder: pathlib.Path) -> str:
    """The head of the model card of a folder; empty for a folder without weights."""
    if not (folder / FILE_NAME).exists():
        return ""
    about, tensors = read_tensors(folder / FILE_NAME)
    data_licence = about.get("data_licence", "licence not stated")
    return _CARD.format(
        licence="apache-2.0" if data_licence.startswith(_FREE) else "other",
        num_landmarks=len(tensors["reference"]), title=about["about"].rpartition("by ")[2],
        topology=about["topology"], data=about.get("data", "data not stated"),
        data_licence=data_licence, example=EXAMPLE)
