"""Shared fixtures, the compilation cache, and which tests are fast."""

import gc
import importlib.metadata
import os
import pathlib

# Compilation takes most of the time: what one run, process or program compiles, others load.
_CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE / "deepmds_jax" / "tests"))
# Keeping and loading a program takes as long as compiling most of them does.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core; their threads would wait in turns
    os.environ["NPROC"] = "1"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
# Most programs of the tests run for less time than their optimization would take.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# XLA's former emitters take a third of the time; JAX 0.11 came without them.
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    os.environ["XLA_FLAGS"] = " ".join(
        [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_use_fusion_emitters=false",
         "--xla_cpu_parallel_codegen_split_count=1"]).strip()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """No worker processes for single files: starting them takes longer than it saves."""
    paths = [argument.partition("::")[0] for argument in config.args]
    return 0 if all(path.endswith(".py") for path in paths) else None


def pytest_collection_finish() -> None:
    """Traces make so many objects that going through all for garbage took a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


# Files that train, draw, start programs, or compile much; all others are fast.
SLOW = (
    "adapt", "adaptation", "additive", "aldrian", "anchored_training", "augmentation", "benchmarks",
    "block_lift", "casia3d", "cores", "datasets", "deep_mds", "deep_mds_training", "devices",
    "dockerfile", "docs", "edges", "estimator", "eval", "exports", "faces_by_name", "figures",
    "full_precision", "gaussian", "gradients", "individual", "jax_switches", "landmark_order",
    "lifting", "lifting_anchored", "majorization", "mds", "mobileface", "notebook", "outline",
    "own_method", "own_run", "packaging", "photographs", "placement", "processes", "programs",
    "properties", "protocol", "ratio", "ray_engine", "reconstruct_film", "reconstruct_many",
    "reconstruct_video", "reconstructed_meshes", "registration", "registry", "rendering",
    "replaced_parts", "report_page", "reproduction", "resampling", "robust", "several", "sharing",
    "significance", "similarities", "similarity", "solver_optima", "splines", "surface", "switches",
    "torgerson", "trackers", "train", "unfolding", "video", "web", "zhao",
)


_AS_USERS = ("every_platform", "full_optimization")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test as fast or slow, by its file, and orders the files.

    First come those with tests that run as users' programs, then other slow ones, then the fast
    ones, of which no worker waits long for the other's last.
    """
    turn = {}
    for item in items:
        slow = item.path.stem.removeprefix("test_") in SLOW
        item.add_marker(pytest.mark.slow if slow else pytest.mark.fast)
        first = any(map(item.get_closest_marker, _AS_USERS))
        turn[item.path] = min(turn.get(item.path, 2), 0 if first else 1 if slow else 2)
    items.sort(key=lambda item: turn[item.path])


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Folder of real data and independent results that is not part of the repository."""
    folder = pathlib.Path(os.environ.get("DEEPMDS_SHARED", ROOT.parent / "shared"))
    if not (folder / "oracles").is_dir():
        pytest.skip(f"no shared data at {folder} (set DEEPMDS_SHARED)")
    return folder


_MAX_MAPPINGS = 12_000


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Each keeps some memory mappings, of which Linux grants a process about 65,000."""
    yield
    mappings = pathlib.Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > _MAX_MAPPINGS:
        jax.clear_caches()


_platform_dependent = jax.lax.platform_dependent
_OPTIMIZATIONS = "jax_disable_most_optimizations"


def _of_a_cpu(*arguments, cpu, default):
    """What a CPU runs; to trace what other devices would takes several times as long."""
    if jax.default_backend() != "cpu":
        return _platform_dependent(*arguments, cpu=cpu, default=default)
    return cpu(*arguments)


jax.lax.platform_dependent = _of_a_cpu


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Traces for all platforms, and optimizes, where a test is marked so; else it is quicker.

    What was traced and compiled otherwise is forgotten at each change.
    """
    every_platform, full_optimization = (
        item.get_closest_marker(name) is not None for name in _AS_USERS)
    traced = _platform_dependent if every_platform else _of_a_cpu
    if (traced, not full_optimization) != (
            jax.lax.platform_dependent, jax.config.read(_OPTIMIZATIONS)):
        jax.clear_caches()
        jax.lax.platform_dependent = traced
        jax.config.update(_OPTIMIZATIONS, not full_optimization)
        os.environ[_OPTIMIZATIONS.upper()] = "0" if full_optimization else "1"


@pytest.fixture
def without_refinement(monkeypatch):
    """What is learnt of shapes goes into the weights, but no network is trained on."""
    from deepmds_jax.adaptation import refining
    from deepmds_jax.methods.anchored import stages

    monkeypatch.setattr(refining, "fit", lambda stage, variables, **_: variables)
    monkeypatch.setattr(refining, "_NUM_TRAIN", 256)
    monkeypatch.setattr(stages, "_REFINEMENT_FACES", 256)
    monkeypatch.setattr(stages, "CALIBRATION_FACES", 64)
    monkeypatch.setattr(stages, "calibrated", lambda variables, *_: variables)


@pytest.fixture(scope="session")
def untrained():
    """Anchored networks that were not trained, but for the mean face: they pose it, little more.

    Drawn by NumPy as `anchored.init` draws them, which would compile for seconds.
    """
    from deepmds_jax.data.sources import synthetic
    from deepmds_jax.geometry import standardize
    from deepmds_jax.methods import anchored

    rng = np.random.default_rng(0)
    mean = np.asarray(standardize(synthetic.load("flame51").mean))
    others = {"mean": mean, "landmarks": np.full(4, 3), "trust": np.full(4, -1), "bias": 0,
              "gains": 0, "reach": 0, "lengths": np.log([0.3, 0.05])}
    small = {"step": 0.005, "dense3": 0.03, "head": 0.03, "turn": 0.03}  # else fan-in ** -0.5

    def draw(path, leaf):
        *_, layer, name = (getattr(key, "key", None) for key in path)
        if name in others:
            return np.broadcast_to(others[name], leaf.shape).astype(leaf.dtype)
        scale = small.get(layer, leaf.shape[0] ** -0.5)
        return rng.normal(size=leaf.shape, scale=scale).astype(leaf.dtype)

    config = anchored.Config("flame51", tolerance=1e-5)
    shapes = jax.eval_shape(lambda: anchored.init(config, jax.random.key(0)))
    networks = (jax.tree_util.tree_map_with_path(draw, x) for x in (shapes.encoder, shapes.pairs))
    modes, unexplained = (np.zeros(x.shape, np.float32) for x in (shapes.modes, shapes.unexplained))
    return anchored.Params(*networks, mean, modes, unexplained, config)
