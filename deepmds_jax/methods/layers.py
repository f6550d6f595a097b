"""Layers with Keras' defaults, which the release of Deep-MDS uses, and a typed `apply`."""

import functools
from typing import Any

import flax.linen as nn

leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.3)


def batch_norm(train: bool, name: str) -> nn.BatchNorm:
    """Batch statistics over all axes but the last while training, else the moving ones."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.99, epsilon=1e-3, name=name)


def apply_network(network: nn.Module, variables: Any, *inputs: Any) -> Any:
    """The outputs of a Flax module whose variables stay as they are."""
    return network.apply(variables, *inputs)
