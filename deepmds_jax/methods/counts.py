"""How many parameters a method has learnt, as Table 2 of the paper counts them."""

from typing import Any

import jax


def count_parameters(variables: Any) -> tuple[int, int]:
    """Trainable parameters, and all numbers, of Flax variables or of their shapes."""

    def size(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    return size(variables["params"]), size(variables)


def count_deep_mds(autoencoder: Any, dissimilarity: Any) -> int:
    """The autoencoder's trainable parameters and all numbers of the dissimilarity network.

    The moving statistics of the second network count and those of the first do not: so the paper
    comes to 27,505.
    """
    return count_parameters(autoencoder)[0] + count_parameters(dissimilarity)[1]
