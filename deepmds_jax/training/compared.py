"""Training of the networks that Deep-MDS is compared with: a stage for each."""

import jax
import jax.numpy as jnp
import optax

from deepmds_jax.data.dense import DenseModel
from deepmds_jax.data.rendering import Appearance, render
from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import centre, rotation_from_angles
from deepmds_jax.models import MobileFace, ZhaoNetwork, zhao_normalize
from deepmds_jax.training.stages import Stage, take_rows


def zhao_stage(faces: Faces, learning_rate: float, faces_per_step: int = 16) -> Stage:
    """Normalised landmarks -> their depths as seen from the view, in the scale of the landmarks.

    The depths are those of the true shape turned as the view turns it, so that the observed x and
    y and the estimated z are one shape, posed as in the image; perspective changes x and y only.
    They are centred and divided by what `zhao_normalize` divides x and y by. Mean squared error by
    RMSprop with Keras' defaults; the minibatch is the autoencoder's: the sources give none. The
    network's tanh does not answer beyond -1 and 1: in the paper's views 2 to 3 % of the depths of
    `synthetic` are, those of the jaw and the ears seen from the side, and it stays short of them.

    Source: Zhao, Wang & Martinez (2017), arXiv:1609.09058, section 2; the release of Kamyab &
    Azimifar.

    Raises:
      ValueError: the view of the faces is not known.
    """
    if faces.view is None:
        raise ValueError("method zhao: it is trained on faces whose view is known; photographs "
                         "are for testing")
    num_faces, num_landmarks, _ = faces.x2d.shape
    data = (zhao_normalize(faces.x2d), zhao_depths(faces))
    # Of optax' options these are Keras'.
    optimizer = optax.rmsprop(learning_rate, decay=0.9, eps=1e-7, eps_in_sqrt=False)
    return Stage("zhao", ZhaoNetwork(num_landmarks).apply, optimizer, data, num_faces,
                 faces_per_step, take_rows)


@jax.jit
@jax.default_matmul_precision("highest")
def zhao_depths(faces: Faces) -> jax.Array:
    """Depths (F, N) of the shapes as seen, away from the viewer, scaled as `zhao_normalize` does.

    Args:
      faces: with their points and view.
    """
    view = faces.view
    rotation = rotation_from_angles(view.yaw, view.pitch, view.roll)
    depths = jnp.einsum("fnd,fd->fn", centre(faces.points), rotation[:, 2]) * view.scale[:, None]
    return depths / jnp.sum(jnp.std(faces.x2d, axis=-2), axis=-1)[:, None]


def mobileface_stage(
    dense: DenseModel,
    faces: Faces,
    appearance: Appearance,
    learning_rate: float,
    faces_per_step: int = 16,
) -> Stage:
    """Photographs, drawn in the step that needs them -> coefficients of the dense model.

    The loss is the mean squared difference of the coordinates of all vertices, in units of the
    model's own variation (1 for the mean face, on average), so that a coefficient counts as much
    as it moves the surface. It is a quadratic form of the coefficients' errors, and no surface is
    computed. Adam.

    Source: Chinaev, Chigorin & Laptev (2018), "MobileFace: 3D face reconstruction with efficient
    CNN regression", arXiv:1809.08809; the release of Kamyab & Azimifar.

    Args:
      dense: the model that the faces are of.
      faces: with identity, expression and view.
      appearance: of each face.
      learning_rate: Adam's.
      faces_per_step: pictures of a minibatch.
    """
    num_faces, num_coefficients = faces.identity.shape
    pictured = (faces.identity, faces.expression, appearance, faces.view)
    gram = _gram(dense.shape.identity)

    def minibatch(data, rows, key):
        dense, pictured = data
        identity, *others = take_rows(pictured, rows, key)
        return render(dense, identity, *others), identity

    def loss(outputs, targets):
        errors = outputs - targets
        return jnp.mean(jnp.sum(errors @ gram * errors, axis=-1))

    # On CPU, XLA's convolutions take four times as long within a loop: a step at a time.
    return Stage("mobileface", MobileFace(num_coefficients).apply, optax.adam(learning_rate),
                 (dense, pictured), num_faces, faces_per_step, minibatch, loss, max_chunk=1)


@jax.jit
@jax.default_matmul_precision("highest")
def _gram(identity: jax.Array) -> jax.Array:
    """Products (K, K) of the (K, V, 3) modes, their trace 1."""
    modes = identity.reshape(identity.shape[0], -1)
    gram = modes @ modes.T
    return gram / jnp.trace(gram)
