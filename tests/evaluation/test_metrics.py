import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepmds_jax.evaluation.metrics import score


def lapack_scores(truth, prediction):
    """The release's criteria, landmark by landmark, with NumPy only."""
    truth = (truth - truth.min()) / (truth.max() - truth.min())
    a, b = prediction - prediction.mean(0), truth - truth.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    aligned = s.sum() / np.sum(a * a) * a @ u @ vt + truth.mean(0)
    matrix = np.corrcoef(truth, aligned)[: len(truth), len(truth) :]
    depth = np.corrcoef(truth[:, 2], aligned[:, 2])[0, 1]
    return np.mean((truth - aligned) ** 2), np.trace(matrix), depth


def test_agrees_with_the_release_computed_by_lapack():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(6, 30, 3)) * [1, 1, 0.5] + [0, 0, 2]
    prediction = truth + 0.1 * rng.normal(size=truth.shape)
    prediction[3] *= [1, 1, -1]  # mirrored: the release allows a reflection
    found = score(truth.astype(np.float32), prediction.astype(np.float32))
    for i in range(6):
        mse, trace, depth = lapack_scores(truth[i], prediction[i])
        assert found.mse[i] == pytest.approx(mse, rel=1e-4)
        assert found.depthcorr[i] == pytest.approx(trace, rel=1e-4)
        assert found.depthcorr_share[i] == pytest.approx(trace / 30, rel=1e-4)
        assert found.depth_correlation[i] == pytest.approx(depth, rel=1e-4)


def test_a_similar_shape_is_perfect():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(20, 3))
    moved = 7 * truth @ Rotation.random(rng=rng).as_matrix() + 3
    found = score(truth.astype(np.float32), moved.astype(np.float32))
    assert found.mse == pytest.approx(0, abs=1e-10)
    assert found.depthcorr == pytest.approx(20, rel=1e-5)
    assert found.depth_correlation == pytest.approx(1, rel=1e-5)


def test_mse_by_hand():
    # A square pyramid that fills [0, 1] already; the predicted apex is at half the height. By
    # symmetry nothing is rotated. Centred, x and y are +-0.5 at the four corners, z is -0.2 there
    # and 0.8 at the apex (predicted: -0.1 and 0.4). The residual of the best scale a.b / a.a is
    # b.b - (a.b)^2 / a.a.
    base = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]
    truth, prediction = (np.float32([*base, [0.5, 0.5, z]]) for z in (1, 0.5))
    dot, square = 2 + 4 * 0.2 * 0.1 + 0.8 * 0.4, 2 + 4 * 0.1**2 + 0.4**2  # 2.4, 2.2
    total = 2 + 4 * 0.2**2 + 0.8**2  # 2.8
    expected = (total - dot**2 / square) / 15
    assert score(truth, prediction).mse == pytest.approx(expected, rel=1e-5)


def test_a_prediction_that_is_not_finite_is_nan_and_alone():
    truth = np.random.default_rng(2).normal(size=(2, 10, 3)).astype(np.float32)
    prediction = truth.copy()
    prediction[0] = np.nan
    found = np.asarray(score(truth, prediction).mse)
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
