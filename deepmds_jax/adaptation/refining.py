"""Networks that are trained on what was learnt of the shapes of unlabelled landmarks."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax.adaptation.em import Learnt
from deepmds_jax.adaptation.learning import adaptable
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.views import Uniform, ViewGroup
from deepmds_jax.geometry import angles_from_rotation
from deepmds_jax.methods import anchored
from deepmds_jax.methods.contract import MIN_LANDMARKS
from deepmds_jax.methods.gaussian import Gaussian
from deepmds_jax.training.loop import fit
from deepmds_jax.training.trainable import Run

_MARGIN = 10.0  # degrees beyond the views that were seen
# Largest noise to train on: over that of the faces at hand, and at least, in sizes of the face.
# With less, exact faces gain a little, and noisy ones lose more.
_NOISE_RANGE, _LEAST_NOISE = 4.0, 0.03
# How fast the way that the weights go shortens with what is not known, by trial: a dozen faces,
# nearly from the front, make nothing worse, and 50 or more lose nothing.
_CAUTION = 3
# Of networks that start from nothing.
_TRAINING, _NUM_TRAIN = anchored.Training(60, 12, 5e-4), 8192


def refine(params: Any, learnt: Learnt, *, seed: int = 0, progress: bool = False) -> Any:
    """The parameters after their networks were trained on, on faces drawn from what was learnt.

    The less the faces said of their mean, the less of the way that training takes the weights do
    they go: of few faces, a mean of old and new weights is better than either.

    Source: Wortsman et al. (2022), "Robust fine-tuning of zero-shot models", CVPR.

    Args:
      params, seed, progress: see `adapt`.
      learnt: from `learn_shapes`.
    """
    method = adaptable(params)
    config = params.config
    views = _views(learnt) if config.any_side else None
    dataset = as_dataset(learnt.after, config.topology, views, _max_noise(learnt))
    return method.refine(params, dataset, jax.random.key(seed), _fit_stage(progress),
                         learnt.share**_CAUTION)


def train(learnt: Learnt, topology: str, *, seed: int = 0, progress: bool = False) -> Any:
    """Parameters of the anchored system, trained from nothing on what was learnt of a template.

    They are trained on views like those seen.

    Args:
      learnt: from `learn_from_template`.
      topology, seed, progress: see `adapt_template`.
    """
    config = anchored.Config(topology, any_side=True)
    run = Run(config, _TRAINING, seed, _NUM_TRAIN)
    dataset = as_dataset(learnt.after, config.topology, _views(learnt), _max_noise(learnt))
    return anchored.train(run, dataset, _fit_stage(progress))


def as_dataset(
    shapes: Gaussian,
    topology: str,
    views: tuple[ViewGroup, ...] | None = None,
    max_noise: float | None = None,
) -> Dataset:
    """A dataset whose faces are drawn from a Gaussian.

    Args:
      shapes: the Gaussian.
      topology: its name.
      views: of the faces; those of the robust training by default.
      max_noise: largest standard deviation of the landmarks' noise, in sizes of the face; that of
        the robust training by default, and at most.
    """
    no_expressions = jnp.zeros((0, *shapes.mean.shape))
    model = MorphableModel(shapes.mean, _modes(shapes), no_expressions, topology, "size")
    robust = specs.load_spec("ict_robust")
    # Where landmarks are few, most have to stay: twice as many as a pose takes, or more.
    most = max(0.0, 1 - 2 * MIN_LANDMARKS / len(shapes.mean))
    noise = robust.augmentation.noise
    augmentation = robust.augmentation._replace(
        deformation=0.5, calm=0.0, outline=0.0, missing=min(robust.augmentation.missing, most),
        noise=noise if max_noise is None else min(noise, max_noise))
    spec = dataclasses.replace(
        robust, name="adapted", title="faces like the unlabelled ones", expression=False,
        views=views or robust.views, augmentation=augmentation)
    return Dataset(spec, model, pathlib.Path())


@jax.jit
def _modes(shapes):
    """All modes of a Gaussian, (3 N, N, 3), by their deviations."""
    values, vectors = jnp.linalg.eigh(shapes.covariance)
    return (vectors * jnp.sqrt(jnp.maximum(values, 0))).T.reshape(-1, *shapes.mean.shape)


def _fit_stage(progress):
    def fit_stage(stage, variables, *, key, num_epochs, beside=None):
        del beside
        return fit(stage, variables, key=key, num_epochs=num_epochs,
                   devices=jax.local_devices()[:1], progress=progress)

    return fit_stage


def _max_noise(learnt: Learnt) -> float:
    """Of the faces to train on, in sizes: several times that of the faces at hand."""
    return max(_LEAST_NOISE, _NOISE_RANGE * float(np.median(learnt.noise[learnt.used])))


def _views(learnt: Learnt) -> tuple[ViewGroup, ...]:
    """Views as wide as those that the faces were seen in, half of them from near."""
    yaw, pitch, _ = angles_from_rotation(jnp.asarray(learnt.rotation[learnt.used]))
    ranges = []
    for angle, most in ((np.asarray(yaw), 180.0), (np.asarray(pitch), 90.0)):
        low, high = np.quantile(angle, [0.01, 0.99])
        ranges.append(Uniform(float(max(low - _MARGIN, -most)), float(min(high + _MARGIN, most))))
    far = ViewGroup(0.5, *ranges, roll=Uniform(-30, 30))
    return far, far._replace(field_of_view=Uniform(0, 37))
