"""The compared methods. A method is a pure function of landmarks, made once per evaluation.

Every method maps (..., N, 2) image landmarks to (..., N, 3) points with x right, y down and z
away from the viewer, in any pose and unit: metrics align them.
"""

from deepmds_jax.methods.baselines import mean_shape, posed_mean
from deepmds_jax.methods.deep_mds import deep_mds

__all__ = ["deep_mds", "mean_shape", "posed_mean"]
