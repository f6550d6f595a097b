"""The compared methods, one per module.

A `Method` is a pure function of `Faces`: most look at the landmarks `x2d` alone, some at `images`,
and predictions from elsewhere at `row`. It returns points with x right, y down and z away from the
viewer, in any pose and unit: metrics align them.
"""

from deepmds_jax.methods.baselines import mean_shape, posed_mean
from deepmds_jax.methods.deep_mds import deep_mds
from deepmds_jax.methods.method import Method

__all__ = ["Method", "deep_mds", "mean_shape", "posed_mean"]
