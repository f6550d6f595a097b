"""The networks, as Flax modules: Deep-MDS' two, and Zhao's to compare with."""

from deepmds_jax.models.autoencoder import Autoencoder
from deepmds_jax.models.dissimilarity import FEATURE_SIZES, DissimilarityNetwork, pair_features
from deepmds_jax.models.zhao import ZhaoNetwork

__all__ = [
    "FEATURE_SIZES",
    "Autoencoder",
    "DissimilarityNetwork",
    "ZhaoNetwork",
    "pair_features",
]
