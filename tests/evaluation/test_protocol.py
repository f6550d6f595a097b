import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lapack import lapack_scores
from scipy.spatial.transform import Rotation

from deepmds_jax import topologies
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import Faces, View
from deepmds_jax.evaluation import protocol
from deepmds_jax.evaluation.metrics import CRITERIA, Metrics
from deepmds_jax.evaluation.protocol import evaluate
from deepmds_jax.methods import Method
from deepmds_jax.methods.baselines import mean_shape, posed_mean


@pytest.fixture(scope="module")
def model():
    return synthetic.load("flame51")


@pytest.fixture(scope="module")
def faces(model):
    """260 faces of the model, turned and seen in orthography; NumPy, which compiles nothing."""
    rng = np.random.default_rng(0)
    mean, modes = np.asarray(model.mean), np.asarray(model.identity)
    points = mean + np.einsum("fk,knd->fnd", rng.normal(size=(260, len(modes))), modes)
    yaw = rng.uniform(-45, 45, 260)
    turns = Rotation.from_euler("y", -yaw[:, None], degrees=True).as_matrix()
    x2d = (points @ turns.swapaxes(-1, -2))[..., :2]
    x2d = x2d - x2d.mean(axis=1, keepdims=True)
    zero, ones = np.zeros(260, np.float32), np.ones(260, np.float32)
    view = View(np.float32(yaw), zero, zero, zero, np.zeros(260, np.int32), ones,
                np.zeros((260, 2), np.float32))
    return Faces(np.float32(x2d), np.float32(points), view)


def score_all(faces, points):
    """Metrics of predictions of all faces, one face at a time, by LAPACK."""
    names = topologies.get("flame51").landmarks
    eyes = [names.index(f"exocanthion_{side}") for side in topologies.SIDES]
    pairs = zip(faces.points.astype(float), np.asarray(points, float), strict=True)
    scores = [lapack_scores(truth, prediction, eyes) for truth, prediction in pairs]
    return Metrics(*map(np.stack, zip(*scores, strict=True)))


def first(faces, number):
    return jax.tree.map(lambda x: x[:number], faces)


def make_metrics(mse, right_handed=True):
    """Faces of two landmarks with these errors, and other criteria that go with them."""
    mse = np.asarray(mse, np.float32)
    right_handed = np.broadcast_to(right_handed, mse.shape) & np.isfinite(mse)
    errors = np.stack([10 * mse, 30 * mse], axis=-1)
    return Metrics(mse, 2 - mse, 1 - mse / 2, 1 - 3 * mse, 20 * mse, right_handed, errors)


def test_a_short_last_batch_scores_like_all_faces_at_once(model, faces):
    depths = np.asarray(model.mean)[:, 2:]

    def observe(faces):
        depth = np.broadcast_to(depths, (*faces.x2d.shape[:2], 1))
        return jnp.concatenate([faces.x2d, depth], axis=-1)

    methods = [mean_shape(model.mean), Method("observed", observe, 0)]
    found = evaluate(methods, faces, "flame51")  # batches hold 250
    assert list(found) == ["mean shape", "observed"]
    for title, predict, *_ in methods:
        whole = score_all(faces, predict(faces))
        for field, batched, expected in zip(Metrics._fields, found[title], whole, strict=True):
            assert isinstance(batched, np.ndarray)
            assert batched.shape == ((260, 51) if field == "landmark_errors" else (260,))
            np.testing.assert_allclose(batched, expected, rtol=1e-3, atol=1e-6)


def test_methods_see_images_and_rows_of_their_own_faces(faces):
    seven = first(faces, 7)
    truth = jnp.asarray(seven.points)
    images = np.zeros((7, 2, 2, 3), np.float32)
    images[:, 0, 0, 0] = np.arange(7) / 7
    rows = np.arange(7, dtype=np.int32)[::-1]
    stored = seven.points[::-1].copy()
    stored[rows[4]] = np.nan  # no prediction for face 4
    stored = jnp.asarray(stored)

    def from_images(faces):
        ours = jnp.rint(faces.images[:, 0, 0, 0] * 7).astype(int)
        return truth[ours]

    methods = [Method("images", from_images, None),
               Method("stored", lambda faces: stored[faces.row], None)]
    found = evaluate(methods, seven._replace(images=images, row=rows, view=None), "flame51")
    np.testing.assert_allclose(found["images"].mse, 0, atol=1e-9)
    assert np.flatnonzero(np.isnan(found["stored"].mse)).tolist() == [4]
    np.testing.assert_allclose(np.delete(found["stored"].mse, 4), 0, atol=1e-9)


def test_evaluate_refuses(model, faces):
    method = mean_shape(model.mean)
    with pytest.raises(ValueError, match=r"titles that differ, got \['mean shape', 'mean shape'\]"):
        evaluate([method, method], faces, "flame51")
    flat = Method("flat", lambda faces: faces.x2d, None)
    with pytest.raises(ValueError, match=r"method flat: expected points \(4, 51, 3\) of 4 faces"):
        evaluate([flat], first(faces, 4), "flame51")
    with pytest.raises(ValueError, match="faces: expected at least one"):
        evaluate([method], first(faces, 0), "flame51")


def test_posed_mean_keeps_the_observed_coordinates_and_beats_the_mean_shape(
    model, faces
):
    predicted = jax.device_get(jax.jit(posed_mean(model.mean).predict)(faces))
    np.testing.assert_array_equal(predicted[..., :2], faces.x2d)
    mean = mean_shape(model.mean).predict(faces)
    posed, constant = (np.mean(score_all(faces, points).mse) for points in (predicted, mean))
    assert posed < constant


def test_samples_are_the_papers():
    samples = protocol.draw_samples(0, 5000)
    assert samples.shape == (10, 500)
    assert samples.min() >= 0 and samples.max() < 5000
    assert all(len(set(sample)) == 500 for sample in samples)
    # Independent samples of a tenth: each pair shares 50 faces on average, standard deviation 6.4.
    shared = [len({*a} & {*b}) for i, a in enumerate(samples) for b in samples[:i]]
    assert 45 < np.mean(shared) < 55 and max(shared) < 90
    assert abs(samples.mean() - 2499.5) < 5 * 5000 / np.sqrt(12 * samples.size)
    np.testing.assert_array_equal(samples, protocol.draw_samples(jax.random.key(0), 5000))
    assert (samples != protocol.draw_samples(1, 5000)).mean() > 0.9
    text = protocol.describe_samples(samples, 5000)
    assert text == "10 random samples of 500 of 5,000 test faces"
    assert protocol.draw_samples(0, 20_000).shape == (10, 500)


def test_samples_of_few_faces_are_a_tenth():
    for num_faces, size in ((4999, 499), (3937, 393), (60, 6), (3, 1), (1, 1)):
        samples = protocol.draw_samples(0, num_faces)
        assert samples.shape == (10, size)
        assert samples.max() < num_faces
    assert protocol.describe_samples(protocol.draw_samples(0, 60), 60) == (
        "10 random samples of 6 of 60 test faces (the paper: 10 of 500 of at least 5,000)")
    with pytest.raises(ValueError, match="num_faces: expected at least 1, got 0"):
        protocol.draw_samples(0, 0)


def test_summary_by_hand():
    # Sample means of a: 1, 2 and 6 -> mean 3, variance (4 + 1 + 9) / 2 = 7.
    samples = np.array([[0, 1], [1, 2], [3, 4]])
    right_handed = [True, False, True, True, True]
    results = {"a": make_metrics([0, 2, 2, 5, 7], right_handed),
               # Face 1 failed: the means are 0, 2 and 6, mean 8/3, variance (64 + 4 + 100) / 9 / 2.
               "b": make_metrics([0, np.nan, 2, 5, 7])}
    a, b = protocol.summarize(results, samples)
    assert (a["method"], b["method"]) == ("a", "b")
    assert a["MSE"] == pytest.approx(3) and a["MSE sd"] == pytest.approx(np.sqrt(7))
    assert a["NME"] == pytest.approx(60) and a["NME sd"] == pytest.approx(20 * np.sqrt(7))
    assert a["DepthCorr (trace)"] == pytest.approx(-1)
    assert a["right-handed"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert a["right-handed sd"] == pytest.approx(np.sqrt(1 / 12))
    assert b["MSE"] == pytest.approx(8 / 3) and b["MSE sd"] == pytest.approx(np.sqrt(84 / 9))
    assert b["right-handed"] == 1
    assert (a["not finite"], b["not finite"]) == (0, 1)
    assert [*a] == ["method", *(f"{c.title}{s}" for c in CRITERIA for s in ("", " sd")),
                    "not finite"]
    errors = protocol.sample_means(results["a"], samples).landmark_errors
    np.testing.assert_allclose(errors, [[10, 30], [20, 60], [60, 180]])


def test_summary_of_nothing_is_none_not_a_number():
    (row,) = protocol.summarize({"a": make_metrics([np.nan] * 4)}, np.array([[0, 1], [2, 3]]))
    assert row["MSE"] is row["NME sd"] is row["right-handed"] is None
    assert row["not finite"] == 4
    (row,) = protocol.summarize({"a": make_metrics([1, 3])}, np.array([[0, 1]]))
    assert (row["MSE"], row["MSE sd"]) == (2, None)


def test_a_criterion_that_a_face_does_not_have_leaves_the_others():
    # A flat prediction has no depth correlation.
    metrics = make_metrics([1, 3])._replace(depth_correlation=np.float32([np.nan, 0.5]))
    (row,) = protocol.summarize({"a": metrics}, np.array([[0, 1], [1, 0]]))
    assert (row["MSE"], row["depth correlation"], row["not finite"]) == (2, 0.5, 0)


def test_by_pose_by_hand(faces):
    view = first(faces, 7).view
    zero = np.zeros(7, np.float32)
    view = view._replace(
        yaw=np.float32([0, -15, 16, 45, -45, 90, 0]), pitch=np.float32([0, 0, 0, 0, 0, 0, -3]),
        roll=zero, field_of_view=np.float32([0, 0, 5, 0, 3, 0, 0]),
    )
    results = {"a": make_metrics([1, 3, 10, 4, 8, 16, 0.5]), "b": make_metrics([np.nan] * 7)}
    rows = protocol.by_pose(results, view)
    found = {row["view"]: (row["faces"], row["MSE"]) for row in rows if row["method"] == "a"}
    assert found == {
        "yaw 0-15°": (3, 1.5),
        "yaw 15-30°": (1, 10),
        "yaw 30-45°": (2, 6),
        "yaw 60-90°": (1, 16),
        "orthographic, frontal": (1, 1),
        "orthographic, turned": (4, pytest.approx((3 + 4 + 16 + 0.5) / 4)),
        "perspective": (2, 9),
    }
    assert next(iter(found)) == "yaw 0-15°"
    for row in rows:
        failed = row["method"] == "b"
        assert row["not finite"] == failed * row["faces"]
        assert (row["NME"] is None) == failed
    assert protocol.by_pose(results, None) == []
