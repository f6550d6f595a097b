"""MobileFace, which the paper compares with: from a photograph to morphable-model coefficients."""

import flax.linen as nn
import jax

from deepmds_jax.models.layers import batch_norm

IMAGE_SIZE = 96

# Output channels of the pointwise convolutions at width 1, and the stride of each block.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)
_WIDTH = 0.3125


class MobileFace(nn.Module):
    """Maps photographs of faces to coefficients of a morphable model.

    MobileNet v1 of width 0.3125 without its classifier, flattened, then one dense layer. Called on
    (B, 96, 96, 3) float RGB in [0, 1]; returns (B, K): coefficients in standard deviations.

    Source: the release of Kamyab & Azimifar (2022), after Howard et al. (2017), "MobileNets",
    arXiv:1704.04861. 900,979 trainable parameters for K = 199.

    Attributes:
      num_coefficients: K.
    """

    num_coefficients: int

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        def convolve(x, name, channels, size, stride=1, groups=1):
            # A stride of 2 pads below and to the right only, as Keras does.
            before = (size - stride) // 2
            padding = ((before, size - stride - before),) * 2
            x = nn.Conv(channels, (size, size), stride, padding, feature_group_count=groups,
                        use_bias=False, name=name)(x)
            return nn.relu6(batch_norm(train, f"{name}_norm")(x))

        x = convolve(images, "conv", int(32 * _WIDTH), 3, stride=2)
        for i, (channels, stride) in enumerate(_BLOCKS, start=1):
            inputs = x.shape[-1]
            x = convolve(x, f"depthwise{i}", inputs, 3, stride, groups=inputs)
            x = convolve(x, f"pointwise{i}", int(channels * _WIDTH), 1)
        return nn.Dense(self.num_coefficients, name="dense")(x.reshape(*x.shape[:-3], -1))
