"""Training of the anchored system: the encoder alone, then both networks."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deepmds_jax import landmark_order, mds
from deepmds_jax.data.augmentation import deformation_basis, varied_shapes
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.specs import DatasetSpec
from deepmds_jax.geometry import procrustes, standardize
from deepmds_jax.methods.anchored.encoder import RANK, ShapeEncoder
from deepmds_jax.methods.anchored.losses import (
    aligned,
    angle_errors,
    length,
    proposal_error,
    surprise,
)
from deepmds_jax.methods.anchored.minibatches import minibatches
from deepmds_jax.methods.anchored.parameters import NUM_MODES, Config, Params, init
from deepmds_jax.methods.anchored.pipeline import solve
from deepmds_jax.methods.options import option
from deepmds_jax.training.stage import FitStage, Stage
from deepmds_jax.training.trainable import Run

STAGES = ("joint",)
ENCODER_FACES, JOINT_FACES = 256, 64  # in a step
CALIBRATION_FACES = 4096
_SOLVER = {"max_iters": 10, "tolerance": 1e-3}  # close enough for a gradient
_RESULT, _LIKELIHOOD, _CERTAINTY = 2.0, 0.01, 0.03  # weights of the parts of the loss
_MUON_STEP = 10.0  # of a matrix, in Adam's


@dataclasses.dataclass(frozen=True)
class Training:
    """Options of a training run.

    Attributes:
      autoencoder_epochs: passes over the faces in the first stage, the encoder's.
      dissimilarity_epochs: passes over the faces in the second stage, both networks together.
      learning_rate: Adam's, in the second stage; the first takes three times as much, and both fall
        to 0.
      end_to_end: whether the second stage learns through stress majorization.
    """

    autoencoder_epochs: int = option(
        100, "passes over the faces in the first stage, 256 faces a step", lower_bound=1)
    dissimilarity_epochs: int = option(
        20, "passes over the faces in the second stage, both networks, 64 faces a step",
        lower_bound=1)
    learning_rate: float = option(1e-3, "Adam's", lower_bound=0)
    end_to_end: bool = option(
        True, "whether the second stage learns through stress majorization")


Optimizer = Callable[[optax.Schedule], optax.GradientTransformation]

# Of weights that are trained on, by `refine`.
_REFINEMENT_FACES = 8192
_REFINEMENT = Training(autoencoder_epochs=60, dissimilarity_epochs=8, learning_rate=5e-4)


def train(run: Run, dataset: Dataset, fit_stage: FitStage) -> Params:
    """Trains the encoder from the mean face on, then both networks together, then calibrates.

    Raises:
      ValueError: the dataset has no faces to train on, or there are too few.
    """
    config, training = run.config, run.training
    init_key, faces_key, *keys = jax.random.split(jax.random.key(run.seed), 5)
    points = dataset.draw_shapes(faces_key, run.num_train, jaw_lines=True)
    params, reference = init(config, init_key), standardize(dataset.mean)
    varied = varied_shapes(jax.random.key(0), points[:, : len(reference)], reference,
                           dataset.spec.augmentation, dataset.topology)
    modes = _modes(varied, reference, RANK).reshape(RANK, -1)
    networks = {**params.encoder["params"], "mean": reference, "modes": modes}
    params = dataclasses.replace(params, encoder={"params": networks})
    return _train_both(params, dataset, points, training, optax.adam, keys, fit_stage,
                       lambda trained: trained)


def refine(
    params: Params, dataset: Dataset, key: jax.Array, fit_stage: FitStage, share: float
) -> Params:
    """Trains both networks on, on other faces; see `AdaptableMethod`."""
    before = _networks(params)
    faces_key, *keys = jax.random.split(key, 4)
    points = dataset.draw_shapes(faces_key, _REFINEMENT_FACES)
    networks = params.encoder["params"]
    # What training made of the mean face, it makes of the other one.
    mean = networks["mean"] + standardize(dataset.mean) - params.reference
    params = dataclasses.replace(params, encoder={"params": {**networks, "mean": mean}})

    def mix(trained):
        # By NumPy: JAX would compile three programs for each shape among the arrays.
        pair = jax.device_get((before, trained))
        return jax.tree.map(lambda old, new: old + share * (new - old), *pair)

    return _train_both(params, dataset, points, _REFINEMENT, _muon, keys, fit_stage, mix)


def _networks(params):
    """The variables of the joint stage."""
    return {"params": {"encoder": params.encoder["params"], "pairs": params.pairs["params"]}}


def _train_both(params, dataset, points, training, optimizer, keys, fit_stage, finish):
    """The parameters after both stages, `finish` of their variables, and the calibration."""
    config, reference = params.config, standardize(dataset.mean)
    modes = _modes(points[:, : len(reference)], reference, NUM_MODES)
    beside = {"reference": reference, "modes": modes,
              "unexplained": landmark_order.unexplained(reference, modes)}
    faces = dataset.spec, dataset.topology, dataset.mean
    stage = encoder_stage(*faces, points, 3 * training.learning_rate, training.autoencoder_epochs,
                          optimizer)
    encoder = fit_stage(stage, params.encoder, key=keys[0],
                        num_epochs=training.autoencoder_epochs, beside=beside)
    stage = joint_stage(*faces, points, training.learning_rate, training.dissimilarity_epochs,
                        training.end_to_end, optimizer)
    both = fit_stage(stage, _networks(dataclasses.replace(params, encoder=encoder)), key=keys[1],
                     num_epochs=training.dissimilarity_epochs, beside=beside)
    shapes_key, views_key = jax.random.split(keys[2])
    points = dataset.draw_shapes(shapes_key, CALIBRATION_FACES, jaw_lines=True)
    both = jax.device_get(calibrated(finish(both), *faces, points, views_key))
    return assemble(config, {"joint": both}, beside)


@partial(jax.jit, static_argnames="num_modes")
def _modes(points, reference, num_modes):
    """The largest modes (num_modes, N, 3) of aligned shapes about a reference; zeros if fewer."""
    changes = (procrustes(points, reference)(points) - reference).reshape(len(points), -1)
    values, vectors = jnp.linalg.eigh(changes.T @ changes / len(changes))
    modes = (vectors * jnp.sqrt(jnp.maximum(values, 0))).T[::-1][:num_modes]
    modes = jnp.pad(modes, [(0, num_modes - len(modes)), (0, 0)])
    return modes.reshape(num_modes, *reference.shape)


def assemble(
    config: Config, trained: Mapping[str, Any], beside: Mapping[str, jax.Array]
) -> Params:
    """Parameters from the variables of the joint stage, and what else `Params` has."""
    encoder, pairs = ({"params": trained["joint"]["params"][k]} for k in ("encoder", "pairs"))
    return Params(encoder, pairs, beside["reference"], beside["modes"], beside["unexplained"],
                  config)


def encoder_stage(
    spec: DatasetSpec,
    topology: str,
    mean: jax.Array,
    points: jax.Array,
    learning_rate: float,
    num_epochs: int,
    optimizer: Optimizer = optax.adam,
) -> Stage:
    """Landmarks in any view -> shape and view: the mean distance of the landmarks, and the pose's.

    Every step draws new views, deformations, noise and missing landmarks for its faces.

    Args:
      spec: the views, noise and augmentation.
      topology: name.
      mean: (N, 3) the mean face.
      points: (F, N, 3) the training faces, head frame, or with jaw lines behind them, see
        `augmented_faces`.
      learning_rate: of Adam or Muon, at first; it falls to 0 along a cosine.
      num_epochs: passes over the faces.
      optimizer: of a schedule of learning rates.
    """
    network = ShapeEncoder(len(mean))

    def apply(variables, inputs, mutable):
        del mutable
        return network.apply(variables, *inputs), {}

    steps = _descent(optimizer, learning_rate, len(points), num_epochs, ENCODER_FACES)
    data = points, standardize(mean), deformation_basis(np.asarray(mean))
    return Stage("encoder", apply, steps, data, len(points), ENCODER_FACES,
                 minibatches(spec, topology), proposal_error)


def joint_stage(
    spec: DatasetSpec,
    topology: str,
    mean: jax.Array,
    points: jax.Array,
    learning_rate: float,
    num_epochs: int,
    end_to_end: bool = True,
    optimizer: Optimizer = optax.adam,
) -> Stage:
    """Landmarks in any view -> shape, through encoder, pair network and stress majorization.

    The variables are `{"params": {"encoder": ..., "pairs": ...}}`. End to end, the mean distance
    of the landmarks after stress majorization is minimised, differentiated through the equation
    that it solves, and the standard deviations are those most likely for the remaining errors.
    Otherwise no gradient passes through it: distances and standard deviations are those most likely
    for the proposal's errors. In both cases the encoder's own error is part of the loss.

    Args:
      end_to_end: see above.
      spec, topology, mean, points, learning_rate, num_epochs, optimizer: see `encoder_stage`.
    """
    all_over_pairs = len(mean) / (len(mean) - 1)  # errors on the diagonal are 0

    def apply(variables, inputs, mutable):
        del mutable
        encoder, pair_network = ({"params": variables["params"][k]} for k in ("encoder", "pairs"))
        return solve(encoder, pair_network, *inputs, **_SOLVER), {}

    def error(solution, truth):
        proposal, estimate, embedded = solution
        result = embedded.embedding if end_to_end else jax.lax.stop_gradient(proposal.points)
        result, true = aligned(result, truth.points)
        off = mds.distances(true) - estimate.distances
        losses = proposal_error(proposal, truth)
        losses += _LIKELIHOOD * all_over_pairs * surprise(off, estimate.std)
        errors = jax.lax.stop_gradient(result - true)
        losses += _CERTAINTY * surprise(errors, estimate.landmark_std)
        losses += _CERTAINTY * surprise(angle_errors(proposal, truth), estimate.angle_std)
        if end_to_end:
            return losses + _RESULT * jnp.mean(length(result - true))
        seen = jax.lax.stop_gradient(proposal.observed) - true[..., :2]
        return losses + _LIKELIHOOD * surprise(seen, estimate.observed_std[..., None])

    steps = _descent(optimizer, learning_rate, len(points), num_epochs, JOINT_FACES)
    data = points, standardize(mean), deformation_basis(np.asarray(mean))
    return Stage("joint", apply, steps, data, len(points), JOINT_FACES,
                 minibatches(spec, topology), error)


def calibrated(
    variables: Any,
    spec: DatasetSpec,
    topology: str,
    mean: jax.Array,
    points: jax.Array,
    key: jax.Array,
) -> Any:
    """Variables of the joint stage whose standard deviations cover 68.3 % of the errors, per axis.

    Maximum likelihood makes them as large as the root mean square of the errors, which a few large
    errors dominate. The weights of the anchors stay as they were.

    Args:
      variables: trained by `joint_stage`.
      spec, topology, mean: see `encoder_stage`.
      points: like the training faces, outside the training set.
      key: of their views.
    """
    data = points, standardize(mean), deformation_basis(np.asarray(mean))
    params = jax.device_put(variables["params"])

    @jax.jit
    def factors(params, data, key):
        inputs, truth = minibatches(spec, topology)(data, jnp.arange(len(points)), key)
        encoder, pair_network = ({"params": params[k]} for k in ("encoder", "pairs"))
        found = solve(encoder, pair_network, *inputs)
        result, true = aligned(found.embedded.embedding, truth.points)
        surprise = jnp.abs(result - true) / found.estimate.landmark_std
        turn = jnp.abs(angle_errors(found.proposal, truth)) / found.estimate.angle_std
        return (jnp.log(jnp.quantile(surprise, 0.6827, axis=(0, 1))),
                jnp.log(jnp.quantile(turn, 0.6827, axis=0)))

    larger, wider = factors(params, data, key)
    networks = params["pairs"]
    networks = {
        **networks,
        "landmarks": networks["landmarks"].at[:, :3].add(-larger),
        "trust": networks["trust"].at[:3].add(2 * larger),
        "turn": {**networks["turn"], "bias": networks["turn"]["bias"] - wider},
    }
    return {"params": {**params, "pairs": networks}}


def _descent(optimizer, learning_rate, num_faces, num_epochs, faces_per_step):
    num_steps = max(num_faces // faces_per_step * num_epochs, 1)
    schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optimizer(schedule))


def _muon(schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam, but for the matrices of the networks: they go equally far in all directions.

    On few passes it comes as far as Adam on four times as many.

    Source: Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks".
    """
    def kind_of(path, leaf):
        del leaf
        return "matrix" if path[-1] == jax.tree_util.DictKey("kernel") else "other"

    matrices = optax.contrib.muon(lambda step: _MUON_STEP * schedule(step))
    return optax.partition({"matrix": matrices, "other": optax.adam(schedule)},
                           partial(jax.tree_util.tree_map_with_path, kind_of))
