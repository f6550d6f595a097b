"""Geometry of point sets: normalisation, Procrustes, registration, cameras and pose."""

from deepmds_jax.geometry.cameras import (
    angles_from_rotation,
    project,
    rotation_from_angles,
    rotation_from_vector,
    turn_in_image,
)
from deepmds_jax.geometry.normalization import centre, min_max, size, standardize
from deepmds_jax.geometry.pose import (
    Placement,
    affine_rotation,
    likely_rotations,
    place_in_image,
)
from deepmds_jax.geometry.registration import Registration, icp, icp_by_tree, nearest_points
from deepmds_jax.geometry.similarity import Similarity, nearest_orthogonal, procrustes

__all__ = [
    "Placement",
    "Registration",
    "Similarity",
    "affine_rotation",
    "angles_from_rotation",
    "centre",
    "icp",
    "icp_by_tree",
    "likely_rotations",
    "min_max",
    "nearest_orthogonal",
    "nearest_points",
    "place_in_image",
    "procrustes",
    "project",
    "rotation_from_angles",
    "rotation_from_vector",
    "size",
    "standardize",
    "turn_in_image",
]
