"""Parameter counts of the networks, beside Table 2 of the paper."""

import jax
import jax.numpy as jnp

from deepmds_jax import topologies
from deepmds_jax.methods import anchored
from deepmds_jax.methods.counts import count_parameters
from deepmds_jax.methods.deep_mds.networks import FEATURE_SIZES, Autoencoder, DissimilarityNetwork
from deepmds_jax.methods.deep_mds.parameters import count
from deepmds_jax.methods.mobileface import IMAGE_SIZE, MobileFace
from deepmds_jax.methods.zhao import ZhaoNetwork

# Table 2 is for 72 landmarks; MobileFace predicts the 199 coefficients of the Basel Face Model.
_PAPER = {
    ("Deep-MDS, release features", 72): 27_505,
    ("Zhao et al.", 72): 114_840,
    ("MobileFace", None): 900_979,
}
_NUM_COEFFICIENTS = 199


def parameter_rows() -> list[dict]:
    """Parameter counts, a row per network and topology.

    Rows have "network", "N" (landmarks; None for MobileFace, which has none), "trainable", "all",
    "as Table 2" (counted as the paper does: trainable parameters, but for the dissimilarity network
    also the moving statistics) and "paper" (what Table 2 prints; None where it has no such row).
    """
    rows = []

    def add(network, num_landmarks, trainable, total, counted):
        rows.append({
            "network": network, "N": num_landmarks, "trainable": trainable, "all": total,
            "as Table 2": counted, "paper": _PAPER.get((network, num_landmarks)),
        })

    def shapes(network, *size):
        inputs = jax.ShapeDtypeStruct((1, *size), jnp.float32)
        return jax.eval_shape(network.init, jax.random.key(0), inputs)

    dissimilarity = {kind: shapes(DissimilarityNetwork(), FEATURE_SIZES[kind])
                     for kind in ("paper", "release")}
    for name, topology in topologies.TOPOLOGIES.items():
        n = topology.num_landmarks
        config = anchored.Config(name)
        params = jax.eval_shape(lambda key, c=config: anchored.init(c, key), jax.random.key(0))
        encoder, pairs = map(count_parameters, (params.encoder, params.pairs))
        both = (encoder[0] + pairs[0], encoder[1] + pairs[1])
        add("Deep-MDS, anchored", n, *both, both[1])
        autoencoder = shapes(Autoencoder(n), n, 2)
        frontal = count_parameters(autoencoder)
        add("autoencoder", n, *frontal, frontal[0])
        for kind, network in dissimilarity.items():
            distance = count_parameters(network)
            add(f"dissimilarity, {kind} features", n, *distance, distance[1])
            both = (frontal[0] + distance[0], frontal[1] + distance[1])
            add(f"Deep-MDS, {kind} features", n, *both, count(autoencoder, network))
        zhao = count_parameters(shapes(ZhaoNetwork(n), n, 2))
        add("Zhao et al.", n, *zhao, zhao[0])
    mobileface = shapes(MobileFace(_NUM_COEFFICIENTS), IMAGE_SIZE, IMAGE_SIZE, 3)
    mobileface = count_parameters(mobileface)
    add("MobileFace", None, *mobileface, mobileface[0])
    return rows
