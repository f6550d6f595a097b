"""Runs a program of `deepmds_jax.cli` from a clone, in the clone's virtual environment."""

import importlib
import importlib.util
import os
import pathlib
import sys

CLONE = pathlib.Path(__file__).resolve().parents[1]
SET_UP = "python3 -m venv .venv && .venv/bin/pip install -e '.[all]'"


def run(verb: str) -> None:
    """Runs `deepmds_jax.cli.VERB`, with the clone's own interpreter where this one has no JAX."""
    if importlib.util.find_spec("jax") is None:
        venv = CLONE / ".venv"
        python = venv / "bin" / "python"
        # Its `python` is often a link to this very interpreter: only the prefix tells them apart.
        if python.exists() and pathlib.Path(sys.prefix).resolve() != venv.resolve():
            os.execv(python, [str(python), *sys.argv])
        sys.exit(f"error: {sys.executable} has no JAX; set up this clone first: "
                 f"cd {CLONE} && {SET_UP}")
    sys.path.insert(0, str(CLONE))
    sys.exit(importlib.import_module(f"deepmds_jax.cli.{verb}").run())
