"""`deepmds_jax.mds` works alone: without networks, training, or the weights' file format."""

import subprocess
import sys
import textwrap

# In one new process: what is imported here stays imported.
PROGRAM = """
    import importlib, importlib.abc, pkgutil, sys

    BLOCKED = {"flax", "optax", "orbax", "safetensors", "rich", "matplotlib", "sklearn",
               "tensorboardX"}

    class Blocker(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in BLOCKED:
                raise ImportError(f"{name} is blocked")

    sys.meta_path.insert(0, Blocker())

    import numpy as np
    import deepmds_jax.mds as mds
    import deepmds_jax.geometry as geometry

    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not loaded & BLOCKED, loaded & BLOCKED
    own = {name for name in sys.modules if name.startswith("deepmds_jax.")}
    strange = {n for n in own if n.split(".")[1] not in (
        "extras", "geometry", "given_arrays", "loops", "mds", "programs")}
    assert not strange, strange

    triangle = np.array([[0.0, 3, 4], [3, 0, 5], [4, 5, 0]], np.float32)
    result = mds.smacof(triangle, 2, transform="ratio")
    points = np.asarray(result.embedding)
    sides = np.linalg.norm(points[:, None] - points, axis=-1)
    np.testing.assert_allclose(sides, triangle, atol=1e-5)

    # No module is hidden by a function or class of its name.
    for package in (mds, geometry):
        assert all(hasattr(package, name) for name in package.__all__ if name != "MDS")
        for module in pkgutil.iter_modules(package.__path__):
            assert module.name not in package.__all__, module.name
            if module.name == "estimator":  # the only one that needs scikit-learn
                continue
            full_name = f"{package.__name__}.{module.name}"
            namespace = {}
            exec(f"import {full_name} as module", namespace)
            assert namespace["module"] is sys.modules[full_name], full_name
            assert getattr(package, module.name) is sys.modules[full_name], full_name

    try:
        mds.MDS
    except ImportError as error:
        assert "pip install 'deepmds-jax[sklearn]'" in str(error)
    else:
        raise AssertionError("MDS came without scikit-learn")
    print("ok")
"""


def test_alone_and_with_every_module_in_its_place():
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "ok\n"
