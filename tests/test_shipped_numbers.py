"""The shipped weights give the numbers they were shipped with, bit for bit on the same processor.

`python tests/test_shipped_numbers.py` writes the file anew. Reasons to: new weights, or sums in
another order on purpose, whose differences CHANGELOG gives.
"""

import hashlib
import pathlib
import platform
from typing import Any

import jax
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from rounding import FORMER_EMITTERS

import deepmds_jax as dm
from deepmds_jax.weights.locate import shipped_names

pytestmark = pytest.mark.full_optimization

FILE = pathlib.Path(__file__).with_name("shipped_numbers.safetensors")
NAMES = ("flame51", "flame51_published", "ibug68", "ibug68_published")
FIELDS = ("points", "frontal", "stress", "num_iters", "status", "std", "proposal", "rotation",
          "angle_std")
HIDDEN_FIELDS = ("points", "std", "status")  # with a fifth of the landmarks missing


def draw_landmarks(reference: np.ndarray, num_faces: int = 6) -> np.ndarray:
    """(F, N, 2) noisy pixels of the reference shape, turned further to the right in each face.

    By NumPy, and rounded to 1/64 of a pixel, so that they are the same everywhere.
    """
    rng = np.random.default_rng(7)
    faces = []
    for face in range(num_faces):
        yaw, pitch, roll = np.deg2rad([20 * face - 50, 12 - 5 * face, 4 * face])
        about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0],
                            [-np.sin(yaw), 0, np.cos(yaw)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)],
                            [0, np.sin(pitch), np.cos(pitch)]])
        about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0],
                            [0, 0, 1]])
        points = np.asarray(reference, np.float64) @ (about_z @ about_x @ about_y).T
        noise = rng.standard_normal((len(points), 2))
        faces.append(np.round(64 * (100 * points[:, :2] + 2 * noise + [300, 200])) / 64)
    return np.asarray(faces, np.float32)


def compute(name: str) -> dict[str, np.ndarray]:
    """What the weights give for their faces, by field."""
    params = dm.load_pretrained(name)
    x2d = draw_landmarks(params.reference)
    result = lift(params, x2d)
    found = {field: getattr(result, field) for field in FIELDS}
    if result.std is not None:
        visible = np.random.default_rng(3).random(x2d.shape[:2]) > 0.2
        hidden = lift(params, x2d, visible)
        found |= {f"hidden_{field}": getattr(hidden, field) for field in HIDDEN_FIELDS}
    return {f"{name}/{field}": np.asarray(value) for field, value in found.items()
            if value is not None}


def lift(*arguments: Any) -> dm.Reconstruction:
    """`reconstruct_detailed`, compiled as users compile it, whatever the tests' flags are."""
    own = {"xla_cpu_use_fusion_emitters": True} if FORMER_EMITTERS else {}
    return jax.jit(dm.reconstruct_detailed).lower(*arguments).compile(own)(*arguments)


def processor() -> str:
    """What the bits depend on: the compiler's version, and the instructions it may use."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    instructions = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    digest = hashlib.sha256(" ".join(sorted(instructions.split())).encode()).hexdigest()[:16]
    return f"{platform.machine()} {digest}, jaxlib {jax.lib.__version__}"


def test_all_shipped_weights_are_here():
    assert list(NAMES) == shipped_names()


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_those_of_the_shipment(name):
    with safetensors.safe_open(FILE, framework="numpy") as file:
        same = file.metadata()["processor"] == processor()
        expected = {key: file.get_tensor(key) for key in file.keys() if key.startswith(f"{name}/")}  # noqa: SIM118
    found = compute(name)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if same:
            np.testing.assert_array_equal(found[key], value, err_msg=key)
        elif not key.endswith("num_iters"):  # elsewhere the last bits, and so the last step, differ
            np.testing.assert_allclose(found[key], value, atol=2e-3, err_msg=key)


if __name__ == "__main__":
    tensors = {key: value for name in NAMES for key, value in compute(name).items()}
    safetensors.numpy.save_file(tensors, FILE, {"processor": processor()})
