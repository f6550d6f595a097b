"""Batched, differentiable multidimensional scaling in JAX. Usable without the rest of the package.

`smacof` is the main entry point; docs/mds.md is the guide.
"""

from typing import TYPE_CHECKING

from deepmds_jax.extras import require
from deepmds_jax.mds.additive import additive_constant
from deepmds_jax.mds.anchors import smacof_anchored
from deepmds_jax.mds.comparison import Comparison, compare_configurations
from deepmds_jax.mds.diagrams import ShepardDiagram, draw_shepard, shepard
from deepmds_jax.mds.individual import IndividualDifferences, individual_differences
from deepmds_jax.mds.isotonic import isotonic_regression
from deepmds_jax.mds.majorization import smacof
from deepmds_jax.mds.measures import (
    distances,
    normalized_stress,
    raw_stress,
    stress,
    stress_2,
    stress_per_point,
)
from deepmds_jax.mds.placement import place
from deepmds_jax.mds.resampling import (
    PermutationTest,
    Resampled,
    bootstrap,
    jackknife,
    permutation_test,
)
from deepmds_jax.mds.robust import RobustResult, smacof_robust
from deepmds_jax.mds.solver import MDSResult, Status
from deepmds_jax.mds.torgerson import classical
from deepmds_jax.mds.unfolding import Unfolding, unfold

if TYPE_CHECKING:
    from deepmds_jax.mds.estimator import MDS

__all__ = [
    "MDS",
    "Comparison",
    "IndividualDifferences",
    "MDSResult",
    "PermutationTest",
    "Resampled",
    "RobustResult",
    "ShepardDiagram",
    "Status",
    "Unfolding",
    "additive_constant",
    "bootstrap",
    "classical",
    "compare_configurations",
    "distances",
    "draw_shepard",
    "individual_differences",
    "isotonic_regression",
    "jackknife",
    "normalized_stress",
    "permutation_test",
    "place",
    "raw_stress",
    "shepard",
    "smacof",
    "smacof_anchored",
    "smacof_robust",
    "stress",
    "stress_2",
    "stress_per_point",
    "unfold",
]


def __getattr__(name: str) -> type:
    # Only the estimator needs scikit-learn.
    if name != "MDS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("sklearn", "sklearn")
    from deepmds_jax.mds.estimator import MDS

    return MDS
