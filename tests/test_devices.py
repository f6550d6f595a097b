"""Batches spread over several devices: each computes its own part, nothing is sent between them."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from rounding import bound

ROOT = pathlib.Path(__file__).resolve().parents[1]
TRANSFORMS = ("ratio", "interval", "ordinal")
# Of the text of a compiled program; on other devices they come in two halves, start and done.
SENDING = re.compile(
    r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")

ON_FOUR = """
import conftest
import json, sys
import jax, numpy as np
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
import deepmds_jax as dm

mesh = jax.make_mesh((4,), ("faces",), axis_types=(jax.sharding.AxisType.Auto,))
spread = NamedSharding(mesh, P("faces"))
rng = np.random.default_rng(0)
params = dm.load_pretrained("flame51")
x2d = np.asarray(params.reference)[:, :2] + 0.03 * rng.normal(size=(8, 51, 2))
x2d = x2d.astype(np.float32)
points = rng.normal(size=(8, 10, 3))
d = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
noise = rng.uniform(0.7, 1.3, size=d.shape)
d = (d * (noise + noise.swapaxes(1, 2)) / 2).astype(np.float32)
arrays, programs, parts = {}, {}, {}


def compare(name, function, batch):
    # The results on one device, and under shard_map on all of them; the program of the latter.
    split = {"mesh": mesh, "in_specs": P("faces"), "out_specs": P("faces"), "check_vma": True}
    program = jax.jit(jax.shard_map(function, **split)).lower(batch).compile()
    programs[name] = program.as_text()
    mapped = program(jax.device_put(batch, spread))
    for place, results in ("one", jax.jit(function)(batch)), ("four", mapped):
        arrays.update({f"{name} {key} {place}": x for key, x in results.items()})


def keep(name, result):
    # Without jit, of a batch that lies on all devices; how many of its parts each device has.
    parts[name] = {str(s.device): s.data.shape[0] for s in result.addressable_shards}
    arrays[f"{name} eager"] = result


def lift(x2d):
    x3d = dm.reconstruct(params, x2d)
    return jnp.sum(x3d**3), x3d


def lift_with_gradient(x2d):
    gradient, x3d = jax.grad(lift, has_aux=True)(x2d)
    return {"points": x3d, "gradient": gradient}


compare("reconstruct", lift_with_gradient, x2d)
keep("reconstruct points", dm.reconstruct(params, jax.device_put(x2d, spread)))
for transform in sys.argv[2:]:
    def solve(d):
        found = dm.mds.smacof(d, 2, transform=transform)
        return {"points": found.embedding, "stress": found.stress}

    compare(transform, solve, d)
keep(f"{transform} points", solve(jax.device_put(d, spread))["points"])
explicit = NamedSharding(jax.make_mesh((4,), ("faces",), axis_types=(
    jax.sharding.AxisType.Explicit,)), P("faces"))
keep("weighted", dm.mds.smacof(jax.device_put(d, explicit), 2, transform="ratio",
                               weights=np.ones((10, 10))).embedding)
keep("third", dm.mds.smacof(jax.device_put(d, jax.devices()[2]), 2,
                           transform="ratio").embedding)
programs["sum"] = jax.jit(jnp.sum).lower(jax.device_put(d, spread)).compile().as_text()
np.savez(sys.argv[1], **jax.device_get(arrays))
print(json.dumps([programs, parts]))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Arrays by name, the text of each program, and what each device has of a result."""
    file = tmp_path_factory.mktemp("devices") / "found.npz"
    flags = " ".join([os.environ.get("XLA_FLAGS", ""),
                      "--xla_force_host_platform_device_count=4"])
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])  # conftest has the tests' switches
    done = subprocess.run(
        [sys.executable, "-c", ON_FOUR, file, *TRANSFORMS], capture_output=True, text=True,
        timeout=300, env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    return dict(np.load(file)), *json.loads(done.stdout.splitlines()[-1])


def test_faces_under_shard_map_are_those_of_one_device(found):
    arrays, _, _ = found
    one, four = arrays["reconstruct points one"], arrays["reconstruct points four"]
    assert one.shape == (8, 51, 3)
    np.testing.assert_allclose(four, one, atol=1e-4)


def test_gradients_under_shard_map_are_those_of_one_device(found):
    one, four = (found[0][f"reconstruct gradient {place}"] for place in ("one", "four"))
    size = np.abs(one).max()
    assert size > 0.1
    np.testing.assert_allclose(four, one, atol=5e-3 * size)  # the solver's tolerance


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_problems_under_shard_map_are_solved_as_on_one_device(found, transform):
    arrays, _, _ = found
    assert np.all(arrays[f"{transform} stress one"] > 0.01)
    for key in ("points", "stress"):
        one, four = (arrays[f"{transform} {key} {place}"] for place in ("one", "four"))
        np.testing.assert_allclose(four, one, atol=bound(1e-5, 1e-4))


def test_nothing_is_sent_between_devices(found):
    _, programs, _ = found
    sent = {name: set(SENDING.findall(text)) for name, text in programs.items()}
    assert sent.pop("sum") == {"all-reduce"}  # as a sum over all devices cannot do without
    assert sent == {name: set() for name in ("reconstruct", *TRANSFORMS)}


def test_a_mesh_of_explicit_axes_may_have_weights_that_lie_elsewhere(found):
    arrays, _, parts = found
    assert list(parts["weighted"].values()) == [2, 2, 2, 2]
    # Weights that are all 1 change nothing.
    np.testing.assert_allclose(arrays["weighted eager"], arrays["ratio points one"], atol=1e-5)


def test_a_batch_on_another_device_stays_there(found):
    arrays, _, parts = found
    assert list(parts["third"]) == ["cpu:2"]
    np.testing.assert_allclose(arrays["third eager"], arrays["ratio points one"], atol=1e-5)


@pytest.mark.parametrize(("name", "atol"), [("reconstruct", 1e-4), (TRANSFORMS[-1], 1e-5)])
def test_a_batch_that_lies_on_several_devices_stays_there(found, name, atol):
    arrays, _, parts = found
    assert list(parts[f"{name} points"].values()) == [2, 2, 2, 2]
    eager, one = (arrays[f"{name} points {how}"] for how in ("eager", "one"))
    np.testing.assert_allclose(eager, one, atol=atol)
