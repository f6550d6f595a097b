"""Batches of problems and faces, some of them bad, and what may come out."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.optimize import isotonic_regression

from deepmds_jax import mds
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.methods.saved import load_pretrained

MAX_SECONDS = 300  # of a batch: the first one compiles
BATCH, N, K = 64, 12, 2
SOLVED = (mds.Status.CONVERGED, mds.Status.STEP_LIMIT)
LARGE, TINY = np.float32(1e38), np.float32(1e-42)


class Kind(NamedTuple):
    """A kind of input.

    Attributes:
      solve: (BATCH, ...) arrays -> arrays by name, (BATCH, ...); inside jit.
      draw: ordinary inputs.
      spoils: ways to spoil one row, a function of the rng and the row, and whether it must then be
        refused, True or False, or may be either, None.
      check: of an input row and its results by name, what is wrong; only where not refused.
    """

    solve: Callable[[Any], dict[str, jax.Array]]
    draw: Callable[[np.random.Generator], np.ndarray]
    spoils: dict[str, tuple[Callable, bool | None]]
    check: Callable[[np.ndarray, dict[str, np.ndarray]], str]


def try_case(kind: str, number: int, rng: np.random.Generator) -> tuple[int, int, str]:
    """Solves a batch, and the same with bad rows.

    Returns:
      How many rows were solved, how many refused by NaN or a status, and what else happened.
    """
    chosen = kinds()[kind]
    given = chosen.draw(rng)
    spoilt, done = given.copy(), dict[int, str]()
    for row in rng.choice(BATCH, rng.integers(1, BATCH // 2), replace=False):
        name = list(chosen.spoils)[rng.integers(len(chosen.spoils))]
        spoilt[row] = chosen.spoils[name][0](rng, spoilt[row].copy())
        done[int(row)] = name
    alone, beside = (jax.device_get(chosen.solve(batch)) for batch in (given, spoilt))
    num_refused = 0
    for row in range(BATCH):
        found = {name: np.asarray(array[row]) for name, array in beside.items()}
        if row not in done and any(array[row].tobytes() != found[name].tobytes()
                                   for name, array in alone.items()):
            return 0, 0, f"row {row} has other bits beside bad rows"
        must_refuse = chosen.spoils[done[row]][1] if row in done else False
        wrong, refused = _judge(chosen, spoilt[row], found, must_refuse)
        if wrong:
            return 0, 0, f"row {row}, {done.get(row, 'ordinary')}: {wrong}"
        num_refused += refused
    return BATCH - num_refused, num_refused, ""


def _judge(kind, given, found, must_refuse):
    """What is wrong with a row, and whether it was refused."""
    points, status = found["points"], found.get("status")
    known = np.isfinite(points).all()
    if not known and not np.isnan(points).all():
        return "some of the result is not finite", False
    if status is not None and not known and status in SOLVED:
        return f"NaN with {mds.Status(status).name}", False
    if must_refuse is not None and must_refuse == known and (
            status is None or known == (status in SOLVED)):
        return "accepted" if known else "refused", False
    if status is not None and status not in SOLVED:
        return "", True
    return (kind.check(given, found), False) if known else ("", True)


# Spoils.


def _put(value, symmetric=False):
    """One entry of a row is another."""

    def spoil(rng, row):
        place = tuple(rng.integers(size) for size in row.shape)
        if symmetric:
            i, j = rng.choice(N, 2, replace=False)
            row[j, i] = value
            place = i, j
        row[place] = value
        return row

    return spoil


def _times(factor):
    return lambda _, row: (row / np.float64(np.abs(row).max()) * factor).astype(np.float32)


def _all(value):
    return lambda _, row: np.full_like(row, value)


def _apart(rng, row):
    row[:5, 5:] = row[5:, :5] = np.nan
    return row


def _one_way(rng, row):
    row[tuple(rng.choice(N, 2, replace=False))] += 1
    return row


def _constant(_, row):
    return (1 - np.eye(len(row), dtype=np.float32))


MATRIX = {
    "a pair missing": (_put(np.nan, True), False), "infinite": (_put(np.inf, True), True),
    "a pair of 1e38": (_put(LARGE, True), None), "all to 1e38": (_times(LARGE), None),
    "denormal": (_times(TINY), True), "to 1e-30": (_times(1e-30), False),
    "constant": (_constant, False), "zeros": (_all(0), True), "NaN": (_all(np.nan), True),
    "negative": (_put(-1, True), True), "asymmetric": (_one_way, True),
    "disconnected": (_apart, True),
}


def draw_matrices(rng):
    points = rng.normal(size=(BATCH, N, K))
    exact = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    noise = np.triu(0.1 * rng.normal(size=exact.shape), 1)
    return np.abs(exact + noise + noise.swapaxes(1, 2)).astype(np.float32)


def _pairs(given, points):
    """Dissimilarities and distances of the pairs that are known, float64, the largest being 1."""
    i, j = np.triu_indices(N, 1)
    known = ~np.isnan(given[i, j] + given[j, i])
    largest = np.nanmax(np.abs(given[i, j]).astype(np.float64))
    points = points.astype(np.float64) / largest
    return given[i, j][known] / largest, np.linalg.norm(points[i] - points[j], axis=-1)[known]


def _check_stress(transform, given, found):
    """Kruskal's stress-1 with the best disparities, by NumPy and SciPy in float64."""
    proximities, distances = _pairs(given, found["points"])
    if transform == "ordinal":
        order = np.lexsort((distances, proximities))
        distances = distances[order]
        best = isotonic_regression(distances).x
    elif transform == "interval":
        slope, constant = np.polyfit(proximities, distances, 1) if np.ptp(proximities) else (0, 0)
        if slope <= 0:
            slope, constant = 0, distances.mean()
        best = slope * proximities + constant
    elif transform == "ratio":
        best = proximities * (proximities @ distances) / (proximities @ proximities)
    else:
        best = proximities  # anchored: the dissimilarities themselves
    stress = np.sqrt(np.sum((best - distances) ** 2) / np.sum(distances**2))
    wrong = abs(stress - found["stress"]) > 1e-3 * stress + 1e-4
    return f"stress {found['stress']:.6f}, by NumPy {stress:.6f}" if wrong else ""


def _of(part, spoil):
    """A spoil of the dissimilarities, 0, or of the weights, 1, of a row."""

    def spoil_part(rng, row):
        row[part] = spoil(rng, row[part])
        return row

    return spoil_part


WEIGHTED = {name: (_of(0, spoil), refused) for name, (spoil, refused) in MATRIX.items()} | {
    "a weight of 0": (_of(1, _put(0, True)), False), "no weights": (_of(1, _all(0)), True),
    "weights of 1e38": (_of(1, _times(LARGE)), False),
    "weights of 1e-37": (_of(1, _times(1e-37)), False),
    "a weight of 1e38": (_of(1, _put(LARGE, True)), None),
    "a weight NaN": (_of(1, _put(np.nan, True)), None),
    "a weight infinite": (_of(1, _put(np.inf, True)), True),
    "a weight negative": (_of(1, _put(-LARGE, True)), True),
}


def draw_weighted(rng):
    """(BATCH, 2, N, N) dissimilarities, and weights of any unit."""
    weights = np.triu(rng.uniform(0.5, 1.5, size=(BATCH, N, N)), 1)
    units = 10 ** rng.uniform(-36, 36, size=(BATCH, 1, 1))
    weights = units * (weights + weights.swapaxes(1, 2))
    return np.stack([draw_matrices(rng), weights.astype(np.float32)], axis=1)


def _solve_weighted(batch):
    """With the weights, and the stress with those in a unit near the largest.

    It is a power of two, which rounds nothing: of equal dissimilarities it depends on rounding
    which of many minima is found.
    """
    dissimilarities, weights = batch[:, 0], batch[:, 1]
    _, exponents = jax.numpy.frexp(jax.numpy.max(weights, axis=(1, 2), keepdims=True))
    usual = jax.numpy.ldexp(weights, -exponents)
    found, other = (mds.smacof(dissimilarities, K, transform="ratio", weights=x)
                    for x in (weights, usual))
    return _by_name(found) | {"usual": other.stress}


def _check_weighted(given, found):
    wrong = abs(found["stress"] - found["usual"]) > 1e-3 * found["usual"] + 1e-5
    return f"stress {found['stress']}, with weights up to 1 {found['usual']}" if wrong else ""


def _by_name(result):
    found = {"points": result.embedding, **result._asdict()}
    del found["embedding"]
    return found


def _anchored(batch):
    anchors = np.random.default_rng(7).normal(size=(N, K)).astype(np.float32)
    anchors = jax.numpy.broadcast_to(anchors, (BATCH, N, K))
    return _by_name(mds.smacof_anchored(batch, anchors, jax.numpy.full_like(anchors, 0.1)))


def _check_classical(given, found):
    """The longest axes of the exact solution, by LAPACK in float64."""
    largest = np.abs(given).max()
    matrix = given.astype(np.float64) / largest
    np.fill_diagonal(matrix, 0)
    centre = np.eye(N) - 1 / N
    values = np.linalg.eigvalsh(-centre @ matrix**2 @ centre / 2)[::-1][:K]
    squares = np.sum((found["points"].astype(np.float64) / largest) ** 2, axis=0)
    wrong = np.abs(squares - np.maximum(values, 0)).max() > 1e-3 * abs(values[0])
    return f"axes {squares}, by LAPACK {values}" if wrong else ""


FIXED = np.random.default_rng(8).normal(size=(N, K)).astype(np.float32)


def draw_places(rng):
    new = rng.normal(size=(BATCH, 1, K))
    distances = np.linalg.norm(FIXED - new, axis=-1)
    return (distances * (1 + 0.05 * rng.normal(size=distances.shape))).astype(np.float32)


def _check_place(given, found):
    """No point nearby fits better, in float64."""
    known = ~np.isnan(given)
    target = np.maximum(given[known].astype(np.float64), 0)

    def loss(point):
        return np.sum((target - np.linalg.norm(FIXED[known] - point, axis=-1)) ** 2)

    point, step = found["points"].astype(np.float64), 1e-2 * target.max()
    least = min(loss(point + step * np.array([np.cos(a), np.sin(a)])) for a in range(6))
    return f"loss {loss(point):.6g}, nearby {least:.6g}" if (
        (target > 0).all() and least < (1 - 1e-5) * loss(point)) else ""


def _check_isotonic(given, found):
    error = np.abs(found["points"] - isotonic_regression(given.astype(np.float64)).x).max()
    limit = 1e-5 * np.abs(given).max() + np.finfo(np.float32).tiny  # what is less may become zero
    return f"differs from SciPy by {error:.3g}" if error > limit else ""


@functools.cache
def _flame51():
    return load_pretrained("flame51")


def draw_faces(rng):
    reference = np.asarray(_flame51().reference)
    yaw, roll = rng.uniform(-0.7, 0.7, (2, BATCH, 1))
    shapes = reference + 0.03 * rng.normal(size=(BATCH, *reference.shape))
    x, y, z = np.moveaxis(shapes, -1, 0)
    x = np.cos(yaw) * x + np.sin(yaw) * z
    faces = np.stack([np.cos(roll) * x - np.sin(roll) * y, np.sin(roll) * x + np.cos(roll) * y], -1)
    return (100 * faces + 300).astype(np.float32)


FACES = {
    "NaN": (_put(np.nan), True), "infinite": (_put(np.inf), True), "1e38": (_put(LARGE), None),
    "to 1e38": (_times(LARGE), None), "to 1e-30": (_times(1e-30), None),
    "denormal": (_times(TINY), None), "zeros": (_all(0), True), "equal": (_all(5), True),
    "mirrored": (lambda _, row: row * np.float32([-1, 1]), None),
    "far off": (lambda _, row: row + np.float32(1e9), True),
    "noise": (lambda rng, row: rng.normal(size=row.shape).astype(np.float32), None),
}
SEEN = np.random.default_rng(9).random((BATCH, 51)) < 0.8


def _check_face(_, found):
    points = found["points"].astype(np.float64)
    size = np.sqrt(np.mean(np.sum(points**2, axis=-1)))
    rotation = found["rotation"].astype(np.float64)
    if abs(size - 1) > 1e-3 or np.abs(points.mean(0)).max() > 1e-3:
        return f"size {size}, centroid {points.mean(0)}"
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        return f"no proper rotation: {rotation}"
    return "" if all(np.isfinite(array).all() for array in found.values()) else "not finite"


def _lift(batch, hides=False):
    """Faces; with `hides`, NaN marks hidden landmarks, which must not have any say."""
    seen = SEEN if hides else None
    found = reconstruct_detailed(_flame51(), batch, seen)
    return {name: x for name, x in found._asdict().items() if x is not None}


def _hide(rng):
    faces = draw_faces(rng)
    fill = rng.choice(np.float32([np.nan, np.inf, 1e38, 0]), (BATCH, 51, 1))
    return np.where(SEEN[..., None], faces, fill)


@functools.cache
def kinds() -> dict[str, Kind]:
    """Every kind of input by name."""
    found = {f"smacof, {transform}": Kind(
        jax.jit(lambda batch, t=transform: _by_name(mds.smacof(batch, K, transform=t))),
        draw_matrices, MATRIX, functools.partial(_check_stress, transform))
        for transform in ("ratio", "interval", "ordinal")}
    found["smacof, weights"] = Kind(jax.jit(_solve_weighted), draw_weighted, WEIGHTED,
                                    _check_weighted)
    anchored = MATRIX | {"disconnected": (_apart, False), "NaN": (_all(np.nan), None),
                         "constant": (_constant, None)}
    found["smacof_anchored"] = Kind(jax.jit(_anchored), draw_matrices, anchored,
                                    functools.partial(_check_stress, "none"))
    not_known = {"a pair missing": (_put(np.nan, True), True), "disconnected": (_apart, True)}
    found["classical"] = Kind(jax.jit(lambda batch: {"points": mds.classical(batch, K)}),
                              draw_matrices, MATRIX | not_known, _check_classical)
    row = {"one missing": (_put(np.nan), False), "infinite": (_put(np.inf), True),
           "one of 1e38": (_put(LARGE), None), "denormal": (_times(TINY), None),
           "zeros": (_all(0), False), "NaN": (_all(np.nan), True), "negative": (_put(-1), False)}
    found["place"] = Kind(jax.jit(lambda batch: {"points": mds.place(FIXED, batch)}),
                          draw_places, row, _check_place)
    found["isotonic_regression"] = Kind(
        jax.jit(lambda batch: {"points": mds.isotonic_regression(batch)}),
        lambda rng: rng.normal(size=(BATCH, 30)).astype(np.float32),
        row | {"one missing": (_put(np.nan), True)}, _check_isotonic)
    found["reconstruct"] = Kind(jax.jit(_lift), draw_faces, FACES, _check_face)
    hidden = {name: FACES[name] for name in ("zeros", "equal", "far off", "mirrored", "noise")}
    found["reconstruct, visible"] = Kind(jax.jit(functools.partial(_lift, hides=True)), _hide,
                                         hidden | {"NaN": (_all(np.nan), True)}, _check_face)
    return found
