"""The networks, as Flax modules: Deep-MDS' two, and those that it is compared with."""

from deepmds_jax.models.autoencoder import Autoencoder
from deepmds_jax.models.dissimilarity import FEATURE_SIZES, DissimilarityNetwork, pair_features
from deepmds_jax.models.encoder import Proposal, ShapeEncoder
from deepmds_jax.models.mobileface import MobileFace
from deepmds_jax.models.pairs import PairEstimate, PairNetwork
from deepmds_jax.models.zhao import ZhaoNetwork, zhao_normalize

__all__ = [
    "FEATURE_SIZES",
    "Autoencoder",
    "DissimilarityNetwork",
    "MobileFace",
    "PairEstimate",
    "PairNetwork",
    "Proposal",
    "ShapeEncoder",
    "ZhaoNetwork",
    "pair_features",
    "zhao_normalize",
]
