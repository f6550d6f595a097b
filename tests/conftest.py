"""Shared fixtures, the compilation cache, and which tests are fast."""

import os
import pathlib

# Compilation takes most of the time: what one run, process or program compiles, others load.
_CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE / "deepmds_jax" / "tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax  # noqa: E402
import pytest  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """No worker processes for single files: starting them takes longer than it saves."""
    paths = [argument.partition("::")[0] for argument in config.args]
    return 0 if all(path.endswith(".py") for path in paths) else None


# Files that train, draw, start programs, or compile much; all others are fast.
SLOW = (
    "additive", "aldrian", "anchored_training", "augmentation", "benchmarks", "casia3d",
    "cores", "datasets", "deep_mds", "deep_mds_training", "docs", "estimator", "eval",
    "faces_by_name", "figures", "gradients", "lifting", "lifting_anchored", "majorization",
    "mobileface", "outline", "own_method", "packaging", "photographs", "placement", "programs",
    "properties", "protocol", "reconstruct_video", "registration", "registry", "rendering",
    "report_page", "reproduction", "similarity", "torgerson", "train", "video", "zhao",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test as fast or slow, by its file."""
    for item in items:
        slow = item.path.stem.removeprefix("test_") in SLOW
        item.add_marker(pytest.mark.slow if slow else pytest.mark.fast)


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
