"""The committed optima are those of the committed matrices."""

import csv
import json
import pathlib

import numpy as np
import pytest
import scipy.spatial
from scipy.optimize import isotonic_regression

FOLDER = pathlib.Path(__file__).with_name("optima")
SIZES = {"eurodist": 21, "stackloss": 21, "USArrests": 21, "iris": 68, "face_n00": 68,
         "face_n03": 68, "face_n00_na20": 68, "face_n10_na20": 68}  # fmt: skip
TIED = {"eurodist", "stackloss", "iris"}


def disparities(distances, dissimilarities, transform):
    if transform == "ratio":
        slope = distances @ dissimilarities / (dissimilarities @ dissimilarities)
        return slope * dissimilarities
    if transform == "interval":
        slope, intercept = np.polyfit(dissimilarities, distances, 1)
        assert slope >= 0
        return intercept + slope * dissimilarities
    if transform == "ordinal_primary":
        order = np.lexsort((distances, dissimilarities))
        fitted = np.empty_like(distances)
        fitted[order] = isotonic_regression(distances[order]).x
        return fitted
    _, tie, counts = np.unique(dissimilarities, return_inverse=True, return_counts=True)
    means = np.bincount(tie, distances) / counts
    return isotonic_regression(means, weights=counts).x[tie]


def stress1(points, pairs, dissimilarities, transform):
    distances = np.linalg.norm(points[pairs[0]] - points[pairs[1]], axis=1)
    residuals = disparities(distances, dissimilarities, transform) - distances
    return np.linalg.norm(residuals) / np.linalg.norm(distances)


def read_face(number):
    with open(FOLDER / "faces.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["face"] == str(number)]
    return np.array([[float(row[axis]) for axis in "xyz"] for row in rows])


def test_every_committed_file_is_read():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_matrices(load_oracle, name):
    content = json.loads((FOLDER / f"{name}.json").read_text())
    oracle = load_oracle(name)
    d, n = oracle.dissimilarities, SIZES[name]
    assert content["name"] == name
    assert content["n"] == n
    assert d.shape == (n, n)
    np.testing.assert_array_equal(d, d.T)
    np.testing.assert_array_equal(np.diag(d), 0)
    pairs = d[np.triu_indices(n, 1)]
    observed = pairs[~np.isnan(pairs)]
    assert observed.min() > 0
    assert len(pairs) - len(observed) == content["missing_pairs"]
    assert content["missing_pairs"] == (round(0.2 * len(pairs)) if name.endswith("na20") else 0)
    assert len(set(observed)) == content["distinct_dissimilarities"]
    assert (len(set(observed)) < len(observed)) == (name in TIED)
    if not content["missing_pairs"]:
        centring = np.eye(n) - 1 / n
        eigenvalues = np.linalg.eigvalsh(centring @ d**2 @ centring / -2)[::-1]
        atol = 1e-9 * eigenvalues[0]
        np.testing.assert_allclose(oracle.eigenvalues, eigenvalues, rtol=0, atol=atol)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("num_dims", [2, 3])
def test_optima(load_oracle, name, num_dims):
    oracle = load_oracle(name)
    pairs = np.triu_indices(SIZES[name], 1)
    dissimilarities = oracle.dissimilarities[pairs]
    observed = ~np.isnan(dissimilarities)
    pairs, dissimilarities = np.array(pairs)[:, observed], dissimilarities[observed]
    run = oracle.runs[str(num_dims)]
    transforms = {"ratio", "interval", "ordinal_primary"}
    assert set(run["optimum"]) == transforms | ({"ordinal_secondary"} if name in TIED else set())
    for transform, optimum in run["optimum"].items():
        for points, value in [
            (oracle.start(num_dims), run["start_stress1"][transform]),
            (np.array(optimum["configuration"]), optimum["stress1"]),
        ]:
            found = stress1(points, pairs, dissimilarities, transform)
            np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-9)
        routes = list(optimum["routes"].values())
        assert len(routes) == 2
        np.testing.assert_allclose(routes, optimum["stress1"], rtol=0, atol=1e-9)
        assert optimum["stress1"] <= run["start_stress1"][transform]


@pytest.mark.parametrize(
    ("name", "number", "noise"),
    [("face_n00", 1, 0), ("face_n03", 2, 0.03), ("face_n00_na20", 3, 0), ("face_n10_na20", 4, 0.1)],
)
def test_faces(load_oracle, name, number, noise):
    distances = scipy.spatial.distance.pdist(read_face(number))
    dissimilarities = load_oracle(name).dissimilarities[np.triu_indices(68, 1)]
    ratio = dissimilarities / distances
    np.testing.assert_allclose(np.nanstd(ratio), noise, rtol=0.1, atol=1e-9)
    np.testing.assert_allclose(np.nanmean(ratio), 1, atol=0.1 * noise + 1e-9)
