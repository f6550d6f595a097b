"""Adaptation: weights that learn where a detector puts its landmarks, from unlabelled faces.

Detectors, annotators and face models differ in where they put "the same" landmark, by more than
networks err. Landmarks of some faces, seen from several directions, tell where: a `Gaussian` over
shapes is fitted to them by expectation and maximisation, and the networks are trained on from where
they stand, on faces drawn from it. Things that no weights know start from one shape, a template.
"""

from typing import Any

from jax.typing import ArrayLike

from deepmds_jax.adaptation.em import MIN_FACES, Learnt
from deepmds_jax.adaptation.learning import SMOOTHNESS, learn_from_template, learn_shapes
from deepmds_jax.adaptation.refining import as_dataset, refine, train

__all__ = [
    "MIN_FACES", "SMOOTHNESS", "Learnt", "adapt", "adapt_template", "as_dataset",
    "learn_from_template", "learn_shapes", "refine", "train",
]


def adapt(
    params: Any,
    x2d: ArrayLike,
    visible: ArrayLike | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Any:
    """Weights for landmarks that come from where these come from. No 3D is needed.

    Args:
      params: weights of a method that can be adapted: the anchored system.
      x2d: (F, N, 2) landmarks of at least 10 different faces, x right and y down, any unit and
        origin; the more differently they are turned, the better. Copies count once.
      visible: (F, N) bool, whether each landmark was seen. All by default.
      seed: of the faces that the networks are trained on.
      progress: whether to show progress bars.

    Returns:
      Parameters of the same kind as `params`.

    Raises:
      ValueError: wrong shapes, other parameters, or fewer than 10 faces that can be learnt from.
    """
    return refine(params, learn_shapes(params, x2d, visible, progress=progress), seed=seed,
                  progress=progress)


def adapt_template(
    template: ArrayLike,
    topology: str,
    x2d: ArrayLike,
    visible: ArrayLike | None = None,
    *,
    smoothness: float = SMOOTHNESS,
    seed: int = 0,
    progress: bool = False,
) -> Any:
    """Weights for things of which only one 3D shape is known, from 2D landmarks of others.

    Args:
      template, topology, x2d, visible, smoothness, progress: see `learn_from_template`.
      seed: of the networks, and of the shapes that they are trained on.

    Returns:
      Parameters of the anchored system.

    Raises:
      ValueError: see `learn_from_template`.
    """
    learnt = learn_from_template(template, topology, x2d, visible, smoothness=smoothness,
                                 progress=progress)
    return train(learnt, topology, seed=seed, progress=progress)
