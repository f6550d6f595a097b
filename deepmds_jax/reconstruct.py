"""From 2D landmarks to 3D: the pure function, and the parameters it takes."""

import dataclasses
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import mds, topologies
from deepmds_jax.geometry import centre, min_max, nearest_orthogonal, standardize
from deepmds_jax.mds.transforms import TRANSFORMS
from deepmds_jax.models import FEATURE_SIZES, Autoencoder, DissimilarityNetwork, pair_features


@dataclasses.dataclass(frozen=True)
class Config:
    """The static part of `Params`: what the weights are for and how the solver runs.

    Attributes:
      topology: name of the landmark topology, see `deepmds_jax.topologies`.
      features: pair features, "paper" (eq. 6) or "release".
      transform: of the dissimilarities in MDS, "ordinal" (as published) or "ratio".
      max_iters: most SMACOF iterations.
      tolerance: SMACOF's, see `mds.smacof`.
      y_up: whether the networks were trained with y up, as the authors' were.

    Raises:
      ValueError: unknown topology, features or transform; solver options not above 0.
    """

    topology: str
    features: str = "paper"
    transform: str = "ordinal"
    max_iters: int = 3000
    tolerance: float = 3e-4
    y_up: bool = False

    def __post_init__(self):
        topologies.get(self.topology)
        if self.features not in FEATURE_SIZES:
            raise ValueError(f"features: expected one of {list(FEATURE_SIZES)}, "
                             f"got {self.features!r}")
        if self.transform not in TRANSFORMS:
            raise ValueError(f"transform: expected one of {list(TRANSFORMS)}, "
                             f"got {self.transform!r}")
        for name in ("max_iters", "tolerance"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or value <= 0:
                raise ValueError(f"{name}: expected a number above 0, got {value!r}")


@flax.struct.dataclass
class Params:
    """Everything `reconstruct` needs besides the landmarks; a pytree.

    Attributes:
      autoencoder: Flax variables of `models.Autoencoder`.
      dissimilarity: Flax variables of `models.DissimilarityNetwork`.
      reference: (N, 3) mean shape of the training faces, head frame. It gives every result its
        orientation and its handedness, and nothing else: MDS leaves both open.
      config: the static part.
    """

    autoencoder: Any
    dissimilarity: Any
    reference: jax.Array
    config: Config = flax.struct.field(pytree_node=False)


def init_params(config: Config, key: jax.Array) -> Params:
    """Fresh random networks for a configuration, and a zero reference shape."""
    num_landmarks = topologies.get(config.topology).num_landmarks
    autoencoder_key, dissimilarity_key = jax.random.split(key)
    pair = jnp.zeros((1, FEATURE_SIZES[config.features]))
    return Params(
        Autoencoder(num_landmarks).init(autoencoder_key, jnp.zeros((1, num_landmarks, 2))),
        DissimilarityNetwork().init(dissimilarity_key, pair),
        jnp.zeros((num_landmarks, 3)),
        config,
    )


class Reconstruction(NamedTuple):
    """What `reconstruct_detailed` returns; (...) are the leading axes of the landmarks.

    Attributes:
      points: (..., N, 3) head frame (x right, y down, z away from the viewer), frontal, centred,
        root-mean-square distance to the centroid 1.
      frontal: (..., N, 2) the autoencoder's frontal view, x right, y down, min-max scaled.
      dissimilarities: (..., N, N) estimated 3D distances in units of the min-max scaled shape.
      stress: (...) Kruskal's stress-1 of the embedding.
      num_iters: (...) int32 SMACOF iterations.
      status: (...) int32 `mds.Status`.
    """

    points: jax.Array
    frontal: jax.Array
    dissimilarities: jax.Array
    stress: jax.Array
    num_iters: jax.Array
    status: jax.Array

    @property
    def converged(self) -> jax.Array:
        """(...) bool: SMACOF met its tolerance."""
        return self.status == mds.Status.CONVERGED


def frontalize(params: Params, x2d: jax.Array) -> jax.Array:
    """The autoencoder's frontal orthographic view of (..., N, 2) landmarks, min-max scaled.

    The landmarks are centred before they are min-max scaled, so that the result does not depend
    on where in the image the face lies.
    """
    upright = centre(x2d) * jnp.array([1, -1 if params.config.y_up else 1], x2d.dtype)
    frontal = min_max(Autoencoder(x2d.shape[-2]).apply(params.autoencoder, min_max(upright)))
    return _networks_frame(params.config, frontal)


def dissimilarities(params: Params, frontal: jax.Array) -> jax.Array:
    """Estimated 3D distances (..., N, N) of the pairs of landmarks from `frontalize`.

    Symmetric; the absolute value of the network's output with a zero diagonal, as in the release.
    """
    features = pair_features(_networks_frame(params.config, frontal), params.config.features)
    estimate = jnp.abs(DissimilarityNetwork().apply(params.dissimilarity, features))
    symmetric = (estimate + estimate.mT) / 2  # it is already, but for the order of sums
    return symmetric * (1 - jnp.eye(frontal.shape[-2], dtype=frontal.dtype))


def _networks_frame(config: Config, frontal: jax.Array) -> jax.Array:
    """Turns min-max scaled points from y down to the networks' y, or back.

    Within [0, 1], so that x and y keep their relation: features and min-max scaling see both.
    """
    if not config.y_up:
        return frontal
    return jnp.stack([frontal[..., 0], 1 - frontal[..., 1]], axis=-1)


@jax.default_matmul_precision("highest")
def reconstruct_detailed(params: Params, x2d: jax.Array) -> Reconstruction:
    """Like `reconstruct`, with the intermediate results and the solver's report."""
    _check(params, x2d)
    x2d = jnp.asarray(x2d, params.reference.dtype)
    frontal = frontalize(params, x2d)
    distances = dissimilarities(params, frontal)
    config = params.config
    embedded = mds.smacof(
        distances,
        num_dims=3,
        transform=config.transform,
        max_iters=config.max_iters,
        tolerance=config.tolerance,
    )
    # One orthogonal map settles orientation and handedness: the reference is not mirrored.
    to_reference = nearest_orthogonal(embedded.embedding.mT @ centre(params.reference),
                                      reflection=True)
    points = standardize(embedded.embedding @ to_reference)
    return Reconstruction(points, frontal, distances, embedded.stress, embedded.num_iters,
                          embedded.status)


def reconstruct(params: Params, x2d: jax.Array) -> jax.Array:
    """Recovers the 3D shape of 2D face landmarks by Deep-MDS.

    Pure; works under jit, vmap and grad. Calls nothing of `jnp.linalg`, so that it exports. With
    the transform "ordinal" the points depend on the order of the estimated distances only, and
    their derivative is zero; with "ratio" it is the solution's.

    Args:
      params: from `load_pretrained`, `load_params` or `load_released`.
      x2d: (..., N, 2) landmarks of one face each in the order of the topology, x right and y
        down, any unit and origin.

    Returns:
      (..., N, 3) float32: head frame (x right, y down, z away from the viewer), frontal, centred
      at the centroid, root-mean-square distance to the centroid 1, never mirrored. A face whose
      landmarks are not finite or all equal comes back as NaN and leaves its neighbours alone.

    Raises:
      ValueError: another shape; and outside jit, landmarks that are not finite or all equal.

    Source: Kamyab & Azimifar (2022), "Deep-MDS framework for recovering the 3D shape of 2D
    landmarks from a single image", arXiv:2210.15200, section 3.
    """
    return reconstruct_detailed(params, x2d).points


def _check(params: Params, x2d: jax.Array) -> None:
    num_landmarks = params.reference.shape[-2]
    if jnp.ndim(x2d) < 2 or jnp.shape(x2d)[-2:] != (num_landmarks, 2):
        raise ValueError(f"x2d: expected (..., {num_landmarks}, 2) for topology "
                         f"{params.config.topology}, got {jnp.shape(x2d)}")
    if isinstance(x2d, jax.core.Tracer):
        return
    x2d = np.asarray(x2d)  # a constant inside jit is looked at too, so not with jnp
    bad = ~np.all(np.isfinite(x2d), axis=(-2, -1))
    if np.any(bad):
        raise ValueError(f"x2d: {np.sum(bad)} of {bad.size} faces have landmarks that are not "
                         "finite numbers")
    flat = np.all(np.max(x2d, axis=-2) == np.min(x2d, axis=-2), axis=-1)
    if np.any(flat):
        raise ValueError(f"x2d: in {np.sum(flat)} of {flat.size} faces all landmarks are equal")
