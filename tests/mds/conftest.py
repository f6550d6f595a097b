"""Dissimilarity matrices with independently converged optima."""

import json

import jax
import numpy as np
import pytest


class Oracle:
    """One file of shared/oracles/mds, see the README there."""

    def __init__(self, path):
        content = json.loads(path.read_text())
        n = content["n"]
        upper = np.zeros((n, n))
        upper[np.triu_indices(n, 1)] = content["dissimilarities"]
        self.dissimilarities = upper + upper.T
        self.eigenvalues = np.array(content["cmdscale_eigenvalues"])
        self.runs = content["runs"]

    def start(self, num_dims):
        return np.array(self.runs[str(num_dims)]["start"])

    def optimum(self, num_dims, transform):
        name = {"ratio": "ratio", "ordinal": "ordinal_primary"}[transform]
        return self.runs[str(num_dims)]["optimum"][name]["stress1"]

    def start_stress(self, num_dims, transform):
        name = {"ratio": "ratio", "ordinal": "ordinal_primary"}[transform]
        return self.runs[str(num_dims)]["start_stress1"][name]


@pytest.fixture
def load_oracle(shared):
    return lambda name: Oracle(shared / "oracles" / "mds" / f"{name}.json")


@pytest.fixture(params=["eurodist", "varespec", "USArrests", "iris", "face_n00", "face_n03"])
def oracle(request, load_oracle):
    return load_oracle(request.param)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
