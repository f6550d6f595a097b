"""Parameter counts of the networks, beside Table 2 of the paper."""

import jax
import jax.numpy as jnp

from deepmds_jax import topologies
from deepmds_jax.models import FEATURE_SIZES, Autoencoder, DissimilarityNetwork, ZhaoNetwork

# Table 2 counts the autoencoder's trainable parameters and all of the dissimilarity network's.
_PAPER = {("Deep-MDS, release features", 72): 27_505, ("Zhao et al.", 72): 114_840}


def count(variables) -> tuple[int, int]:
    """Trainable parameters, and all numbers, of (shapes of) Flax variables."""
    def size(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    return size(variables["params"]), size(variables)


def parameter_rows() -> list[dict]:
    """A row per network and topology: trainable, all, and what Table 2 prints.

    "as Table 2" adds the autoencoder's trainable parameters to all numbers of the dissimilarity
    network, moving statistics included, which is how the paper comes to 27,505.
    """
    rows = []

    def add(network, num_landmarks, trainable, total, counted):
        rows.append({
            "network": network, "N": num_landmarks, "trainable": trainable, "all": total,
            "as Table 2": counted, "paper": _PAPER.get((network, num_landmarks)),
        })

    key = jax.random.key(0)
    for topology in topologies.TOPOLOGIES.values():
        n = topology.num_landmarks
        landmarks = jnp.zeros((1, n, 2))
        frontal = count(jax.eval_shape(Autoencoder(n).init, key, landmarks))
        add("autoencoder", n, *frontal, frontal[0])
        for kind, size in FEATURE_SIZES.items():
            pair = jnp.zeros((1, size))
            distance = count(jax.eval_shape(DissimilarityNetwork().init, key, pair))
            add(f"dissimilarity, {kind} features", n, *distance, distance[1])
            both = (frontal[i] + distance[i] for i in range(2))
            add(f"Deep-MDS, {kind} features", n, *both, frontal[0] + distance[1])
        zhao = count(jax.eval_shape(ZhaoNetwork(n).init, key, landmarks))
        add("Zhao et al.", n, *zhao, zhao[0])
    return rows
