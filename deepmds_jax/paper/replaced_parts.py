"""What each part of Deep-MDS costs: parts give way to the truth, one after the other."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax

from deepmds_jax import mds
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.views import Faces
from deepmds_jax.evaluation.protocol import evaluate
from deepmds_jax.evaluation.tables import Row
from deepmds_jax.geometry import min_max
from deepmds_jax.methods import Method, deep_mds
from deepmds_jax.methods.baselines import mean_shape, posed_mean
from deepmds_jax.training.loop import fit

_NUM_TRAIN = 5000  # faces, one a step, that the second network is trained anew on


class Replaced(NamedTuple):
    """The system with some of its parts replaced.

    Attributes:
      title: what was replaced, in words.
      frontal: whether the second network sees the true frontal view.
      distances: whether MDS sees the true distances.
      transform: of MDS; "ordinal", as published, keeps of the distances their order alone.
      anew: whether the second network was trained on true frontal views, too.
    """

    title: str
    frontal: bool
    distances: bool
    transform: str
    anew: bool = False


REPLACED = (
    Replaced("as published", False, False, "ordinal"),
    Replaced("metric MDS", False, False, "ratio"),
    Replaced("true frontal view", True, False, "ordinal"),
    Replaced("true frontal view, second network trained on it", True, False, "ordinal", True),
    Replaced("true order of the distances", True, True, "ordinal"),
    Replaced("true distances, metric MDS", True, True, "ratio"),
)


def train_on_true_views(params: deep_mds.Params, dataset: Dataset, seed: int) -> deep_mds.Params:
    """The weights with a second network that was trained on true frontal views: 5,000 steps."""
    faces_key, init_key, order_key = jax.random.split(jax.random.key(seed), 3)
    faces = dataset.draw(faces_key, _NUM_TRAIN)
    stage = deep_mds.dissimilarity_stage(faces, params, learning_rate=1e-3)
    stage = dataclasses.replace(stage, data=(_true_frontal(faces), stage.data[1]))
    trained = fit(stage, deep_mds.init(params.config, init_key).dissimilarity, key=order_key,
                  num_epochs=1, devices=jax.local_devices()[:1], progress=False)
    return dataclasses.replace(params, dissimilarity=trained)


def as_method(params: deep_mds.Params, replaced: Replaced) -> Method:
    """The system with parts replaced by what `Faces.points`, the truth, says."""
    config = dataclasses.replace(params.config, transform=replaced.transform)
    changed = dataclasses.replace(params, config=config)

    @jax.default_matmul_precision("highest")
    def predict(faces: Faces) -> jax.Array:
        if replaced.distances:
            distances = mds.distances(min_max(faces.points))
        else:
            frontal = (_true_frontal(faces) if replaced.frontal
                       else deep_mds.frontalize(changed, faces.x2d))
            distances = deep_mds.dissimilarities(changed, frontal)
        points, _ = deep_mds.embed(changed, distances)
        return points

    return Method(replaced.title, predict, None)


def replaced_rows(
    params: deep_mds.Params, dataset: Dataset, faces: Faces, seed: int
) -> Sequence[Row]:
    """Scores of the system with its parts replaced, and of the two predictors that learn nothing.

    Args:
      params: weights, trained on these data if there are some.
      dataset: of the faces.
      faces: F test faces.
      seed: of the training of the second network on true views.

    Returns:
      A row for each of `REPLACED`, for the mean shape and for the posed mean: "faces", "system",
      "MSE x 1e-4", "of the published" (a factor), "NME, %" and "depth correlation", means over the
      faces.
    """
    anew = train_on_true_views(params, dataset, seed)
    methods = [as_method(anew if replaced.anew else params, replaced) for replaced in REPLACED]
    results = evaluate([*methods, mean_shape(dataset.mean), posed_mean(dataset.mean)], faces,
                       dataset.topology)
    published = float(results[REPLACED[0].title].mse.mean())
    return [{
        "faces": dataset.spec.title,
        "system": method,
        "MSE x 1e-4": 1e4 * float(found.mse.mean()),
        "of the published": float(found.mse.mean()) / published,
        "NME, %": 100 * float(found.nme.mean()),
        "depth correlation": float(found.depth_correlation.mean()),
    } for method, found in results.items()]


def _true_frontal(faces: Faces) -> jax.Array:
    """The frontal view (F, N, 2) as the autoencoder should give it, scaled as it is."""
    return min_max(faces.points[..., :2])
