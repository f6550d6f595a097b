"""Shared fixtures."""

import atexit
import os
import pathlib
import shutil
import tempfile

# What one test process or program compiles, the others need not: most of the time goes there.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="deepmds_jax_tests_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Folder of real data and independent results that is not part of the repository."""
    folder = pathlib.Path(os.environ.get("DEEPMDS_SHARED", ROOT.parent / "shared"))
    if not (folder / "oracles").is_dir():
        pytest.skip(f"no shared data at {folder} (set DEEPMDS_SHARED)")
    return folder


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Each keeps some memory mappings, of which a process may have about 65,000."""
    yield
    jax.clear_caches()
