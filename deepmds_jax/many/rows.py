"""Rows of faces to arrays, and arrays of shapes to rows."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepmds_jax.data.formats.faces import (
    MAX_CONFIDENCE,
    SEEN,
    are_around_origin,
    are_seen,
    nearly_all_within,
)
from deepmds_jax.many.columns import LANDMARKS, Columns, is_list, is_number, numbers_each
from deepmds_jax.mds import Status
from deepmds_jax.methods.contract import MIN_LANDMARKS


class Block(NamedTuple):
    """Some rows of a table.

    Attributes:
      x2d: (rows, N, 2) float32 or float64, x right and y down; 0 where hidden, and in bad rows.
      visible: (rows, N) bool, or None where the table does not say.
      reasons: why a row is bad; nothing of others.
    """

    x2d: np.ndarray
    visible: np.ndarray | None
    reasons: dict[int, str]


def have_one_each(rows: pa.RecordBatch, columns: Columns, name: str) -> bool | None:
    """Whether most rows with landmarks have in another column a value for each; None if none has.

    Numbers beyond 0, 1 and 2, such as speeds called `v`, do not say what was seen.

    Args:
      rows: of the table that `columns` describes.
      columns: from `find_columns`.
      name: of the other column.
    """
    if not is_list(rows.schema.field(name).type):
        return False
    if columns.landmarks == (LANDMARKS,):
        lists = rows.column(LANDMARKS)
        expected = _lengths(lists) * numbers_each(lists.type) // 2
    else:
        expected = np.array(len(columns.landmarks) // 2)
    column = rows.column(name)
    found = _lengths(column)
    known = (found > 0) & (expected > 0)
    if not known.any():
        return None
    fits = known & (found == expected)
    items = _only(column, fits).flatten()
    if is_number(items.type) and name.lower() not in SEEN["confidence"]:
        values = _array(items)
        if np.any((values < 0) | (values > MAX_CONFIDENCE)):
            return False
    return bool(2 * fits.sum() > known.sum())


def known_faces(rows: pa.RecordBatch, columns: Columns, width: int) -> np.ndarray:
    """(faces, width) the landmarks of rows in which some number is known; NaN where one is not."""
    table = pa.Table.from_batches([rows])
    numbers = _numbers(table, LANDMARKS, columns.landmarks, width, {})
    return numbers[np.isfinite(numbers).any(1)]


def lowest_of_parts(faces: np.ndarray) -> int | None:
    """0 or -1 if nearly all landmarks lie from there to 1, as parts of a picture's size do.

    From -1 they count from the middle of the picture; faces that were put around the origin do not.

    Args:
      faces: from `known_faces`.
    """
    if faces.shape[1] % 2:
        return None
    x2d = faces.reshape(len(faces), -1, 2)
    if nearly_all_within(x2d, 0, 1):
        return 0
    if not nearly_all_within(x2d, -1, 1):
        return None
    known = x2d[np.isfinite(x2d).all((1, 2))]
    return None if 2 * sum(map(are_around_origin, known)) > len(known) else -1


def read_block(
    rows: pa.Table, columns: Columns, num_landmarks: int, takes_visible: bool
) -> Block:
    """The landmarks of some rows.

    Args:
      rows: of the table that `columns` describes.
      columns: from `find_columns`.
      num_landmarks: N.
      takes_visible: whether the weights take hidden landmarks; a row with some is bad if not.
    """
    reasons: dict[int, str] = {}
    x2d = _numbers(rows, LANDMARKS, columns.landmarks, 2 * num_landmarks, reasons)
    x2d = x2d.reshape(len(x2d), num_landmarks, 2)
    visible = np.ones(x2d.shape[:2], bool)
    for what, names in columns.seen.items():
        values = _numbers(rows, what, names, num_landmarks, reasons)
        if what == "confidence":
            _note(reasons, np.any(values > MAX_CONFIDENCE, axis=1), lambda i, values=values: (
                f"confidence: {np.nanmax(values[i]):g}, expected from 0 to 1"))
        visible &= are_seen(what, values)
    lost = visible & ~np.all(np.isfinite(x2d), axis=-1)
    count = visible.sum(-1)
    _note(reasons, lost.any(-1), lambda i: f"landmark {lost[i].argmax()} is not a finite number")
    _note(reasons, count < min(MIN_LANDMARKS, num_landmarks), lambda i: (
        f"{count[i]} of {num_landmarks} landmarks are visible, expected at least {MIN_LANDMARKS}"))
    if not takes_visible:
        _note(reasons, count < num_landmarks, lambda i: (
            f"{num_landmarks - count[i]} landmarks are hidden, which these weights do not take"))
    good = np.ones(len(x2d), bool)
    good[list(reasons)] = False
    shown = (visible & good[:, None])[..., None]
    low = np.min(x2d, axis=1, where=shown, initial=np.inf)
    high = np.max(x2d, axis=1, where=shown, initial=-np.inf)
    _note(reasons, good & np.all(low == high, axis=-1), lambda i: "all landmarks are equal")
    x2d = np.where(shown, x2d, 0)
    x2d[list(reasons)] = 0
    return Block(x2d, visible if columns.seen and takes_visible else None, reasons)


def shape_arrays(
    lifted: Mapping[str, np.ndarray], reasons: Mapping[int, str], fields: Iterable[pa.Field]
) -> list[pa.Array]:
    """The columns of shapes: NaN where a row has none, as `reconstruct` has it, and a reason.

    Not null: rows then keep their places where lists of one size are flattened, and older pyarrow
    cannot write such lists that are null.

    Args:
      lifted: by name what is known of each row, (rows, ...), from `BlockLift`.
      reasons: why rows have no shape, from `read_block`.
      fields: from `shape_fields`.
    """
    points, status = lifted["points"], lifted["status"]
    none = ~np.all(np.isfinite(points), axis=(1, 2))
    none[list(reasons)] = True
    told = dict(reasons)
    _note(told, none, lambda i: "the reconstruction is not finite")
    _note(told, status == Status.INVALID,
          lambda i: "these are not the landmarks of a face seen from the front")
    _note(told, status != Status.CONVERGED, lambda i: "the solver has not converged")
    others = {"converged": ~none & (status == Status.CONVERGED),
              "reason": [told.get(i) for i in range(len(points))]}

    def column(field: pa.Field) -> pa.Array:
        if field.name in others:
            return pa.array(others[field.name], field.type)
        values = lifted[field.name].astype(np.float32)
        values[none] = np.nan
        if values.ndim == 1:
            return pa.array(values, field.type)
        return pa.FixedSizeListArray.from_arrays(values.ravel(), type=field.type)

    return [column(field) for field in fields]


def _numbers(
    rows: pa.Table, what: str, names: tuple[str, ...], width: int, reasons: dict[int, str]
) -> np.ndarray:
    """(rows, width) numbers, NaN where one is null, and in rows whose list has another length."""
    columns = [rows.column(name).combine_chunks() for name in names]
    if len(columns) > 1:
        values = np.stack([_array(column) for column in columns], axis=-1)
        if len(columns) != width:
            _note(reasons, np.ones(len(values), bool), lambda i: (
                f"{what}: {len(columns)} columns, expected {width}"))
            values = np.full((len(values), width), np.nan, values.dtype)
        return values
    column = columns[0]
    each = numbers_each(column.type)
    lengths = _lengths(column) * each
    fits = lengths == width
    _note(reasons, ~fits, lambda i: f"{what}: " + (
        "null" if lengths[i] < 0 else f"{lengths[i]} numbers, expected {width}"))
    items = _only(column, fits).flatten()
    if each == 1:
        return _spread(_array(items).reshape(-1, width), fits)
    sizes = np.full((len(fits), width // 2), 2)
    sizes[fits] = _lengths(items).reshape(-1, width // 2)
    odd = (sizes != 2) & (sizes >= 0)
    _note(reasons, odd.any(-1), lambda i: (
        f"{what}: {sizes[i][odd[i]][0]} numbers of landmark {odd[i].argmax()}, expected 2"))
    are_pairs = sizes[fits].ravel() == 2
    pairs = _array(_only(items, are_pairs).flatten()).reshape(-1, 2)
    return _spread(_spread(pairs, are_pairs).reshape(-1, width), fits)


def _spread(known: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(rows, ...) what is known in its places, (rows,) bool, and NaN elsewhere."""
    values = np.full((len(places), *known.shape[1:]), np.nan, known.dtype)
    values[places] = known
    return values


def _lengths(lists: pa.Array) -> np.ndarray:
    """How many items each has; -1 for null."""
    return pc.fill_null(lists.value_lengths(), -1).to_numpy(zero_copy_only=False)


def _only(column: pa.Array, kept: np.ndarray) -> pa.Array:
    return column if kept.all() else column.filter(pa.array(kept))


def _array(column: pa.Array) -> np.ndarray:
    """Numbers in the least floating type that has all digits of theirs; NaN where null."""
    small = (pa.bool_(), pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.float16(), pa.float32())
    kind = pa.float32() if column.type in small else pa.float64()
    return pc.cast(column, kind, safe=False).to_numpy(zero_copy_only=False)


def _note(reasons: dict[int, str], bad: Any, text_of: Callable[[int], str]) -> None:
    """Notes a reason for the rows that are bad, (rows,) bool, and have none yet."""
    for i in np.flatnonzero(bad).tolist():
        if i not in reasons:
            reasons[i] = text_of(i)
