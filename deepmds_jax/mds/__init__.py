"""Multidimensional scaling in pure JAX, usable on its own."""

from deepmds_jax.mds.classical import classical
from deepmds_jax.mds.isotonic import isotonic_regression
from deepmds_jax.mds.smacof import smacof
from deepmds_jax.mds.solver import MDSResult, Status
from deepmds_jax.mds.stress import distances, normalized_stress, raw_stress, stress

__all__ = [
    "MDSResult",
    "Status",
    "classical",
    "distances",
    "isotonic_regression",
    "normalized_stress",
    "raw_stress",
    "smacof",
    "stress",
]
