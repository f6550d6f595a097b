"""From landmarks to shape by Deep-MDS as published."""

import jax
import jax.numpy as jnp

from deepmds_jax import mds
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.geometry import centre, min_max, nearest_orthogonal, standardize
from deepmds_jax.methods.contract import Method, Reconstruction
from deepmds_jax.methods.deep_mds.networks import Autoencoder, pair_features
from deepmds_jax.methods.deep_mds.parameters import Config, Params, count, dissimilarity_network
from deepmds_jax.methods.layers import apply_network

TITLE = "Deep-MDS"


def frontalize(params: Params, x2d: jax.Array) -> jax.Array:
    """The autoencoder's frontal orthographic view of (..., N, 2) landmarks, min-max scaled.

    The landmarks are centred before they are min-max scaled, so that the result does not depend
    on where in the image the face lies.
    """
    upright = centre(x2d) * jnp.array([1, -1 if params.config.y_up else 1], x2d.dtype)
    network = Autoencoder(x2d.shape[-2])
    frontal = min_max(apply_network(network, params.autoencoder, min_max(upright)))
    return _networks_frame(params.config, frontal)


def dissimilarities(params: Params, frontal: jax.Array) -> jax.Array:
    """Estimated 3D distances (..., N, N) of the pairs of landmarks from `frontalize`.

    Symmetric; the absolute value of the network's output with a zero diagonal, as in the release.
    """
    features = pair_features(_networks_frame(params.config, frontal), params.config.features)
    network = dissimilarity_network(params.config)
    estimate = jnp.abs(apply_network(network, params.dissimilarity, features))
    symmetric = (estimate + estimate.mT) / 2  # it is already, but for the order of sums
    return symmetric * (1 - jnp.eye(frontal.shape[-2], dtype=frontal.dtype))


@jax.default_matmul_precision("highest")
@jax.numpy_rank_promotion("allow")
def lift(
    params: Params, x2d: jax.Array, visible: jax.Array | None, init: jax.Array | None
) -> Reconstruction:
    """Lifts (..., N, 2) landmarks; takes neither `visible` nor `init`. Pure."""
    del visible, init
    frontal = frontalize(params, x2d)
    distances = dissimilarities(params, frontal)
    points, embedded = embed(params, distances)
    return Reconstruction(points, frontal, distances, embedded.stress, embedded.num_iters,
                          embedded.status)


def embed(params: Params, distances: jax.Array) -> tuple[jax.Array, mds.MDSResult]:
    """Shapes (..., N, 3) as `lift` gives them from (..., N, N) distances, and the solver's report.

    To be called with matrix products in full precision, as `lift` does.
    """
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
    return standardize(embedded.embedding @ to_reference), embedded


def as_method(params: Params, reference: Dataset | None = None) -> Method:
    """The system with these weights: ours, or the authors' from `load_released`."""
    del reference
    num_params = count(params.autoencoder, params.dissimilarity)
    return Method(TITLE, lambda faces: lift(params, faces.x2d, None, None).points, num_params)


def _networks_frame(config: Config, frontal: jax.Array) -> jax.Array:
    """Turns min-max scaled points from y down to the networks' y, or back.

    Within [0, 1], so that x and y keep their relation: features and min-max scaling see both.
    """
    if not config.y_up:
        return frontal
    return jnp.stack([frontal[..., 0], 1 - frontal[..., 1]], axis=-1)
