"""The solver reaches the committed optima."""

import numpy as np
import pytest
from problems import TRANSFORMS as ALL_TRANSFORMS
from problems import euclidean

from deepmds_jax import mds

FACES = ["face_n00", "face_n03", "face_n00_na20", "face_n10_na20"]
# Without ties, the two treatments of ties are the same.
ORACLES = [
    (name, transform)
    for name in ["eurodist", "stackloss", "USArrests", "iris", *FACES]
    for transform in ALL_TRANSFORMS
    if transform != "secondary" or name in ("eurodist", "stackloss", "iris")
]


def stress_of(embedding, disparities, weights=1):
    """Stress-1 by its definition."""
    d = euclidean(np.asarray(embedding))
    misfit = np.sum(weights * (disparities - d) ** 2, axis=(-2, -1))
    return np.sqrt(misfit / np.sum(weights * d**2, axis=(-2, -1)))


@pytest.mark.parametrize(("oracle", "name"), ORACLES, indirect=["oracle"])
@pytest.mark.parametrize(
    ("num_dims", "dtype"), [(2, "float64"), (3, "float32")], indirect=["dtype"]
)
def test_reaches_the_oracles_optimum(oracle, name, num_dims, dtype):
    options = ALL_TRANSFORMS[name]
    dissimilarities = oracle.dissimilarities.astype(dtype)
    result = mds.smacof(dissimilarities, num_dims, **options)
    assert result.embedding.dtype == result.stress.dtype == result.disparities.dtype == dtype
    assert result.status == mds.Status.CONVERGED
    optimum = oracle.optimum(num_dims, **options)
    if optimum < 1e-9:  # zero, to the 10 digits of the file
        assert result.stress <= 256 * np.finfo(dtype).eps + 1e-9
    else:
        above = 1e-5 if dtype == np.float64 else 1e-4
        assert optimum * (1 - above) <= result.stress <= optimum * (1 + above)
    observed = ~np.isnan(dissimilarities)
    again = stress_of(result.embedding, result.disparities, observed)
    np.testing.assert_allclose(again, result.stress, rtol=1e-4, atol=8 * np.finfo(dtype).eps)
    assert (np.asarray(result.disparities)[~observed] == 0).all()


@pytest.mark.parametrize("oracle", ["eurodist", "iris"], indirect=True)
def test_shepard_diagram_of_an_optimum(oracle, x64):
    result = mds.smacof(oracle.dissimilarities, 2, transform="ordinal")
    diagram = mds.shepard(oracle.dissimilarities, result.embedding, result.disparities)
    n = len(oracle.dissimilarities)
    assert diagram.distances.shape == (n * (n - 1) // 2,)
    assert (np.diff(diagram.dissimilarities) >= 0).all()
    assert (np.diff(diagram.disparities) >= -1e-12).all()  # the line rises
    assert diagram.stress == pytest.approx(float(result.stress), rel=1e-9)


@pytest.mark.parametrize(
    ("oracle", "name"),
    [("eurodist", name) for name in ALL_TRANSFORMS]  # has ties
    + [("face_n10_na20", name) for name in ("ratio", "interval", "primary")],
    indirect=["oracle"],
)
def test_stress_of_the_oracles_start(oracle, name, x64):
    options = ALL_TRANSFORMS[name]
    start = mds.smacof(
        oracle.dissimilarities, 2, init=oracle.start(2), max_iters=0, **options
    )
    assert start.num_iters == 0
    assert start.status == mds.Status.STEP_LIMIT
    np.testing.assert_allclose(start.stress, oracle.start_stress(2, **options), rtol=1e-8)
