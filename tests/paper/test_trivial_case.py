"""The paper's trivial case, on a method that answers with the truth."""

import numpy as np
import pytest

from deepmds_jax.data.views import Faces
from deepmds_jax.methods import Method
from deepmds_jax.paper.trivial_case import trivial_case


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(51, 3))
    points = mean + 0.1 * rng.normal(size=(30, 51, 3))
    return Faces(points[..., :2].astype(np.float32), points.astype(np.float32))


def constant_mse(points, shape):
    """Mean over the faces of the paper's MSE of one shape, by NumPy."""
    errors = []
    for truth in points.astype(np.float64):
        truth = (truth - truth.min()) / np.ptp(truth)
        a, b = shape - shape.mean(0), truth - truth.mean(0)
        u, s, vt = np.linalg.svd(a.T @ b)
        errors.append(((s.sum() / (a * a).sum() * a @ u @ vt - b) ** 2).mean())
    return np.mean(errors)


def test_it_is_the_output_whose_error_is_the_median_and_tells_the_extremes(faces):
    found = trivial_case(Method("true", lambda faces: faces.points, 0), faces, "flame51")
    errors = sorted(constant_mse(faces.points, shape.astype(float)) for shape in faces.points[:20])
    assert found.num_outputs == 20
    np.testing.assert_allclose(
        [found.lowest, found.metrics.mse.mean(), found.highest],
        [errors[0], errors[9], errors[-1]], rtol=1e-4)
    assert found.metrics.nme.shape == (30,)
    assert found.method.title == "true, one output for all faces"
    shape = found.method.predict(faces)
    np.testing.assert_array_equal(np.asarray(shape), np.broadcast_to(shape[0], (30, 51, 3)))


def test_without_a_finite_output_there_is_none(faces):
    nothing = Method("nothing", lambda faces: np.full(faces.points.shape, np.nan), 0)
    with pytest.raises(ValueError, match="nothing: no finite output"):
        trivial_case(nothing, faces, "flame51")
