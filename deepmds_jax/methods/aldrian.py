"""Morphable-model fitting to landmarks, after Aldrian & Smith (2013).

"Inverse rendering of faces with a 3D morphable model", IEEE TPAMI 35(5), section 3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import centre, size
from deepmds_jax.methods.arguments import require_model
from deepmds_jax.methods.contract import Method
from deepmds_jax.methods.observed import observed

# `sample_coefficients` draws expression weights as products of two of U[0, 1].
_EXPRESSION_MEAN, _EXPRESSION_STD = 1 / 4, (1 / 9 - 1 / 16) ** 0.5
# The noise by default. Where a model made the faces, only the affine camera is wrong; elsewhere the
# landmarks are too, and the face is not in the model.
_NOISE_OF_MODEL, _NOISE_ELSEWHERE = 1e-3, 1e-2


class Fit(NamedTuple):
    """A morphable model fitted to landmarks.

    Attributes:
      points: (..., N, 3) the fitted shapes, head frame, the model's unit, centred.
      coefficients: (..., K) in standard deviations; expression modes, if any, after identity.
      camera: (..., 2, 3) affine: centred landmarks over their root-mean-square distance to the
        centroid, from centred shapes in the model's unit.
    """

    points: jax.Array
    coefficients: jax.Array
    camera: jax.Array


def aldrian(
    model: MorphableModel, noise: float = 0.01, num_iters: int = 5, expression: bool = False
) -> Method:
    """The shape of a morphable model that fits the landmarks through an affine camera.

    Nothing is learnt but the model. The points are in the head frame and the model's unit.
    See `fit_shape`.
    """

    def predict(faces: Faces) -> jax.Array:
        return fit_shape(model, faces.x2d, noise, num_iters, expression).points

    return Method("Aldrian & Smith", predict, 0)


def load(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    """The loader of `aldrian`: `argument` is its noise."""
    exact = isinstance(dataset.source, MorphableModel) and not dataset.spec.noise
    noise = _NOISE_OF_MODEL if exact and reference is dataset else _NOISE_ELSEWHERE
    if argument:
        try:
            noise = float(argument)
        except ValueError as error:
            raise ValueError(f"aldrian: noise: expected a number, got {argument!r}") from error
        if not noise > 0:
            raise ValueError(f"aldrian: noise: expected a number above 0, got {argument}")
    model = require_model("aldrian", reference)
    return aldrian(model, noise, expression=reference.spec.expression)


def load_observed(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    """The loader of `aldrian_observed`: that fit with the observed x and y."""
    return observed(load(argument, dataset, reference))


@jax.default_matmul_precision("highest")
def fit_shape(
    model: MorphableModel, x2d: jax.Array, noise: float, num_iters: int, expression: bool = False
) -> Fit:
    """Maximum a posteriori coefficients of a morphable model, and the affine camera.

    Minimises |x2d - camera(shape(b))|^2 / noise^2 + |b|^2 over both. The paper alternates the
    camera of fixed coefficients with the coefficients of a fixed camera, each a linear problem.
    That converges to the same point as the joint Gauss-Newton steps taken here, but takes
    thousands of rounds instead of a few: scale and shear of the camera can stand in for much of the
    shape.
    Starts at the mean face and the camera that fits it.

    Args:
      model: the model.
      x2d: (..., N, 2) float, x right and y down, any unit.
      noise: standard deviation of a landmark coordinate about the model's, in units of the
        landmarks' root-mean-square distance to their centroid: what the detector gets wrong and
        what the model or the affine camera cannot show. Above 0; for landmarks made by the model
        itself with an affine camera about 1e-5, and 1e-7 in float64, which many modes seen from the
        front need: only x and y determine their depth.
      num_iters: Gauss-Newton steps.
      expression: whether expression modes take part, with the mean and variance that
        `sample_coefficients` draws.

    Returns:
      A `Fit`; NaN for a face whose landmarks are not finite or all equal.

    Raises:
      ValueError: noise or num_iters not above 0, or landmarks of another topology.
    """
    if noise <= 0 or num_iters <= 0:
        raise ValueError(f"noise, num_iters: expected numbers above 0, got {noise}, {num_iters}")
    if x2d.shape[-2:] != (*model.mean.shape[:1], 2):
        raise ValueError(f"x2d: expected (..., {model.mean.shape[0]}, 2) for topology "
                         f"{model.topology}, got {x2d.shape}")
    mean, modes = model.mean, model.identity
    if expression:
        mean = mean + _EXPRESSION_MEAN * model.expression.sum(axis=0)
        modes = jnp.concatenate([modes, _EXPRESSION_STD * model.expression])
    mean, modes = centre(mean), centre(modes)
    unit = size(mean)
    mean, modes = mean / unit, modes / unit
    image = centre(x2d)
    image = image / size(image)[..., None, None]
    num_modes = modes.shape[0]
    batch = x2d.shape[:-2]

    def step(state, _):
        camera, coefficients = state
        shape = mean + jnp.einsum("...k,knd->...nd", coefficients, modes)
        by_camera = jnp.einsum("...nd,ef->...nefd", shape, jnp.eye(2, dtype=shape.dtype))
        by_camera = by_camera.reshape(*batch, image[..., 0].shape[-1] * 2, 6)
        by_coefficients = jnp.einsum("knd,...ed->...nek", modes, camera)
        by_coefficients = by_coefficients.reshape(*batch, -1, num_modes)
        residual = (image - shape @ camera.mT).reshape(*batch, -1)
        prior = jnp.eye(num_modes, 6 + num_modes, k=6, dtype=shape.dtype) * noise
        prior = jnp.broadcast_to(prior, (*batch, *prior.shape))
        rows = jnp.concatenate([by_camera, by_coefficients], axis=-1)
        change = _least_squares(
            jnp.concatenate([rows, prior], axis=-2),
            jnp.concatenate([residual, -noise * coefficients], axis=-1),
        )
        camera = camera + change[..., :6].reshape(camera.shape)
        return (camera, coefficients + change[..., 6:]), None

    # The axes of a mean face are far from dependent: three by three normal equations suffice.
    camera = jnp.linalg.solve(mean.T @ mean, mean.T @ image).mT
    start = camera, jnp.zeros((*batch, num_modes), mean.dtype)
    (camera, coefficients), _ = jax.lax.scan(step, start, length=num_iters)
    points = unit * (mean + jnp.einsum("...k,knd->...nd", coefficients, modes))
    return Fit(points, coefficients, camera / unit)


def _least_squares(a: jax.Array, b: jax.Array) -> jax.Array:
    """x (..., n) of least |a x - b| for (..., m, n) and (..., m), n <= m, of nearly full rank.

    Normal equations square the condition number, which float32 cannot bear here, and batched QR is
    slow on CPU. A shifted Cholesky factor makes the columns nearly orthonormal first; the normal
    equations of those are benign.

    Source: Fukaya et al. (2020), "Shifted Cholesky QR for computing the QR factorization of
    ill-conditioned matrices", SIAM J. Sci. Comput. 42(1).
    """
    norms = jnp.sqrt(jnp.sum(a**2, axis=-2, keepdims=True))
    a = a / norms
    num_columns = a.shape[-1]
    shift = num_columns * jnp.finfo(a.dtype).eps * jnp.eye(num_columns, dtype=a.dtype)
    first = jnp.linalg.cholesky(a.mT @ a + shift)
    near = jax.scipy.linalg.solve_triangular(first, a.mT, lower=True)  # (..., n, m)
    second = jnp.linalg.cholesky(near @ near.mT)
    x = jax.scipy.linalg.cho_solve((second, True), near @ b[..., None])
    return (jax.scipy.linalg.solve_triangular(first, x, lower=True, trans="T") / norms.mT)[..., 0]
