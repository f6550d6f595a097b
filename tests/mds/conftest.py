"""Dissimilarity matrices with independently converged optima."""

import json
import pathlib

import jax
import numpy as np
import pytest

OPTIMA = pathlib.Path(__file__).with_name("optima")


class Oracle:
    """One file of optima/, see the README there. Missing dissimilarities are NaN."""

    def __init__(self, name):
        content = json.loads((OPTIMA / f"{name}.json").read_text())
        n = content["n"]
        upper = np.zeros((n, n))
        upper[np.triu_indices(n, 1)] = np.array(content["dissimilarities"], float)
        self.dissimilarities = upper + upper.T
        self.eigenvalues = np.array(content["cmdscale_eigenvalues"])
        self.additive_constant = content.get("additive_constant")  # None where pairs are missing
        self.runs = content["runs"]

    def start(self, num_dims):
        return np.array(self.runs[str(num_dims)]["start"])

    def optimum(self, num_dims, transform, ties="primary"):
        return self.runs[str(num_dims)]["optimum"][_key(transform, ties)]["stress1"]

    def start_stress(self, num_dims, transform, ties="primary"):
        return self.runs[str(num_dims)]["start_stress1"][_key(transform, ties)]


def _key(transform, ties):
    return f"ordinal_{ties}" if transform == "ordinal" else transform


@pytest.fixture(scope="session")
def load_oracle():
    return Oracle


@pytest.fixture(scope="session")
def usage():
    """What R says of the same data: a file of optima/usage, by its name."""
    return lambda name: json.loads((OPTIMA / "usage" / f"{name}.json").read_text())


def published(name):
    """The lower triangle of a published table, as (n, n); see optima/README.md."""
    rows = (OPTIMA / "usage" / f"{name}.csv").read_text().splitlines()[1:]
    lower = np.array([[float(cell or 0) for cell in row.split(",")[1:]] for row in rows])
    return np.tril(lower) + np.tril(lower, -1).T


@pytest.fixture(scope="session")
def gruijter():
    """(9, 9) dissimilarities of Dutch parties."""
    return published("gruijter")


@pytest.fixture(scope="session")
def ekman():
    """(14, 14) similarities of colours."""
    return published("ekman")


@pytest.fixture(params=["eurodist", "stackloss", "USArrests", "iris", "face_n00", "face_n03"])
def oracle(request, load_oracle):
    """The files without missing dissimilarities, unless a test names others."""
    return load_oracle(request.param)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
