"""What the programs share: one-line errors, the accelerator, weights by name or path."""

import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
from absl import app, flags, logging

from deepmds_jax import weights
from deepmds_jax.lifting import Params
from deepmds_jax.training.checkpoints import load_checkpoint

_ACCELERATOR = flags.DEFINE_enum(
    "accelerator", None, ["cpu", "gpu", "tpu"],
    "Where to compute; by default JAX takes the fastest there is.",
)


def run(main: Callable[..., None], positional: bool = False) -> None:
    """Runs a program; what the user can mend is told in one line, without a traceback.

    Args:
      main: takes the list of positional arguments if it is to have any.
      positional: whether it does.
    """

    def guarded(argv):
        try:
            if len(argv) > 1 and not positional:
                raise ValueError(f"unexpected argument {argv[1]!r}: flags are --name=value")
            if not flags.FLAGS["verbosity"].present:
                logging.set_verbosity(logging.WARNING)  # Orbax tells every file it opens
            _select_accelerator()
            main(*([argv[1:]] if positional else []))
        except KeyboardInterrupt as reason:
            print(f"\ninterrupted {reason}".rstrip(), file=sys.stderr)
            sys.exit(130)
        except (ValueError, ImportError, FloatingPointError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    # --help tells the flags of the program, not of the script that starts it.
    program = sys.modules[main.__module__]
    sys.modules["__main__"].__doc__ = program.__doc__
    for module in (program.__name__, __name__):
        for flag in flags.FLAGS.get_flags_for_module(module):
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(guarded)


def load_weights(source: str) -> tuple[Params, dict[str, Any]]:
    """Weights and their description: shipped (a topology), a .safetensors file, or a workdir.

    Raises:
      ValueError: none of these, or damaged.
    """
    if source in weights.pretrained_names():
        return weights.load_pretrained(source), weights.pretrained_metadata(source)
    path = pathlib.Path(source)
    if (path / weights.WEIGHTS_FILE).exists():  # of a run that came to its end
        path = path / weights.WEIGHTS_FILE
    if path.is_dir():
        return load_checkpoint(path)
    if path.exists():
        return weights.load_params(path), weights.read_metadata(path)
    raise ValueError(f"weights: expected one of {weights.pretrained_names()}, a .safetensors file "
                     f"or the --workdir of a training run, got {source!r}")


def check_writable(flag: str, folder: str | os.PathLike) -> None:
    """Raises ValueError where a folder neither is there to write to nor could be made."""
    folder = pathlib.Path(folder)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{flag}: cannot write to {folder}: {there} is "
                         f"{'read-only' if there.is_dir() else 'no folder'}")


def _select_accelerator() -> None:
    if _ACCELERATOR.value is None:
        return
    jax.config.update("jax_platforms", _ACCELERATOR.value)
    try:
        jax.devices()
    except RuntimeError as error:
        raise ValueError(f"accelerator: no {_ACCELERATOR.value} that JAX can use here ({error}); "
                         "see https://docs.jax.dev/en/latest/installation.html") from error
