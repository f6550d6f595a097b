"""The README.md beside exported files: what they are, and code that runs them."""

import json
import math
import pathlib
from collections.abc import Mapping

from deepmds_jax.evaluation import tables
from deepmds_jax.exports import sharing
from deepmds_jax.exports.targets import TABLE

_HEAD = """# Exported from deepmds_jax

These files run without deepmds_jax. Each takes and gives plain arrays with a leading axis for the
batch, of the length in the table.

{table}

*Error*: the largest difference from JAX over made-up items, in sizes of the result; it is in each
file's metadata too, with licence, topology, landmarks, frame and units.
"""

_FUNCTION = """## {name}

{function}

- in: {inputs}
- out: {outputs}
- {frame}
- units: {units}
- licence: {licence}
- data: {data}
"""

_STABLEHLO = '''Python with JAX alone (`pip install jax flatbuffers`), on CPU, GPU or TPU:

```python
import jax
import numpy as np
from jax import export

with open("{file}", "rb") as file:
    run = jax.jit(export.deserialize(bytearray(file.read())).call)
{arrays}
found = run({names})
print({{name: array.shape for name, array in found.items()}})
```

Its metadata: `zipfile.ZipFile("{file}").read("metadata.json")`.
'''

_ONNX = '''Python with `pip install onnxruntime`:

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{file}")
{arrays}
names = [output.name for output in session.get_outputs()]
found = dict(zip(names, session.run(names, {{{feeds}}})))
print({{name: array.shape for name, array in found.items()}})
```

JavaScript, in a browser or in Node, with `npm install onnxruntime-web`:

```javascript
import * as ort from "onnxruntime-web";

const session = await ort.InferenceSession.create("{file}");
{tensors}
const found = await session.run({{ {names} }});
console.log(found.{first}.dims, found.{first}.data);
```
'''

_TFLITE = '''Python with `pip install ai-edge-litert`; Android and iOS take the same file:

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

run = Interpreter("{file}").get_signature_runner()
{arrays}
found = run({keywords})
print({{name: array.shape for name, array in found.items()}})
```
'''

_CODE = {"stablehlo": _STABLEHLO, "onnx": _ONNX, "tflite": _TFLITE}


def text(folder: pathlib.Path) -> str:
    """The page for the exported files of a folder, which say themselves what they are.

    Empty for a folder without any.
    """
    rows, functions = [], {}
    for path in sorted(folder.iterdir()):
        kind = next((name for name, module in TABLE.items() if path.suffix == module.SUFFIX), None)
        if kind is None:
            continue
        data = path.read_bytes()
        try:
            metadata = TABLE[kind].read_metadata(data)
        except ValueError:
            metadata = {}
        if "batch" not in metadata:  # not one of ours
            continue
        rows.append({"file": path.name, "kB": f"{len(data) / 1000:.0f}",
                     "batch": metadata["batch"], "error": metadata["error"]})
        functions.setdefault(path.stem, (metadata, []))[1].append((kind, path.name, metadata))
    if not rows:
        return ""
    parts = [sharing.card_head(folder) + _HEAD.format(table=tables.to_markdown(rows))]
    for name, (metadata, files) in functions.items():
        described = {key: _in_words(json.loads(metadata[key])) for key in ("inputs", "outputs")}
        parts.append(_FUNCTION.format(**{**metadata, **described, "name": name}))
        parts += [_code(kind, file, metadata) for kind, file, metadata in files]
    return "\n".join(parts)


def _code(kind: str, file: str, metadata: Mapping[str, str]) -> str:
    inputs = json.loads(metadata["inputs"])
    batch = 1 if metadata["batch"] == "any" else int(metadata["batch"])
    arrays, tensors = [], []
    for name, (dtype, *shape) in inputs.items():
        shape = [batch, *shape]
        size = math.prod(shape)
        if dtype == "bool":
            arrays.append(f"{name} = np.ones({tuple(shape)}, bool)  # which ones were seen")
            tensors.append(f'const {name} = new ort.Tensor("bool", new Uint8Array({size})'
                           f".fill(1), {shape});")
        elif shape[-1] == shape[-2]:
            arrays += [f"points = np.random.default_rng(0).random(({batch}, {shape[-1]}, 3))"
                       "  # yours here",
                       f"{name} = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)"
                       ".astype(np.float32)"]
            tensors += [f"const n = {shape[-1]}, values = new Float32Array({size});"
                        "  // yours here",
                        "for (let i = 0; i < values.length; i++) "
                        "values[i] = Math.abs(i % n - Math.floor(i / n) % n);",
                        f'const {name} = new ort.Tensor("float32", values, {shape});']
        else:
            arrays.append(f"{name} = np.random.default_rng(0).uniform(0, 500, {tuple(shape)})"
                          ".astype(np.float32)  # yours here")
            tensors.append(f'const {name} = new ort.Tensor("float32", Float32Array.from('
                           f"{{ length: {size} }}, () => 500 * Math.random()), {shape});"
                           "  // yours here")
    return _CODE[kind].format(
        file=file, arrays="\n".join(arrays), tensors="\n".join(tensors), names=", ".join(inputs),
        first=next(name for name in ("points", "embedding")
                   if name in json.loads(metadata["outputs"])),
        feeds=", ".join(f'"{name}": {name}' for name in inputs),
        keywords=", ".join(f"{name}={name}" for name in inputs))


def _in_words(arrays: Mapping[str, list]) -> str:
    return ", ".join(f"`{name}` ({', '.join(map(str, ['B', *shape]))}) {dtype}"
                     for name, (dtype, *shape) in arrays.items())
