"""Options and parameters of the anchored system, and the layout of its weights files."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.methods.anchored.encoder import ShapeEncoder
from deepmds_jax.methods.anchored.pairs import PairNetwork
from deepmds_jax.methods.counts import count_parameters
from deepmds_jax.methods.options import (
    check_positive,
    config_from_json,
    implied,
    name_topology,
)

NUM_MODES = 60  # of the training faces, kept for `adaptation`


@dataclasses.dataclass(frozen=True)
class Config:
    """The static part of `Params`.

    Attributes:
      topology: name of the landmark topology, or the path of its file, see `topologies.get`.
      weighted: whether distances count by their precision, or all the same; for the ablation of
        docs/anchored.md.
      observed: whether the proposal and the visible landmarks are anchors; for the ablation too.
      max_iters: upper bound on iterations of stress majorization.
      tolerance: of the solver, see `mds.smacof_anchored`.
      any_side: whether the landmarks may be of things seen from any side, however they are bent;
        those of a face, seen from behind or far from the mean, are not those of a face.

    Raises:
      ValueError: unknown topology; solver options not above 0.
    """

    topology: str
    weighted: bool = True
    observed: bool = True
    max_iters: int = 3000
    tolerance: float = 3e-4
    any_side: bool = implied(False)

    def __post_init__(self):
        name_topology(self)
        check_positive(self, "max_iters", "tolerance")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Params:
    """Everything the system needs besides the landmarks; a pytree.

    Attributes:
      encoder: Flax variables of `encoder.ShapeEncoder`.
      pairs: Flax variables of `pairs.PairNetwork`.
      reference: (N, 3) mean shape of the training faces, head frame; the shape of a video's frames
        where no frame shows a face.
      modes: (K, N, 3) changes of the reference, one standard deviation each: how training faces
        differ. `adaptation` starts from them; lifting does not look at them.
      unexplained: (N, N) that tells landmarks in another order, see `landmark_order.unexplained`.
      config: the static part.
    """

    encoder: Any
    pairs: Any
    reference: jax.Array
    modes: jax.Array
    unexplained: jax.Array
    config: Config = dataclasses.field(metadata={"static": True})


@functools.partial(jax.jit, static_argnames="config")
def init(config: Config, key: jax.Array) -> Params:
    """Fresh random networks for a configuration, zero reference shape and modes."""
    num_landmarks = topologies.get(config.topology).num_landmarks
    encoder_key, pairs_key = jax.random.split(key)
    visible = jnp.ones((1, num_landmarks))
    proposal, encoder = ShapeEncoder(num_landmarks).init_with_output(
        encoder_key, jnp.zeros((1, num_landmarks, 2)), visible
    )
    pairs = PairNetwork(num_landmarks).init(pairs_key, proposal, visible)
    modes = jnp.zeros((NUM_MODES, num_landmarks, 3))
    unexplained = jnp.zeros((num_landmarks, num_landmarks))
    return Params(encoder, pairs, jnp.zeros((num_landmarks, 3)), modes, unexplained, config)


def count(params: Params) -> int:
    """All numbers of both networks; they have no moving statistics."""
    return count_parameters(params.encoder)[1] + count_parameters(params.pairs)[1]


def to_tree(params: Params) -> dict[str, Any]:
    """The arrays as a weights file holds them, under the names of the published system's parts."""
    return {"autoencoder": params.encoder, "dissimilarity": params.pairs,
            "reference": params.reference, "modes": params.modes, "unexplained": params.unexplained}


def from_tree(config: Config, tree: Mapping[str, Any]) -> Params:
    """The parameters whose arrays a weights file holds."""
    return Params(tree["autoencoder"], tree["dissimilarity"], tree["reference"], tree["modes"],
                  tree["unexplained"], config)


def read_config(metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> Config:
    """The configuration of a weights file; see `config_from_json` for what is raised."""
    del tensors
    # Files of the first development versions hold the options of both variants.
    older = ("variant", "features", "transform", "y_up")
    return config_from_json(Config, metadata, ignored=older)


def load_released(folder: str | os.PathLike, topology: str) -> NoReturn:
    """Raises ValueError: this system is ours."""
    raise ValueError(f"{folder}: the authors released no weights of the anchored system")
