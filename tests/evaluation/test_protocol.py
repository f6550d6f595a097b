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
    methods = {"mean": mean_shape(model.mean), "posed": posed_mean(model.mean)}
    found = evaluate(methods, faces)
    assert list(found) == ["mean", "posed"]
    for name, method in methods.items():
        for batched, whole in zip(found[name], score(faces.points, method(faces.x2d)), strict=True):
            assert batched.shape == (260,)
            np.testing.assert_allclose(batched, whole, rtol=1e-3, atol=1e-6)


def test_posed_mean_keeps_the_observed_coordinates_and_beats_the_mean_shape():
    model = synthetic.load("ibug68")
    views = specs.load_spec("synthetic").views
    faces = sample_faces(jax.random.key(1), model, views, 200)
    predicted = posed_mean(model.mean)(faces.x2d)
    np.testing.assert_array_equal(predicted[..., :2], faces.x2d)
    posed, mean = (
        np.mean(score(faces.points, method(model.mean)(faces.x2d)).mse)
        for method in (posed_mean, mean_shape)
    )
    assert posed < mean
