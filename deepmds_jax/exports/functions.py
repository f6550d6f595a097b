"""What can be exported: functions of plain arrays, with what a reader has to know of them."""

import dataclasses
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import mds, topologies
from deepmds_jax.data.sources import synthetic
from deepmds_jax.lifting import lifting_method, reconstruct_detailed
from deepmds_jax.methods.contract import MIN_LANDMARKS, Params

_TRANSFORMS = ("ratio", "interval", "ordinal")
# In the order of the outputs.
_OF_FACES = ("points", "std", "rotation", "angle_std", "converged")
_OF_FACES_WITHOUT_STD = ("points", "stress", "converged")
_NUM_SAMPLES, _FEW_SAMPLES = 1000, 100  # few of what takes long


@dataclasses.dataclass(frozen=True)
class Smacof:
    """`mds.smacof` for problems of one size, to be exported.

    Attributes:
      transform: "ratio", "interval" or "ordinal".
      num_points: of each problem.
      num_dims: of the embedding.

    Raises:
      ValueError: an unknown transform, or fewer points than `mds.smacof` takes.
    """

    transform: str
    num_points: int
    num_dims: int = 2

    def __post_init__(self):
        if self.transform not in _TRANSFORMS:
            raise ValueError(f"smacof: expected one of {_TRANSFORMS}, got {self.transform!r}")
        if self.num_dims < 1:
            raise ValueError(f"dims: expected 1 or more, got {self.num_dims}")
        if self.num_points <= self.num_dims:
            raise ValueError(f"num_points: expected more than {self.num_dims}, the dimensions, got "
                             f"{self.num_points}")


@dataclasses.dataclass(frozen=True)
class Exported:
    """A function of plain arrays.

    Attributes:
      name: of the files.
      of_one: of the arrays of `inputs`, of one item, to arrays by name, whose order is that of the
        outputs in an `OrderedDict`: JAX sorts a dict; pure.
      inputs: shape and dtype of each argument, by name and in order.
      unit_of: the unit in which errors of an output count, from its name and all outputs.
      samples: inputs to try it on, `count` items of each.
      num_samples: how many to try it on.
      max_error: how far results may be from JAX's, in their units, unless rounding makes more of
        a difference to JAX itself.
      one_by_one: whether each item takes many iterations, another number for each: a batch in
        lockstep would wait for its slowest.
      metadata: what a reader has to know, by name.
    """

    name: str
    of_one: Callable[..., dict[str, jax.Array]]
    inputs: Mapping[str, tuple[tuple[int, ...], Any]]
    unit_of: Callable[[str, Mapping[str, np.ndarray]], np.ndarray | float]
    samples: Callable[[int], dict[str, np.ndarray]]
    metadata: Mapping[str, str]
    num_samples: int
    max_error: float = 1e-4
    one_by_one: bool = False

    def specs(self, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of the arguments, for a batch of this length, which may be symbolic."""
        return {name: jax.ShapeDtypeStruct((batch, *shape), dtype)
                for name, (shape, dtype) in self.inputs.items()}

    def function(self, *arrays: jax.Array) -> dict[str, jax.Array]:
        """The function of a batch: all arrays have a leading axis."""
        if arrays[0].shape[0] == 1:  # less to compute without the axis
            found = self.of_one(*(array[0] for array in arrays))
            return jax.tree.map(lambda array: array[None], found)
        return jax.vmap(self.of_one)(*arrays)


def lifting(params: Params, name: str, description: Mapping[str, Any]) -> Exported:
    """`reconstruct` with fixed parameters: x2d and, where the method takes it, visible -> results.

    Args:
      params: of a method that lifts landmarks.
      name: of the files.
      description: of the weights: data and licence.

    Raises:
      ValueError: they are of no such method.
    """
    method = lifting_method(params)
    topology = topologies.get(params.config.topology)
    num = topology.num_landmarks

    def of_one(x2d, visible=None) -> OrderedDict[str, jax.Array]:
        found = reconstruct_detailed(params, x2d, visible)
        fields = _OF_FACES_WITHOUT_STD if found.std is None else _OF_FACES
        return OrderedDict((field, getattr(found, field)) for field in fields)

    inputs: dict[str, Any] = {"x2d": ((num, 2), jnp.float32)}
    if method.TAKES_VISIBLE:
        inputs["visible"] = ((num,), jnp.bool_)
    metadata = {
        "function": f"{num} landmarks of a face in an image -> their 3D shape, by {method.TITLE}",
        "topology": topology.name,
        "landmarks": " ".join(topology.landmarks),
        "frame": "points and std: head frame, x right, y down, z away from the viewer, frontal, "
                 "centred; rotation turns its column vectors into the camera frame; x2d: x right, "
                 "y down",
        "units": "points and std: root-mean-square distance of the landmarks to their centroid; "
                 "x2d: any, such as pixels; angle_std: degrees of yaw, pitch and roll",
        "licence": "Apache-2.0, as far as that of the training data allows: "
                   f"{description.get('data_licence', 'not stated')}",
        "data": str(description.get("data", "not stated")),
    }
    return Exported(
        name, of_one, inputs,
        lambda output, found: np.rad2deg(1.0) if output == "angle_std" else 1.0,
        lambda count: {field: array for field, array in _faces(params, count).items()
                       if field in inputs}, metadata, **_costs(params.config))


def scaling(problem: Smacof) -> Exported:
    """`mds.smacof` of one size of problems: dissimilarities -> embedding, stress, converged."""
    n, dims = problem.num_points, problem.num_dims

    def of_one(dissimilarities):
        found = mds.smacof(dissimilarities, num_dims=dims, transform=problem.transform)
        return OrderedDict(embedding=found.embedding, stress=found.stress,
                           converged=found.converged, disparities=found.disparities)

    metadata = {
        "function": f"dissimilarities of {n} things -> {n} points in {dims} dimensions, by SMACOF "
                    f"with the transform {problem.transform!r}",
        "topology": "none",
        "frame": "embedding: centred; turned and mirrored as it comes",
        "units": "embedding and disparities: " + (
            "that of the dissimilarities" if problem.transform == "ratio" else
            "none, the root-mean-square distance is 1"),
        "licence": "Apache-2.0",
        "data": "none",
    }
    return Exported(
        f"smacof_{problem.transform}_{n}x{dims}", of_one,
        {"dissimilarities": ((n, n), jnp.float32)},
        lambda output, found: 1.0 if output == "stress" else np.sqrt(
            np.mean(np.sum(found["embedding"]**2, -1), -1)),
        lambda count: {"dissimilarities": _dissimilarities(n, dims, count)}, metadata,
        # Its solutions are determined by the solver's tolerance, of which this is five times.
        max_error=1e-3, **_costs(problem))


def _costs(options: Any) -> dict[str, Any]:
    ordinal = getattr(options, "transform", None) == "ordinal"
    return {"num_samples": _FEW_SAMPLES if ordinal else _NUM_SAMPLES, "one_by_one": ordinal}


def file_name(text: str) -> str:
    """A name for files from the text that names weights."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", text.rstrip("/").rpartition("/")[2])
    return stem.removesuffix(".safetensors") or "weights"


def _faces(params: Params, count: int) -> dict[str, np.ndarray]:
    """Views of made-up faces, a third of them with missing landmarks, some with none of a face."""
    rng = np.random.default_rng(0)
    shapes = _shapes(params, rng, count)
    angles = rng.uniform(-1, 1, (3, count)) * np.deg2rad([[50.0], [25.0], [20.0]])
    (a, b, c), (d, e, f) = np.cos(angles), np.sin(angles)
    zero, one = np.zeros(count), np.ones(count)
    yaw, pitch, roll = (np.moveaxis(np.array(rows), -1, 0) for rows in (
        [[a, zero, d], [zero, one, zero], [-d, zero, a]],
        [[one, zero, zero], [zero, b, -e], [zero, e, b]],
        [[c, -f, zero], [f, c, zero], [zero, zero, one]]))
    posed = shapes @ (roll @ pitch @ yaw).swapaxes(1, 2)
    distance = rng.uniform(4, 40, (count, 1, 1))
    x2d = posed[..., :2] / (1 + posed[..., 2:] / distance)
    x2d = x2d * rng.uniform(20, 400, (count, 1, 1)) + rng.uniform(0, 2000, (count, 1, 2))
    num = x2d.shape[1]
    missing = np.where(rng.random((count, 1)) < 1 / 3, rng.uniform(0, 0.5, (count, 1)), 0)
    visible = rng.random((count, num)) >= missing
    x2d[~visible] = rng.choice([0.0, 1e6, np.nan], int(np.sum(~visible)))[:, None]
    visible[1 % count], x2d[1 % count] = True, 7.0  # all equal
    visible[2 % count, MIN_LANDMARKS - 1:] = False
    x2d[3 % count, :, 0] *= -1  # mirrored
    x2d[4 % count, 0] = np.nan
    visible[4 % count, 0] = True
    if not lifting_method(params).TAKES_VISIBLE:
        first = np.argmax(visible, axis=1)
        x2d = np.where(visible[..., None], x2d, x2d[np.arange(count), first][:, None])
    return {"x2d": x2d.astype(np.float32), "visible": visible}


def _shapes(params: Params, rng: np.random.Generator, count: int) -> np.ndarray:
    """Faces (count, N, 3) of size 1."""
    try:
        model = synthetic.load(params.config.topology)
        mean, modes = np.asarray(model.mean, float), np.asarray(model.identity, float)
        shapes = mean + np.einsum("fk,kid->fid", rng.standard_normal((count, len(modes))), modes)
    except ValueError:  # not of a face, or of landmarks that the made-up one lacks
        mean = np.asarray(params.reference, float)
        shapes = mean + 0.05 * rng.standard_normal((count, *mean.shape))
    shapes = shapes - shapes.mean(1, keepdims=True)
    return shapes / np.sqrt(np.mean(np.sum(shapes**2, -1), -1))[:, None, None]


def _dissimilarities(num_points: int, num_dims: int, count: int) -> np.ndarray:
    """Distances (count, n, n) in as many dimensions, with errors of a tenth."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((count, num_points, num_dims))
    apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    error = np.triu(0.1 * rng.standard_normal(apart.shape), 1)
    return (apart * np.exp(error + error.swapaxes(1, 2))).astype(np.float32)
