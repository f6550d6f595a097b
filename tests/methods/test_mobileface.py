import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax.models import MobileFace
from deepmds_jax.weights.keras import load_released_mobileface


def test_has_the_published_size():
    shapes = jax.eval_shape(MobileFace(199).init, jax.random.key(0), jnp.zeros((1, 96, 96, 3)))
    size = {k: sum(leaf.size for leaf in jax.tree.leaves(v)) for k, v in shapes.items()}
    assert size == {"params": 900_979, "batch_stats": 6_840}


def test_released_network_agrees_with_keras(shared):
    # Waves of colour, whose outputs keras.applications.MobileNet(alpha=0.3125) of Keras 3.11, with
    # the released weights, flattened and followed by their dense layer, gave for the coefficients
    # 0 to 5, once as they are and once upside down; 126 is the largest of all outputs.
    row, column, channel = np.ogrid[:96, :96, :3]
    waves = 0.5 + 0.5 * np.sin(7 * row / 96 + (3 + channel) * column / 96 + channel)
    images = np.stack([waves, waves[::-1]]).astype(np.float32)
    expected = [
        [4.332824, 4.245529, -4.045055, 0.512449, -12.755255, -7.777031],
        [6.871993, 5.297009, -1.101516, 0.314100, -11.620673, -11.828268],
    ]
    variables = load_released_mobileface(shared / "data" / "authors_release")
    outputs = MobileFace(199).apply(variables, images)
    assert outputs.shape == (2, 199)
    np.testing.assert_allclose(outputs[:, :6], expected, atol=2e-4)
    np.testing.assert_allclose(np.abs(outputs).max(), 126.623695, atol=1e-3)


def test_training_uses_batch_statistics_and_moves_the_running_ones():
    network = MobileFace(3)
    key = jax.random.key(0)
    images = jax.random.uniform(key, (4, 96, 96, 3))
    variables = network.init(key, images)
    outputs, changed = network.apply(variables, images, train=True, mutable=["batch_stats"])
    # Other pictures in the batch change the output of the first one only while training.
    fewer, _ = network.apply(variables, images[:2], train=True, mutable=["batch_stats"])
    assert np.abs(outputs[0] - fewer[0]).max() > 1e-3
    np.testing.assert_allclose(
        network.apply(variables, images)[0], network.apply(variables, images[:2])[0], atol=1e-5
    )
    mean = changed["batch_stats"]["conv_norm"]["mean"]
    assert mean.shape == (10,)
    assert np.abs(mean).max() > 0
