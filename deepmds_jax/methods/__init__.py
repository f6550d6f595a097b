"""The compared methods, one per module; `registry` loads them by name.

A `Method` is a pure function of `Faces`: most look at the landmarks `x2d` alone, some at `images`,
and predictions from elsewhere at `row`. It returns points with x right, y down and z away from the
viewer, in any pose and unit: metrics align them.
"""

from deepmds_jax.methods.aldrian import aldrian
from deepmds_jax.methods.baselines import mean_shape, posed_mean
from deepmds_jax.methods.deep_mds import deep_mds
from deepmds_jax.methods.external import external
from deepmds_jax.methods.mediapipe import mediapipe
from deepmds_jax.methods.method import Method
from deepmds_jax.methods.mobileface import mobileface
from deepmds_jax.methods.zhao import zhao

__all__ = [
    "Method",
    "aldrian",
    "deep_mds",
    "external",
    "mean_shape",
    "mediapipe",
    "mobileface",
    "posed_mean",
    "zhao",
]
