"""The paper's trivial case: one of the method's own outputs, used for every face."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax.data.views import Faces, take_faces
from deepmds_jax.evaluation.metrics import Metrics, score
from deepmds_jax.methods import Method
from deepmds_jax.methods.baselines import mean_shape

NUM_OUTPUTS = 20


class TrivialCase(NamedTuple):
    """A method that answers with one of its own outputs, whatever the landmarks.

    Attributes:
      method: gives that output.
      metrics: `Metrics` of (F,) and (F, N) NumPy arrays.
      lowest, highest: mean MSE over the faces of the best and the worst of the outputs that were
        tried.
      num_outputs: how many were tried.
    """

    method: Method
    metrics: Metrics
    lowest: float
    highest: float
    num_outputs: int


def trivial_case(method: Method, faces: Faces, topology: str) -> TrivialCase:
    """Scores a method's own outputs as constants.

    How good a constant is depends on the face that it is the shape of. So those of the first 20
    test faces are tried, and the one whose mean MSE is the median is taken (the lower one of the
    middle two).

    Args:
      method: whose outputs are taken.
      faces: F test faces.
      topology: of their landmarks.

    Raises:
      ValueError: the method has no finite output for any of the first faces.
    """
    tried = take_faces(faces, slice(NUM_OUTPUTS))
    predicted = np.asarray(jax.jit(method.predict)(tried))
    outputs = [shape for shape in predicted if np.isfinite(shape).all()]
    if not outputs:
        raise ValueError(f"{method.title}: no finite output for the first faces, expected one to "
                         "use for all")
    truth = jnp.asarray(faces.points)
    scored = [jax.device_get(_score(truth, jnp.asarray(shape), topology)) for shape in outputs]
    means = [float(metrics.mse.mean()) for metrics in scored]
    chosen = int(np.argsort(means)[(len(means) - 1) // 2])
    constant = mean_shape(jnp.asarray(outputs[chosen]))
    return TrivialCase(constant._replace(title=f"{method.title}, one output for all faces"),
                       scored[chosen], min(means), max(means), len(means))


@functools.partial(jax.jit, static_argnames="topology")
def _score(truth: jax.Array, shape: jax.Array, topology: str) -> Metrics:
    return score(truth, jnp.broadcast_to(shape, truth.shape), topology)
