"""The evaluation criteria once more, without JAX: what tests expect."""

import numpy as np
from scipy.spatial.transform import Rotation

from deepmds_jax.evaluation.metrics import Metrics


def lapack_scores(truth, prediction, eyes):
    """The criteria of one face, landmark by landmark, with NumPy and SciPy only."""
    lowest, size = truth.min(), np.ptp(truth)
    truth = (truth - lowest) / size
    a, b = prediction - prediction.mean(0), truth - truth.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    aligned = s.sum() / np.sum(a * a) * a @ u @ vt + truth.mean(0)
    matrix = np.corrcoef(truth, aligned)[: len(truth), len(truth) :]
    turned = Rotation.align_vectors(b, a)[0].apply(a)
    scaled = np.sum(turned * b) / np.sum(a * a) * turned
    errors = np.linalg.norm(scaled - b, axis=1) / np.linalg.norm(b[eyes[0]] - b[eyes[1]])
    return Metrics(
        mse=np.mean((truth - aligned) ** 2),
        depthcorr=np.trace(matrix),
        depthcorr_share=np.trace(matrix) / len(truth),
        depth_correlation=np.corrcoef(truth[:, 2], aligned[:, 2])[0, 1],
        nme=errors.mean(),
        right_handed=np.linalg.det(u @ vt) > 0,
        landmark_errors=errors,
    )
