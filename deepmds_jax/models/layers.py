"""The layers that both Deep-MDS networks are made of, with Keras' defaults of the release."""

import functools

import flax.linen as nn

leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.3)


def batch_norm(train: bool, name: str) -> nn.BatchNorm:
    """Batch statistics over all axes but the last while training, else the moving ones."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.99, epsilon=1e-3, name=name)
