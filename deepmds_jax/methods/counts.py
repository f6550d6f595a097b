"""How many parameters a network has learnt."""

from typing import Any

import jax


def count_parameters(variables: Any) -> tuple[int, int]:
    """Trainable parameters, and all numbers, of Flax variables or of their shapes."""

    def count(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    return count(variables["params"]), count(variables)
