import jax
import numpy as np

from deepmds_jax.data import specs, synthetic
from deepmds_jax.data.views import sample_faces
from deepmds_jax.evaluation.metrics import score
from deepmds_jax.evaluation.protocol import evaluate
from deepmds_jax.methods import mean_shape, posed_mean


def test_a_short_last_batch_scores_like_all_faces_at_once():
    model = synthetic.load("flame51")
    views = specs.load_spec("synthetic").views
    faces = sample_faces(jax.random.key(0), model, views, 260)  # batches hold 250
    methods = [mean_shape(model.mean), posed_mean(model.mean)]
    found = evaluate(methods, faces)
    assert list(found) == ["mean shape", "posed mean"]
    for title, predict, _ in methods:
        for batched, whole in zip(found[title], score(faces.points, predict(faces)), strict=True):
            assert batched.shape == (260,)
            np.testing.assert_allclose(batched, whole, rtol=1e-3, atol=1e-6)


def test_posed_mean_keeps_the_observed_coordinates_and_beats_the_mean_shape():
    model = synthetic.load("ibug68")
    views = specs.load_spec("synthetic").views
    faces = sample_faces(jax.random.key(1), model, views, 200)
    predicted = posed_mean(model.mean).predict(faces)
    np.testing.assert_array_equal(predicted[..., :2], faces.x2d)
    posed, mean = (
        np.mean(score(faces.points, method(model.mean).predict(faces)).mse)
        for method in (posed_mean, mean_shape)
    )
    assert posed < mean
