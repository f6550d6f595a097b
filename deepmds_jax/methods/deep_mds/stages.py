"""Training of Deep-MDS as published: the autoencoder, then the dissimilarity network.

Both minimise the mean squared error by Adam (paper, eq. 7 and 8).
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import centre, min_max, standardize
from deepmds_jax.mds import distances
from deepmds_jax.methods.deep_mds.networks import Autoencoder, pair_features
from deepmds_jax.methods.deep_mds.parameters import Config, Params, dissimilarity_network, init
from deepmds_jax.methods.deep_mds.pipeline import dissimilarities, frontalize
from deepmds_jax.methods.options import check_choices, option
from deepmds_jax.training.loop import fit_by_epochs
from deepmds_jax.training.stage import FitStage, Stage, take_rows
from deepmds_jax.training.trainable import Run

STAGES = ("autoencoder", "dissimilarity")
PAIRS = ("face", "shuffled")


@dataclasses.dataclass(frozen=True)
class Training:
    """Options of a training run.

    Attributes:
      autoencoder_epochs, dissimilarity_epochs: passes over the faces in the two stages.
      learning_rate: Adam's, in both stages.
      pairs: of a minibatch of the dissimilarity network: of one "face", or "shuffled" over all.

    Raises:
      ValueError: `pairs` is neither.
    """

    autoencoder_epochs: int = option(
        100, "passes over the faces in the first stage, 16 faces a step", lower_bound=1)
    dissimilarity_epochs: int = option(
        4, "passes over the faces in the second stage, all pairs of one face a step",
        lower_bound=1)
    learning_rate: float = option(1e-3, "Adam's", lower_bound=0)
    pairs: str = option(
        "face", "whether the pairs of a step are those of one face, or shuffled over all faces "
        "(Fig. 6)", choices=PAIRS)

    def __post_init__(self):
        check_choices(self)


def train(run: Run, dataset: Dataset, fit_stage: FitStage) -> Params:
    """Trains the autoencoder, then the dissimilarity network on its output.

    Raises:
      ValueError: `pairs` is "shuffled" where the network knows the landmarks, or there are too few
        faces.
    """
    config, training = run.config, run.training
    if training.pairs == "shuffled" and config.features == "identity":
        raise ValueError("pairs: features=identity takes all pairs of a face, got 'shuffled'")
    init_key, faces_key, *order_keys = jax.random.split(jax.random.key(run.seed), 5)
    params = dataclasses.replace(init(config, init_key), reference=standardize(dataset.mean))
    beside = {"reference": params.reference}
    faces = dataset.draw(faces_key, run.num_train)

    trained = {}
    trained["autoencoder"] = fit_stage(
        autoencoder_stage(faces, training.learning_rate), params.autoencoder,
        key=order_keys[0], num_epochs=training.autoencoder_epochs, beside=beside)
    params = dataclasses.replace(params, autoencoder=trained["autoencoder"])
    trained["dissimilarity"] = fit_stage(
        dissimilarity_stage(faces, params, training.learning_rate, training.pairs),
        params.dissimilarity,
        key=order_keys[1], num_epochs=training.dissimilarity_epochs, beside=beside)
    return assemble(config, trained, beside)


def assemble(
    config: Config, trained: Mapping[str, Any], beside: Mapping[str, jax.Array]
) -> Params:
    """Parameters from the trained variables of both stages and the reference shape."""
    return Params(**trained, reference=beside["reference"], config=config)


def autoencoder_stage(faces: Faces, learning_rate: float) -> Stage:
    """Any view -> x and y of the 3D landmarks, min-max scaled jointly over x, y and z (eq. 7)."""
    num_faces, num_landmarks, _ = faces.x2d.shape
    data = (min_max(centre(faces.x2d)), min_max(faces.points)[..., :2])
    return Stage("autoencoder", Autoencoder(num_landmarks).apply, optax.adam(learning_rate), data,
                 num_faces, 16, take_rows)


def dissimilarity_stage(
    faces: Faces, params: Params, learning_rate: float, pairs: str = "face"
) -> Stage:
    """Pairs of frontal landmarks -> their 3D distance (eq. 8).

    Their 2D positions are the trained autoencoder's output. The paper's Fig. 6 compares two
    minibatches of N^2 ordered pairs: all of one face ("face", the better one), and each from a
    face of its own ("shuffled"), drawn from all pairs of all faces with replacement.
    """
    num_faces, num_landmarks, _ = faces.x2d.shape
    data = (jax.jit(frontalize)(params, faces.x2d), min_max(faces.points))

    def one_face(data, rows, key):
        frontal, points = take_rows(data, rows, key)
        features = pair_features(frontal, params.config.features)
        return features.reshape(-1, features.shape[-1]), distances(points).reshape(-1)

    def shuffled(data, rows, key):
        del rows
        face_key, pair_key = jax.random.split(key)
        face = jax.random.randint(face_key, (num_landmarks**2, 1), 0, num_faces)
        pair = jax.random.randint(pair_key, (num_landmarks**2, 2), 0, num_landmarks)
        frontal, points = (x[face, pair] for x in data)
        features = pair_features(frontal, params.config.features)
        return features[:, 0, 1], distances(points)[:, 0, 1]

    minibatch = {"face": one_face, "shuffled": shuffled}[pairs]
    return Stage("dissimilarity", dissimilarity_network(params.config).apply,
                 optax.adam(learning_rate), data, num_faces, 1, minibatch)


class DissimilarityEpoch(NamedTuple):
    """A pass of the dissimilarity network over the faces.

    Attributes:
      losses: (F,) float32, the mean squared error of each minibatch before its step.
      error: mean squared error of all distances of the other faces after the pass.
      seconds: that training has taken up to its end, without compilation.
    """

    losses: np.ndarray
    error: float
    seconds: float


def dissimilarity_epochs(
    params: Params,
    faces: Faces,
    pairs: str,
    others: Faces,
    *,
    key: jax.Array,
    num_epochs: int,
    learning_rate: float = 1e-3,
) -> Iterator[DissimilarityEpoch]:
    """Trains a fresh dissimilarity network, epoch by epoch, for the comparison of Fig. 6.

    Args:
      params: whose autoencoder and features are used; its dissimilarity network is not.
      faces: F faces to train on.
      pairs: of a minibatch: of one "face", or "shuffled" over all.
      others: faces to measure the error on.
      key: of the initial weights and of everything random in the steps.
      num_epochs: passes over the faces, a step each.
      learning_rate: Adam's.
    """
    init_key, order_key = jax.random.split(key)
    variables = init(params.config, init_key).dissimilarity
    stage = dissimilarity_stage(faces, params, learning_rate, pairs)
    frontal, truth = jax.jit(frontalize)(params, others.x2d), distances(min_max(others.points))
    estimate = jax.jit(dissimilarities)
    for epoch in fit_by_epochs(stage, variables, key=order_key, num_epochs=num_epochs):
        trained = dataclasses.replace(params, dissimilarity=epoch.variables)
        error = float(np.mean((np.asarray(estimate(trained, frontal)) - np.asarray(truth)) ** 2))
        yield DissimilarityEpoch(epoch.losses, error, epoch.seconds)
