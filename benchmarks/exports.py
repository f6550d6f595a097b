"""Sizes, errors and times of exported files beside JAX; run: python benchmarks/exports.py.

Each file runs on one face (or problem) in turns with JAX, on one thread where the runtime has that
choice, and so do batches of 256 where the file takes them (there JAX has all cores): the least time
of many rounds counts.
TensorFlow Lite is left out where the extra tflite is not installed.
"""

import json
import pathlib
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

import deepmds_jax as dm
from deepmds_jax import exports
from deepmds_jax.evaluation import tables
from deepmds_jax.evaluation.hardware import describe_hardware
from deepmds_jax.exports.functions import Exported, lifting, scaling
from deepmds_jax.exports.targets import TABLE
from deepmds_jax.extras import require

RESULTS = pathlib.Path(__file__).parent / "results" / "exports.json"
ROUNDS, ROUND_S, LIMIT_S = 300, 0.003, 10.0
MANY = 256


def one_thread(kind: str, path: pathlib.Path) -> Callable[[Mapping[str, np.ndarray]], Any]:
    """Runs a file on one thread, as the code of the README beside it does otherwise."""
    if kind != "onnx":
        return TABLE[kind].runner(path.read_bytes())
    onnxruntime = require("onnxruntime", "export")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)


def least_times(
    runs: Mapping[str, Callable[[Mapping[str, np.ndarray]], Any]], inputs: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """The least seconds of each over many short rounds, in turns: some find the machine quiet."""
    repeats = {}
    for name, run in runs.items():
        run(inputs)
        start = time.perf_counter()
        run(inputs)
        repeats[name] = max(1, int(ROUND_S / (time.perf_counter() - start)))
    least = dict.fromkeys(runs, np.inf)
    begin = time.perf_counter()
    for done in range(ROUNDS):
        if done and time.perf_counter() - begin > LIMIT_S:
            break
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                run(inputs)
            least[name] = min(least[name], (time.perf_counter() - start) / repeats[name])
    return least


def measure(what: Any, function: Exported, formats: list[str], batch: int | None) -> list[dict]:
    """A row for JAX and for each format."""
    compiled = jax.jit(function.function)

    def run_jax(inputs):
        return jax.block_until_ready(compiled(*inputs.values()))

    with tempfile.TemporaryDirectory() as folder:
        files = exports.export(what, folder, formats, batch=batch)
        sizes = {file.format: file.path.stat().st_size for file in files}
        runs = {"JAX": run_jax, **{file.format: one_thread(file.format, file.path)
                                   for file in files}}
        # The first samples of faces are bad on purpose.
        samples = function.samples(MANY + 8)
        one = {name: array[8:9] for name, array in samples.items()}
        times = least_times(runs, one)
        free = {"JAX": run_jax, **{file.format: runs[file.format] for file in files
                                   if file.batch is None}}
        many = {name: array[8:] for name, array in samples.items()}
        times_of_many = {} if function.one_by_one else least_times(free, many)
    rows = []
    for file in files:
        row = {"function": function.name, "format": file.format, "batch": file.batch or "any",
               "kB": round(sizes[file.format] / 1e3), "error": float(f"{file.agreement.error:.1e}"),
               "ms_of_one": round(1e3 * times[file.format], 3),
               "jax_ms_of_one": round(1e3 * times["JAX"], 3),
               "times_jax": round(times[file.format] / times["JAX"], 2)}
        if file.format in times_of_many:
            row[f"times_jax_at_{MANY}"] = round(
                times_of_many[file.format] / times_of_many["JAX"], 2)
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    """Measures the shipped weights, and scaling of 20 points."""
    formats = ["stablehlo", "onnx"]
    versions = {"jax": jax.__version__,
                "onnxruntime": require("onnxruntime", "export").__version__}
    try:
        TABLE["tflite"].check_installed()
        formats.append("tflite")
    except ImportError as error:
        print(f"left out: {error}")
    rows = []
    for name in ("ibug68", "flame51"):
        params = dm.load_pretrained(name)
        function = lifting(params, name, {})
        rows += measure(params, function, formats, None)
        rows += measure(params, function, ["onnx"], 1)
    published = dm.load_pretrained("flame51_published")
    function = lifting(published, "flame51_published", {})
    rows += measure(published, function, ["stablehlo", "onnx"], None)
    for transform in ("ratio", "interval", "ordinal"):
        problem = exports.Smacof(transform, num_points=20)
        rows += measure(problem, scaling(problem), ["stablehlo", "onnx"], None)
    machine = {**describe_hardware(), **versions, "python": platform.python_version()}
    RESULTS.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    keys = list(rows[0])
    page = tables.to_markdown([{key: row.get(key) for key in keys} for row in rows])
    RESULTS.with_suffix(".md").write_text(
        f"# Exported files\n\n`python benchmarks/exports.py`; {machine}\n\n{page}\n")


if __name__ == "__main__":
    main()
