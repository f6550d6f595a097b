"""From 2D landmarks to 3D: the pure function, and the parameters it takes."""

import dataclasses
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import anchored, mds, topologies
from deepmds_jax.geometry import centre, min_max, nearest_orthogonal, standardize, turn_in_image
from deepmds_jax.mds.transforms import TRANSFORMS
from deepmds_jax.models import (
    FEATURE_SIZES,
    Autoencoder,
    DissimilarityNetwork,
    PairNetwork,
    ShapeEncoder,
    pair_features,
)
from deepmds_jax.models.pairs import as_matrix

VARIANTS = ("published", "anchored")
FEWEST = 6  # landmarks that still tell a pose and something of the face
# Of what is no face, in sizes of a face: root mean square of what the proposal does not explain;
# faces have 0.04, with noise of 0.1 sizes 0.16, and landmarks in another order 1.
_MISFIT = 0.3
_FLAT = 3e-3  # variance across over that along, of landmarks on a line; faces have 0.03 and more


@dataclasses.dataclass(frozen=True)
class Config:
    """The static part of `Params`: what the weights are for and how the solver runs.

    Attributes:
      topology: name of the landmark topology, see `deepmds_jax.topologies`.
      variant: "published", or "anchored", see `deepmds_jax.anchored`.
      features: pair features of the published variant: "paper" (eq. 6), "release", or "identity",
        the paper's with those of a learnt embedding of each landmark.
      transform: of the published variant's dissimilarities in MDS, "ordinal" or "ratio".
      weighted, observed: of the anchored variant, whether distances count by their precision, and
        whether the landmarks seen are anchors; for the ablation of docs/anchored.md.
      max_iters: most SMACOF iterations.
      tolerance: the solver's, see `mds.smacof` and `mds.smacof_anchored`.
      y_up: whether the networks were trained with y up, as the authors' were.

    Raises:
      ValueError: unknown topology, variant, features or transform; solver options not above 0.
    """

    topology: str
    variant: str = "published"
    features: str = "paper"
    transform: str = "ordinal"
    weighted: bool = True
    observed: bool = True
    max_iters: int = 3000
    tolerance: float = 3e-4
    y_up: bool = False

    def __post_init__(self):
        topologies.get(self.topology)
        for name, known in (("variant", VARIANTS), ("features", FEATURE_SIZES),
                            ("transform", TRANSFORMS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {list(known)}, "
                                 f"got {getattr(self, name)!r}")
        for name in ("max_iters", "tolerance"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or value <= 0:
                raise ValueError(f"{name}: expected a number above 0, got {value!r}")


@flax.struct.dataclass
class Params:
    """Everything `reconstruct` needs besides the landmarks; a pytree.

    Attributes:
      autoencoder: Flax variables of `models.Autoencoder`, or of `models.ShapeEncoder` in the
        anchored variant.
      dissimilarity: Flax variables of `models.DissimilarityNetwork`, or of `models.PairNetwork`.
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
    x2d = jnp.zeros((1, num_landmarks, 2))
    reference = jnp.zeros((num_landmarks, 3))
    if config.variant == "anchored":
        visible = jnp.ones((1, num_landmarks))
        proposal, encoder = ShapeEncoder(num_landmarks).init_with_output(
            autoencoder_key, x2d, visible
        )
        pairs = PairNetwork(num_landmarks).init(dissimilarity_key, proposal, visible)
        return Params(encoder, pairs, reference, config)
    pair = jnp.zeros((1, num_landmarks, num_landmarks, FEATURE_SIZES["paper"]))
    if config.features != "identity":
        pair = pair[:, :1, :1, : FEATURE_SIZES[config.features]]
    return Params(
        Autoencoder(num_landmarks).init(autoencoder_key, x2d),
        dissimilarity_network(config).init(dissimilarity_key, pair),
        reference,
        config,
    )


def dissimilarity_network(config: Config) -> DissimilarityNetwork:
    """The published variant's second network."""
    knows = config.features == "identity"
    return DissimilarityNetwork(topologies.get(config.topology).num_landmarks if knows else 0)


class Reconstruction(NamedTuple):
    """What `reconstruct_detailed` returns; (...) are the leading axes of the landmarks.

    Attributes:
      points: (..., N, 3) head frame (x right, y down, z away from the viewer), frontal, centred,
        root-mean-square distance to the centroid 1.
      frontal: (..., N, 2) the first network's frontal view, x right, y down, min-max scaled.
      dissimilarities: (..., N, N) estimated 3D distances; published: in units of the min-max
        scaled shape, anchored: of the root-mean-square distance to the centroid.
      stress: (...) Kruskal's stress-1 of the embedding.
      num_iters: (...) int32 SMACOF iterations.
      status: (...) int32 `mds.Status`; INVALID also where the anchored variant sees that the
        landmarks are not those of a face seen from before: mirrored (a selfie as the camera shows
        it), in another order, on a line, or too few.
      std: (..., N, 3) standard deviations of `points`, same frame and unit, calibrated on faces
        like those of the training; 1, the size of the face, where the status is INVALID. None in
        the published variant.
      proposal: (..., N, 3) what the encoder alone makes of the landmarks, frame and unit of
        `points`. None in the published variant.
      rotation: (..., 3, 3) proper; turns head-frame column vectors into the camera frame. None in
        the published variant; `place_in_image` tells the pose of any shape.
    """

    points: jax.Array
    frontal: jax.Array
    dissimilarities: jax.Array
    stress: jax.Array
    num_iters: jax.Array
    status: jax.Array
    std: jax.Array | None = None
    proposal: jax.Array | None = None
    rotation: jax.Array | None = None

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
    estimate = jnp.abs(dissimilarity_network(params.config).apply(params.dissimilarity, features))
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
def reconstruct_detailed(
    params: Params,
    x2d: jax.Array,
    visible: jax.Array | None = None,
    *,
    init: jax.Array | None = None,
) -> Reconstruction:
    """Like `reconstruct`, with the intermediate results and the solver's report.

    `init` (..., N, 3), points of the head frame, is where stress majorization starts in the
    anchored variant, instead of at the encoder's proposal.
    """
    _check(params, x2d, visible)
    x2d = jnp.asarray(x2d, params.reference.dtype)
    if params.config.variant == "anchored":
        return _anchored(params, x2d, visible, init)
    if init is not None:
        raise ValueError("init: expected none with the published variant, which takes none")
    return _published(params, x2d)


def _published(params: Params, x2d: jax.Array) -> Reconstruction:
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


def _anchored(
    params: Params, x2d: jax.Array, visible: jax.Array | None, init: jax.Array | None
) -> Reconstruction:
    config = params.config
    seen = jnp.ones(x2d.shape[:-1], bool) if visible is None else jnp.asarray(visible, bool)
    seen = jnp.broadcast_to(seen, x2d.shape[:-1])
    count = jnp.sum(seen, axis=-1)
    # Far from the origin float32 has no digits for a face; what is missing may be anything.
    known = jnp.where(seen[..., None], x2d, 0)
    middle = jnp.sum(known, axis=-2, keepdims=True) / count[..., None, None]
    near = jnp.where(seen[..., None], x2d - middle, 0)
    near = near / jnp.sqrt(jnp.mean(near**2, axis=(-2, -1), keepdims=True))
    lift = anchored.lift(
        params.autoencoder, params.dissimilarity, near, seen.astype(x2d.dtype),
        init=init, weighted=config.weighted, observed=config.observed,
        max_iters=config.max_iters, tolerance=config.tolerance,
    )
    proposal, embedded = lift.proposal, lift.embedded
    rotation = proposal.rotation
    is_rotation = jnp.abs(jnp.sum(rotation**2, axis=(-2, -1)) - 3) < 0.1
    from_before = (rotation[..., 2, 2] > 0) & is_rotation & (count >= FEWEST)
    misfit = jnp.sqrt(jnp.sum(proposal.residual**2, axis=(-2, -1)) / count)
    (a, b), (_, d) = jnp.moveaxis(near.mT @ near, (-2, -1), (0, 1))
    is_flat = a * d - b * b < _FLAT * (a + d) ** 2
    is_face = from_before & (misfit < _MISFIT) & ~is_flat
    variance = lift.estimate.landmark_std**2 @ rotation**2
    return Reconstruction(
        standardize(embedded.embedding @ rotation),
        min_max(proposal.shape[..., :2]),
        as_matrix(lift.estimate.distances, x2d.shape[-2]),
        embedded.stress,
        embedded.num_iters,
        jnp.where(is_face, embedded.status, mds.Status.INVALID).astype(jnp.int32),
        jnp.where(is_face[..., None, None], jnp.sqrt(variance), 1),
        standardize(proposal.shape),
        turn_in_image(proposal.roll.mT, rotation),
    )


def reconstruct(
    params: Params, x2d: jax.Array, visible: jax.Array | None = None
) -> jax.Array:
    """Recovers the 3D shape of 2D face landmarks by Deep-MDS.

    Pure; works under jit, vmap and grad. Calls nothing of `jnp.linalg`, so that it exports. The
    derivative of the anchored variant is the solution's. In the published one it is zero with the
    transform "ordinal", where the points depend on the order of the estimated distances only.

    Args:
      params: from `load_pretrained`, `load_params` or `load_released`.
      x2d: (..., N, 2) landmarks of one face each in the order of the topology, x right and y
        down, any unit and origin.
      visible: (..., N) or (N,) bool, whether each landmark was seen; those that were not are
        filled in and may hold anything. All by default. The published variant takes no other.

    Returns:
      (..., N, 3) float32: head frame (x right, y down, z away from the viewer), frontal, centred
      at the centroid, root-mean-square distance to the centroid 1, never mirrored. A face whose
      landmarks are not finite or all equal comes back as NaN and leaves its neighbours alone.
      Landmarks that are not a face's, such as a mirrored one's, give something: ask
      `reconstruct_detailed` for `converged` and `std`.

    Raises:
      ValueError: another shape, or `visible` with the published variant; and outside jit,
        landmarks that are not finite or all equal, or fewer than 6 that are visible.

    Source: Kamyab & Azimifar (2022), "Deep-MDS framework for recovering the 3D shape of 2D
    landmarks from a single image", arXiv:2210.15200, section 3.
    """
    return reconstruct_detailed(params, x2d, visible).points


def _check(params: Params, x2d: jax.Array, visible: jax.Array | None) -> None:
    num_landmarks = params.reference.shape[-2]
    if jnp.ndim(x2d) < 2 or jnp.shape(x2d)[-2:] != (num_landmarks, 2):
        raise ValueError(f"x2d: expected (..., {num_landmarks}, 2) for topology "
                         f"{params.config.topology}, got {jnp.shape(x2d)}")
    if visible is not None:
        if params.config.variant == "published":
            raise ValueError("visible: expected none with the published variant, which takes every "
                             "landmark as seen")
        if jnp.shape(visible) not in (jnp.shape(x2d)[:-1], jnp.shape(x2d)[-2:-1]):
            raise ValueError(f"visible: expected {jnp.shape(x2d)[:-1]} like x2d, got "
                             f"{jnp.shape(visible)}")
    if isinstance(x2d, jax.core.Tracer) or isinstance(visible, jax.core.Tracer):
        return
    x2d = np.asarray(x2d)  # a constant inside jit is looked at too, so not with jnp
    if visible is not None:
        visible = np.broadcast_to(np.asarray(visible, bool), x2d.shape[:-1])
        few = np.sum(visible, axis=-1) < FEWEST
        if np.any(few):
            raise ValueError(f"visible: {np.sum(few)} of {few.size} faces have fewer than "
                             f"{FEWEST} landmarks that are")
        first = np.argmax(visible, axis=-1)[..., None, None]
        x2d = np.where(visible[..., None], x2d, np.take_along_axis(x2d, first, axis=-2))
    bad = ~np.all(np.isfinite(x2d), axis=(-2, -1))
    if np.any(bad):
        raise ValueError(f"x2d: {np.sum(bad)} of {bad.size} faces have landmarks that are not "
                         "finite numbers")
    flat = np.all(np.max(x2d, axis=-2) == np.min(x2d, axis=-2), axis=-1)
    if np.any(flat):
        raise ValueError(f"x2d: in {np.sum(flat)} of {flat.size} faces all landmarks are equal")
