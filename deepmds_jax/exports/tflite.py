"""TensorFlow Lite, for phones and boards: one batch length, built-in operations alone."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np

from deepmds_jax.exports.appended import append_metadata, read_appended
from deepmds_jax.exports.functions import Exported
from deepmds_jax.extras import require

SUFFIX, BATCH, LOCKSTEP, COMPACT = ".tflite", 1, True, False

with_metadata, read_metadata = append_metadata, read_appended


def check_installed() -> None:
    """Raises ImportError where a package is not installed."""
    with _quiet():
        require("tensorflow", "tflite")
        require("ai_edge_litert.interpreter", "tflite")


def write(exported: Exported, batch: int | None, exact: bool) -> bytes:
    """The function as the bytes of a file; see `targets.Format`."""
    del exact  # all are
    from jax.experimental import jax2tf

    tensorflow = require("tensorflow", "tflite")
    specs = exported.specs(batch)
    names = list(jax.eval_shape(exported.function, *specs.values()))
    # By name in the signature, which sorts them.
    inner = jax2tf.convert(exported.function, with_gradient=False)
    signature = [tensorflow.TensorSpec(spec.shape, spec.dtype, name=name)
                 for name, spec in specs.items()]

    @tensorflow.function(input_signature=signature, autograph=False)
    def called(*arrays):
        found = inner(*arrays)
        return {name: tensorflow.identity(found[name], name=name) for name in names}

    module = tensorflow.Module()
    module.called = called  # or the file would have no names
    with _quiet():
        converter = tensorflow.lite.TFLiteConverter.from_concrete_functions(
            [called.get_concrete_function()], module)
        try:
            return converter.convert()
        except Exception as error:  # of a class that TensorFlow does not show
            reason = re.search(r"'([\w.]+)' op", str(error))
            raise ValueError(f"tflite: TensorFlow cannot write {exported.name}: "
                             f"{reason[1] if reason else str(error).splitlines()[0]}") from error


def runner(data: bytes) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Runs the bytes of a file on inputs by name."""
    with _quiet():
        interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(
            model_content=data, num_threads=1)
        interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    return lambda inputs: {name: np.array(x) for name, x in run(**inputs).items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TensorFlow's C++ writes notes of no use to stderr, past Python."""
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
