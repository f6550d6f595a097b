"""Runs over parts: reads, lifts and writes block by block, so that memory does not grow."""

import collections
import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import tqdm
from absl import logging

from deepmds_jax.data.formats.faces import make_face
from deepmds_jax.data.formats.reasons import reason_of
from deepmds_jax.faces_by_name import load_pretrained_for
from deepmds_jax.files import replacing
from deepmds_jax.lifting import lifting_method
from deepmds_jax.many.columns import carried, shape_fields
from deepmds_jax.many.lift import BlockLift
from deepmds_jax.many.parts import (
    Part,
    Run,
    describe,
    is_whole,
    list_parts,
    open_parquet,
    open_part,
    remove_leftovers,
    run_of,
)
from deepmds_jax.many.rows import read_block, shape_arrays
from deepmds_jax.methods.contract import Params

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# A row group of what is written has so many rows, or bytes: other columns may hold pictures.
_GROUP_ROWS = 16384
_GROUP_BYTES = 2**26
_AHEAD = 2  # blocks that wait for each thread


class Done(NamedTuple):
    """What became of a part.

    Attributes:
      num_faces: rows.
      num_noted: those of them with a reason: without a shape, or with one not to be believed.
      left_out: why nothing was written; None if it was.
    """

    num_faces: int
    num_noted: int
    left_out: str | None = None


class Summary(NamedTuple):
    """What a run did.

    Attributes:
      num_faces: rows that were lifted.
      num_noted: those of them with a reason.
      num_written: parts that were written.
      num_whole: parts that were there already.
      topology: of the landmarks.
      left_out: a line for each file that is no part.
    """

    num_faces: int
    num_noted: int
    num_written: int
    num_whole: int
    topology: str
    left_out: list[str]


# Parameters, the run, its parts, and what to tell of faces that are done -> what became of parts,
# in any order.
Engine = Callable[[Params, Run, Sequence[Part], Callable[[int], object]], Iterator[Done]]


def run_here(
    params: Params, run: Run, parts: Sequence[Part], tell: Callable[[int], object]
) -> Iterator[Done]:
    """The engine of one machine: all cores, or all GPUs."""
    return run_parts(BlockLift(params), params, run, parts, tell)


def reconstruct_files(
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    params: Params | None = None,
    *,
    engine: Engine = run_here,
    progress: bool = True,
) -> Summary:
    """Lifts the faces of Parquet files, each to a file of the same name in another folder.

    A file is written whole or not at all. One that is there is not written again, so that a run
    that was stopped at any moment goes on where it was, to the same bytes. Memory does not grow
    with the files.

    Args:
      paths: Parquet files, folders of them, or patterns. Their columns: `landmarks`, lists of x0,
        y0, x1, y1, ... or of pairs, or numbers called so; `visible`, `occluded` and `confidence`,
        lists of N, or numbers `visible0`, ...; any others.
      out: the folder to write to. Its files have the other columns, and `points` and `std` (lists
        of 3N), `rotation` (9), `yaw`, `pitch`, `roll` (degrees), `converged` and `reason`: why a
        row has no shape, which is NaN then, or one not to be believed; null in the others. See
        `Reconstruction`.
      params: the weights; by default the shipped ones for the commonest number of landmarks that
        there are some for, in the first rows of the first part.
      engine: what lifts the parts.
      progress: whether to show a bar.

    Raises:
      ValueError: no part can be read, two would become one file, or a file of another run is in
        `out`; before any is written.
      OSError: a part cannot be written, such as for want of space; those written stay.
    """
    if not paths:
        raise ValueError("paths: expected some, got none")
    parts, left_out = [], []
    sources = list_parts(paths, out)
    for source, target in tqdm.tqdm(sources, "looking at files", delay=5, disable=not progress):
        try:
            parts.append(open_part(source, target))
        except ValueError as error:
            left_out.append(str(error))
    if params is None:
        params = _shipped_for(parts)
    width = 2 * len(params.reference)
    left_out += [f"{part.source}: {part.width} numbers a face, expected {width}: x and y of the "
                 f"{width // 2} landmarks of {params.config.topology}"
                 for part in parts if not part.may_have(width)]
    fitting = [part for part in parts if part.may_have(width)]
    if not fitting:
        raise ValueError("; ".join(left_out[:3]) + ("; ..." if len(left_out) > 3 else ""))
    for lowest, remedy in ((0, "multiply x and y"), (-1, "multiply (x + 1) / 2 and (y + 1) / 2")):
        suspect = [str(part.source) for part in fitting if part.lowest == lowest]
        if suspect:
            logging.warning("%s: nearly all landmarks lie within [%d, 1]; if they are parts of "
                            "the picture's width and height, %s by those, or shapes come out wrong",
                            _first_of(suspect), lowest, remedy)
    for name in dict.fromkeys(name for part in fitting for name in part.columns.doubtful):
        suspect = [str(part.source) for part in fitting if name in part.columns.doubtful]
        logging.warning("%s: column %s is passed on as it is and hides no landmark: expected one "
                        "column that says it, of a number from 0 to 1 for each landmark",
                        _first_of(suspect), name)
    run = run_of(params)
    todo = [part for part in fitting if not is_whole(part, run)]
    done = []
    with tqdm.tqdm(total=sum(part.num_rows for part in todo), unit="face", unit_scale=True, delay=1,
                   disable=not progress) as bar:
        try:
            done += engine(params, run, todo, bar.update) if todo else ()
        except OSError as error:
            raise OSError(f"{error}; what is done stays, and the same command goes on there"
                          ) from error
    remove_leftovers(fitting)
    left_out += [part.left_out for part in done if part.left_out]
    return Summary(
        sum(part.num_faces for part in done), sum(part.num_noted for part in done),
        sum(part.left_out is None for part in done), len(fitting) - len(todo), run.topology,
        left_out)


def run_parts(
    lift: BlockLift, params: Params, run: Run, parts: Sequence[Part], tell: Callable[[int], object]
) -> Iterator[Done]:
    """Reads, lifts and writes parts, one after the other; blocks in parallel, those of the next
    part while the last ones of a part are lifted.

    Raises:
      OSError: a part cannot be written.
    """
    blocks = ((part, rows) for part in parts for rows in _read(part, lift.block_rows))
    pool = ThreadPoolExecutor(lift.num_threads)
    try:
        lifted = _in_order(pool, functools.partial(_lift, lift, params), blocks,
                           ahead=_AHEAD * lift.num_threads)
        for part, of_part in itertools.groupby(lifted, key=lambda block: block[0]):
            yield _write(part, run, (rows for _, rows in of_part), tell)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits only for blocks that are running


def _first_of(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _shipped_for(parts: Sequence[Part]) -> Params:
    """The shipped weights for the commonest faces that there are some for, of the first part."""
    widths = dict.fromkeys(width for part in parts for width in part.widths)
    if widths and all(width % 2 for width in widths):
        first = next(part for part in parts if part.widths)
        raise ValueError(f"{first.source}: {first.width} numbers a face, expected pairs of x and y")
    return load_pretrained_for({str(n): make_face([(0, 0)] * (n // 2)) for n in widths})


def _read(part: Part, size: int) -> Iterator[pa.Table | ValueError]:
    """The rows of a part, `size` at a time, at least one block; last an error, if there is one."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    try:
        with open_parquet(part.source) as file:
            schema = file.schema_arrow
            for batch in file.iter_batches(size):
                while batch.num_rows:  # a batch ends where a row group does
                    waiting.append(batch.slice(0, size - count))
                    batch = batch.slice(size - count)
                    count += waiting[-1].num_rows
                    if count == size:
                        yield pa.Table.from_batches(waiting, schema)
                        waiting, count = [], 0
            if waiting or not part.num_rows:
                yield pa.Table.from_batches(waiting, schema)
    except (ValueError, OSError, pa.ArrowException) as error:
        yield ValueError(f"{part.source}: {reason_of(error)}")


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[_Item], _Result], items: Iterable[_Item],
    ahead: int,
) -> Iterator[_Result]:
    """Like `pool.map`, but takes only some items before their results are taken."""
    waiting: collections.deque[Future[_Result]] = collections.deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _lift(
    lift: BlockLift, params: Params, block: tuple[Part, pa.Table | ValueError]
) -> tuple[Part, pa.Table | ValueError]:
    """The rows with their shapes, without their landmarks."""
    part, rows = block
    if isinstance(rows, ValueError):
        return part, rows
    num_landmarks = len(params.reference)
    read = read_block(rows, part.columns, num_landmarks, lifting_method(params).TAKES_VISIBLE)
    lifted = lift(read.x2d, read.visible)
    kept = carried(rows.schema, part.columns)
    fields = shape_fields(num_landmarks, "std" in lifted)
    return part, pa.table(
        [*(rows[name] for name in kept.names), *shape_arrays(lifted, read.reasons, fields)],
        schema=pa.schema([*kept, *fields], kept.metadata))


def _write(
    part: Part, run: Run, blocks: Iterable[pa.Table | ValueError], tell: Callable[[int], object]
) -> Done:
    num_faces = num_noted = 0
    try:
        with (replacing(part.target) as temporary, temporary.open("wb") as raw,
              contextlib.ExitStack() as stack):
            writer = None
            for group in _groups(blocks, tell):
                if writer is None:
                    metadata = {**(group.schema.metadata or {}), **describe(part, run)}
                    writer = stack.enter_context(_writer(raw, group.schema.with_metadata(metadata)))
                writer.write_table(group)
                num_faces += group.num_rows
                num_noted += group.num_rows - group["reason"].null_count
            stack.close()  # writes the footer
            raw.flush()
            os.fsync(raw.fileno())  # or a file whose name is there might be empty after a power cut
    except _UnreadableError as error:
        return Done(0, 0, str(error))
    except OSError as error:
        raise OSError(f"{part.target}: cannot be written: {reason_of(error)}") from error
    return Done(num_faces, num_noted)


def _groups(
    blocks: Iterable[pa.Table | ValueError], tell: Callable[[int], object]
) -> Iterator[pa.Table]:
    """Blocks joined to row groups."""
    waiting: list[pa.Table] = []
    num_rows = num_bytes = 0
    for rows in blocks:
        if isinstance(rows, ValueError):
            raise _UnreadableError(str(rows))
        waiting.append(rows)
        num_rows, num_bytes = num_rows + rows.num_rows, num_bytes + rows.nbytes
        tell(rows.num_rows)
        if num_rows >= _GROUP_ROWS or num_bytes >= _GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, num_rows, num_bytes = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)


def _writer(raw: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
    # The bytes of floats apart, first bytes first, are a fifth smaller.
    split = [field.name for field in schema if field.type == pa.float32()]
    split += [f"{field.name}.list.element" for field in schema
              if pa.types.is_fixed_size_list(field.type) and field.type.value_type == pa.float32()]
    options: Any = {"use_byte_stream_split": split,
                    "use_dictionary": [name for name in schema.names if name not in split]}
    return pq.ParquetWriter(raw, schema, compression="zstd", **options)


class _UnreadableError(ValueError):
    """A part is damaged behind its beginning."""
