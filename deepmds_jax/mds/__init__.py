"""Batched, differentiable multidimensional scaling in JAX. Usable without the rest of the package.

`smacof` is the main entry point; docs/mds.md is the guide.
"""

from typing import TYPE_CHECKING

from deepmds_jax.extras import require
from deepmds_jax.mds.additive import additive_constant
from deepmds_jax.mds.anchors import smacof_anchored
from deepmds_jax.mds.biplot import FittedVectors, fit_vectors
from deepmds_jax.mds.comparison import Comparison, compare_configurations
from deepmds_jax.mds.diagrams import (
    ShepardDiagram,
    draw_scree,
    draw_shepard,
    draw_stress_per_point,
    shepard,
)
from deepmds_jax.mds.isotonic import isotonic_regression
from deepmds_jax.mds.majorization import smacof
from deepmds_jax.mds.maps import draw_configuration
from deepmds_jax.mds.measures import (
    distances,
    normalized_stress,
    raw_stress,
    stress,
    stress_2,
    stress_per_point,
)
from deepmds_jax.mds.placement import place
from deepmds_jax.mds.principal import to_principal_axes
from deepmds_jax.mds.several import RepeatedResult, smacof_dims, smacof_until_repeated
from deepmds_jax.mds.similarities import similarity_to_dissimilarity
from deepmds_jax.mds.solver import MDSResult, Status
from deepmds_jax.mds.torgerson import ClassicalResult, classical, classical_detailed

if TYPE_CHECKING:
    from deepmds_jax.mds.estimator import MDS

__all__ = [
    "MDS",
    "ClassicalResult",
    "Comparison",
    "FittedVectors",
    "MDSResult",
    "RepeatedResult",
    "ShepardDiagram",
    "Status",
    "additive_constant",
    "classical",
    "classical_detailed",
    "compare_configurations",
    "distances",
    "draw_configuration",
    "draw_scree",
    "draw_shepard",
    "draw_stress_per_point",
    "fit_vectors",
    "isotonic_regression",
    "normalized_stress",
    "place",
    "raw_stress",
    "shepard",
    "similarity_to_dissimilarity",
    "smacof",
    "smacof_anchored",
    "smacof_dims",
    "smacof_until_repeated",
    "stress",
    "stress_2",
    "stress_per_point",
    "to_principal_axes",
]


def __getattr__(name: str) -> type:
    # Only the estimator needs scikit-learn.
    if name != "MDS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("sklearn", "sklearn")
    from deepmds_jax.mds.estimator import MDS

    return MDS
