"""Where in a table landmarks are, and the columns that shapes have."""

import itertools
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import pyarrow as pa

from deepmds_jax.data.formats.faces import MAY_BE_OTHERS, SEEN
from deepmds_jax.data.formats.text_tables import wide_columns

LANDMARKS = "landmarks"
# What of `SEEN` says it by itself; other lists say it where they have one for each landmark.
_SURE = {"visible", "visibility", "occluded", "occlusion", "confidence", "score"}
_NUM_NAMED = 6  # columns that an error names


class Columns(NamedTuple):
    """Where the landmarks of a table are.

    Attributes:
      landmarks: the names of one column of lists x0, y0, x1, y1, ..., or of pairs of x and y, or of
        2N columns of numbers in that order.
      seen: "visible", "occluded" and "confidence", where the table has them -> one column of lists,
        or N.
      width: how many numbers a face has, 2N; None where only the rows say it.
      doubtful: others that are called as what says which landmarks were seen, and are no single
        numbers: the rows say whether they have one for each landmark.
    """

    landmarks: tuple[str, ...]
    seen: Mapping[str, tuple[str, ...]]
    width: int | None
    doubtful: tuple[str, ...] = ()


def find_columns(schema: pa.Schema, one_each: Collection[str] = ()) -> Columns:
    """Where the landmarks are.

    Args:
      schema: of the table.
      one_each: those `doubtful` without it that have a value for each landmark.

    Raises:
      ValueError: there are none, or of another type, or a column is called as one of the shapes',
        or as another column.
    """
    if twice := [name for name in schema.names if schema.names.count(name) > 1]:
        raise ValueError(f"column {twice[0]}: expected one of that name, got two")
    wide = wide_columns(schema.names)
    if LANDMARKS in schema.names:
        columns = _in_lists(schema, wide, one_each)
    elif "x" in wide and wide["x"].keys() == wide.get("y", {}).keys():
        columns = _in_numbers(schema, wide, one_each)
    else:
        x, y = (wide.get(axis, {}).keys() for axis in "xy")
        if x & y:
            alone = sorted(x ^ y)
            axis, other = "xy" if alone[0] in x else "yx"
            raise ValueError(f"column {schema.names[wide[axis][alone[0]]]}: expected {other} of "
                             "the same landmark beside it, got none")
        more = ", ..." if len(schema.names) > _NUM_NAMED else ""
        raise ValueError(f"columns {', '.join(schema.names[:_NUM_NAMED]) or 'none'}{more}; "
                         f"expected {LANDMARKS}, lists of x0, y0, x1, y1, ... or of pairs, or "
                         "columns x0, y0, x1, y1, ...")
    taken = {field.name for field in shape_fields(1, with_std=True)}
    for name in carried(schema, columns).names:
        if name in taken:
            raise ValueError(f"column {name}: the shapes have one of that name, expected another")
    read = set(itertools.chain(*columns.seen.values()))
    return columns._replace(doubtful=tuple(
        name for names in SEEN.values() for name in _lists_called(schema, names)
        if name not in read))


def numbers_each(kind: pa.DataType) -> int:
    """How many numbers each item of a list of that type has: 2 in lists of pairs."""
    return 2 if is_list(kind.value_type) else 1


def carried(schema: pa.Schema, columns: Columns) -> pa.Schema:
    """The columns that are passed on as they are: all others."""
    read = {*columns.landmarks, *(name for names in columns.seen.values() for name in names)}
    return pa.schema([field for field in schema if field.name not in read], schema.metadata)


def shape_fields(num_landmarks: int, with_std: bool) -> list[pa.Field]:
    """The columns of shapes of N landmarks."""
    shape = pa.list_(pa.float32(), 3 * num_landmarks)
    return [
        pa.field("points", shape), *([pa.field("std", shape)] if with_std else []),
        pa.field("rotation", pa.list_(pa.float32(), 9)),
        *(pa.field(angle, pa.float32()) for angle in ("yaw", "pitch", "roll")),
        pa.field("converged", pa.bool_()), pa.field("reason", pa.string()),
    ]


def _in_lists(
    schema: pa.Schema, wide: Mapping[str, Mapping[int, int]], one_each: Collection[str]
) -> Columns:
    size = _width(schema, LANDMARKS, "list<float> or lists of pairs")
    if size is not None and size % 2:
        raise ValueError(f"column {LANDMARKS}: lists of {size} numbers, expected pairs")
    lists = _seen_in_lists(schema, size, one_each)
    numbers = _seen_in_numbers(schema, wide, size)
    return Columns((LANDMARKS,), numbers | lists, size)


def _in_numbers(
    schema: pa.Schema, wide: Mapping[str, Mapping[int, int]], one_each: Collection[str]
) -> Columns:
    order = sorted(wide["x"])
    names = tuple(schema.names[wide[axis][i]] for i in order for axis in "xy")
    _check_numbers(schema, names)
    lists = _seen_in_lists(schema, len(names), one_each)
    numbers = _seen_in_numbers(schema, wide, len(names))
    return Columns(names, lists | numbers, len(names))


def _seen_in_lists(
    schema: pa.Schema, size: int | None, one_each: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """What says in lists which landmarks were seen."""
    seen: dict[str, tuple[str, ...]] = {}
    for what, names in SEEN.items():
        for name in _lists_called(schema, names):
            sure = name.lower() in _SURE or name in one_each
            if not sure and not _one_each(schema.field(name), size):
                continue
            found = _width(schema, name)
            if size is not None and found not in (None, size // 2):
                raise ValueError(f"column {name}: lists of {found}, expected {size // 2}, one "
                                 "of each landmark")
            seen.setdefault(what, (name,))
    return seen


def _lists_called(schema: pa.Schema, names: Iterable[str]) -> list[str]:
    """The columns of lists that have one of the names, in whatever case, in the order of these."""
    return [field.name for name in names for field in schema
            if field.name.lower() == name and pa.types.is_nested(field.type)]


def _one_each(field: pa.Field, size: int | None) -> bool:
    """Whether lists may have a number for each landmark, and mean it."""
    item = field.type.value_type if is_list(field.type) else None
    if item is None:
        return False
    if pa.types.is_fixed_size_list(field.type):
        fits = size is not None and 2 * field.type.list_size == size
    else:
        fits = field.name.lower() not in MAY_BE_OTHERS or pa.types.is_boolean(item)
    return fits and (pa.types.is_boolean(item) or pa.types.is_integer(item)
                     or pa.types.is_floating(item))


def _seen_in_numbers(
    schema: pa.Schema, wide: Mapping[str, Mapping[int, int]], size: int | None
) -> dict[str, tuple[str, ...]]:
    """What says in columns of numbers which landmarks were seen. A single one is something else."""
    seen = {what: tuple(schema.names[wide[what][i]] for i in sorted(wide[what]))
            for what in SEEN if len(wide.get(what, {})) > 1}
    for names in seen.values():
        _check_numbers(schema, names)
        if size is not None and len(names) != size // 2:
            raise ValueError(f"columns {names[0]} to {names[-1]}: {len(names)}, expected "
                             f"{size // 2}, one of each landmark")
    return seen


def _width(schema: pa.Schema, name: str, expected: str = "list<float>") -> int | None:
    """How many numbers the lists of a column have; None if its type does not say it."""
    kind = item = schema.field(name).type
    if is_list(kind):
        item = kind.value_type
        if name == LANDMARKS and is_list(item):
            if pa.types.is_fixed_size_list(item) and item.list_size != 2:
                raise ValueError(f"column {name}: {item.list_size} numbers a landmark, expected x "
                                 "and y")
            item = item.value_type
    if item is kind or not is_number(item):
        raise ValueError(f"column {name}: {kind}, expected {expected}")
    return kind.list_size * numbers_each(kind) if pa.types.is_fixed_size_list(kind) else None


def _check_numbers(schema: pa.Schema, names: Iterable[str]) -> None:
    for name in names:
        if not is_number(schema.field(name).type):
            raise ValueError(f"column {name}: {schema.field(name).type}, expected numbers")


def is_list(kind: pa.DataType) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)
            or pa.types.is_fixed_size_list(kind))


def is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
