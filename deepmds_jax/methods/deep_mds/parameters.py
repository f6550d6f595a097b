"""Options and parameters of Deep-MDS as published, and the files they come from."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.sources import synthetic
from deepmds_jax.geometry import standardize
from deepmds_jax.methods.counts import count_parameters
from deepmds_jax.methods.deep_mds.networks import FEATURE_SIZES, Autoencoder, DissimilarityNetwork
from deepmds_jax.methods.options import (
    check_choices,
    check_positive,
    config_from_json,
    name_topology,
    option,
)
from deepmds_jax.weights.keras import number_layers, read_keras_network

# Topology -> the authors' files of the autoencoder and of the dissimilarity network.
_RELEASED = {
    "bfm72": ("AE_occ2orth_BFM.h5", "deep_dissim_ours.h5"),
    "flame51": ("AE_occ2orth_FLAME.h5", "deep_dissim_from_2D_dist_pers_rem_proj.h5"),
}

# Not the splines of `mds.smacof`: the method is exported, and they are not.
_TRANSFORMS = ("ordinal", "interval", "ratio")


@dataclasses.dataclass(frozen=True)
class Config:
    """The static part of `Params`.

    Attributes:
      topology: name of the landmark topology, or the path of its file, see `topologies.get`.
      features: of a pair of landmarks: "paper" (eq. 6), "release", or "identity", the paper's with
        those of a learnt embedding of each landmark.
      transform: of the dissimilarities in MDS, "ordinal", "interval" or "ratio".
      max_iters: upper bound on SMACOF iterations.
      tolerance: of the solver, see `mds.smacof`.
      y_up: whether the networks were trained with y up, as the authors' were.

    Raises:
      ValueError: unknown topology, features or transform; solver options not above 0.
    """

    topology: str
    features: str = option(
        "paper",
        "features of a pair of landmarks: eq. 6 of the paper, its release's, or the paper's with "
        "the identity of the landmarks",
        choices=tuple(FEATURE_SIZES),
    )
    transform: str = "ordinal"
    max_iters: int = 3000
    tolerance: float = 3e-4
    y_up: bool = False

    def __post_init__(self):
        name_topology(self)
        check_choices(self)
        if self.transform not in _TRANSFORMS:
            raise ValueError(f"transform: expected one of {list(_TRANSFORMS)}, "
                             f"got {self.transform!r}")
        check_positive(self, "max_iters", "tolerance")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Params:
    """Everything the system needs besides the landmarks; a pytree.

    Attributes:
      autoencoder: Flax variables of `networks.Autoencoder`.
      dissimilarity: Flax variables of `networks.DissimilarityNetwork`.
      reference: (N, 3) mean shape of the training faces, head frame. It gives every result its
        orientation and its handedness, which MDS leaves open, and nothing else.
      config: the static part.
    """

    autoencoder: Any
    dissimilarity: Any
    reference: jax.Array
    config: Config = dataclasses.field(metadata={"static": True})


@functools.partial(jax.jit, static_argnames="config")
def init(config: Config, key: jax.Array) -> Params:
    """Fresh random networks for a configuration, and a zero reference shape."""
    num_landmarks = topologies.get(config.topology).num_landmarks
    autoencoder_key, dissimilarity_key = jax.random.split(key)
    pair = jnp.zeros((1, num_landmarks, num_landmarks, FEATURE_SIZES["paper"]))
    if config.features != "identity":
        pair = pair[:, :1, :1, : FEATURE_SIZES[config.features]]
    x2d = jnp.zeros((1, num_landmarks, 2))
    return Params(
        Autoencoder(num_landmarks).init(autoencoder_key, x2d),
        dissimilarity_network(config).init(dissimilarity_key, pair),
        jnp.zeros((num_landmarks, 3)),
        config,
    )


def dissimilarity_network(config: Config) -> DissimilarityNetwork:
    """The second network of a configuration."""
    knows = config.features == "identity"
    return DissimilarityNetwork(topologies.get(config.topology).num_landmarks if knows else 0)


def count(autoencoder: Any, dissimilarity: Any) -> int:
    """Parameters as Table 2 counts them.

    The moving statistics of the second network count and those of the first do not: that is how the
    paper arrives at 27,505.
    """
    return count_parameters(autoencoder)[0] + count_parameters(dissimilarity)[1]


def to_tree(params: Params) -> dict[str, Any]:
    """The arrays as a weights file holds them."""
    return {"autoencoder": params.autoencoder, "dissimilarity": params.dissimilarity,
            "reference": params.reference}


def from_tree(config: Config, tree: Mapping[str, Any]) -> Params:
    """The parameters whose arrays a weights file holds."""
    return Params(**tree, config=config)


def read_config(metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> Config:
    """The configuration of a weights file; see `config_from_json` for what is raised."""
    del tensors
    # Files of the first development versions hold the options of both variants.
    return config_from_json(Config, metadata, ignored=("variant", "weighted", "observed"))


def load_released(folder: str | os.PathLike, topology: str) -> Params:
    """Loads the networks that the authors of Deep-MDS published (s2kamyab/DeepMDS).

    The files hold no mean shape: the reference that gives orientation and handedness is the mean
    face of the `synthetic` source.

    Args:
      folder: of the authors' .h5 files.
      topology: "bfm72" (trained on the Basel Face Model) or "flame51" (on CoMA).

    Raises:
      ValueError: another topology, or a file that is missing, damaged or not of that network.
    """
    if topology not in _RELEASED:
        raise ValueError(f"topology: the authors released weights for {list(_RELEASED)}, "
                         f"got {topology!r}")
    autoencoder, dissimilarity = (pathlib.Path(folder) / name for name in _RELEASED[topology])
    reference = jnp.asarray(synthetic.load(topology).mean)
    num_landmarks = reference.shape[0]
    return Params(
        autoencoder=read_keras_network(
            autoencoder, Autoencoder(num_landmarks), (num_landmarks, 2), number_layers
        ),
        dissimilarity=read_keras_network(
            dissimilarity, DissimilarityNetwork(), (FEATURE_SIZES["release"],), number_layers
        ),
        reference=standardize(reference),
        config=Config(topology, features="release", y_up=True),
    )
