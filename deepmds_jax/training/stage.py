"""A stage: what one network is shown, what it should answer, and by how much it is wrong."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax


def mean_squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over all numbers of the squared differences."""
    return jnp.mean((outputs - targets) ** 2)


@dataclasses.dataclass(frozen=True)
class Stage:
    """Training of one network, or of several at once.

    Attributes:
      name: of the stage, and of its checkpoint folder.
      apply: (variables, inputs, mutable=collections, and train=True where there are statistics) to
        outputs and changed statistics, as Flax modules do.
      optimizer: of the parameters.
      data: pytree of arrays that minibatches are made from.
      num_faces: training faces in `data`.
      faces_per_step: how many of them a step takes, in the order of the epoch.
      minibatch: pure; from `data`, the (faces_per_step,) rows of the faces and a random key for the
        step to inputs and targets, pytrees of arrays (B, ...).
      loss: from outputs and targets to a number.
      max_chunk: upper bound on the steps that are compiled into one loop; the loss is checked after
        each loop.

    Raises:
      ValueError: there are fewer faces than a step takes.
    """

    name: str
    apply: Callable[..., Any]
    optimizer: optax.GradientTransformation
    data: Any
    num_faces: int
    faces_per_step: int
    minibatch: Callable[[Any, jax.Array, jax.Array], tuple[Any, Any]]
    loss: Callable[[Any, Any], jax.Array] = mean_squared_error
    max_chunk: int = 500

    def __post_init__(self):
        if self.num_faces < self.faces_per_step:
            raise ValueError(f"num_train: a minibatch takes {self.faces_per_step} faces, "
                             f"got {self.num_faces}")

    @property
    def steps_per_epoch(self) -> int:
        """Steps in a pass over the faces; faces that do not fill a step are left out of it."""
        return self.num_faces // self.faces_per_step

    @property
    def chunk_size(self) -> int:
        """Steps between two checks of the loss; a whole number of chunks makes an epoch."""
        sizes = range(1, self.max_chunk + 1)
        return max(size for size in sizes if self.steps_per_epoch % size == 0)


class FitStage(Protocol):
    """Trains one stage of a run, with its checkpoints, curves and progress bar."""

    def __call__(
        self,
        stage: Stage,
        variables: Any,
        *,
        key: jax.Array,
        num_epochs: int,
        beside: Mapping[str, jax.Array] | None = None,
    ) -> Any:
        """The trained variables.

        Args:
          stage: what to train.
          variables: the initial ones.
          key: of the order of the faces and of everything random in the steps.
          num_epochs: passes over the faces.
          beside: arrays by name to keep in the checkpoints, beside the state.
        """
        ...


def take_rows(data: Any, rows: jax.Array, key: jax.Array | None = None) -> Any:
    """The minibatch of data that are inputs and targets, with one row per face."""
    del key
    return jax.tree.map(lambda x: jnp.take(x, rows, axis=0), data)
