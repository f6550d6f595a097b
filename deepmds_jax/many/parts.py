"""Parts: Parquet files of faces, the files that they become, and which of those are there."""

import collections
import glob
import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import deepmds_jax
from deepmds_jax.data.formats.faces import natural_key
from deepmds_jax.data.formats.reasons import reason_of
from deepmds_jax.many.columns import LANDMARKS, Columns, find_columns, numbers_each
from deepmds_jax.many.rows import have_one_each, known_faces, lowest_of_parts
from deepmds_jax.methods.contract import Params

SUFFIX = ".parquet"

# Entries of the metadata of what is written: by what it was made, and of what.
_RUN, _PART = b"deepmds_jax.run", b"deepmds_jax.part"
_BUFFER = 2**20  # bytes of a column that are read at once
_TAIL = 8  # bytes after the footer: its length, and the magic number
_LOOKED_AT = 1024  # rows of a part whose landmarks are looked at beforehand


class Run(NamedTuple):
    """What all files of a run have in common.

    Attributes:
      weights: a checksum.
      topology: of the landmarks.
      version: of this package.
    """

    weights: str
    topology: str
    version: str


class Part(NamedTuple):
    """A file of faces.

    Attributes:
      source: the file.
      target: what it becomes.
      num_rows: faces.
      columns: where the landmarks are.
      widths: how many numbers a face has, 2N, as the type of its column says, or those that its
        first rows have, the commonest first; empty if none has any.
      lowest: of its first rows with faces, see `lowest_of_parts`.
      fingerprint: of the file: its size, and a checksum of its footer, which has the place, size
        and extremes of every column's pieces.
    """

    source: Path
    target: Path
    num_rows: int
    columns: Columns
    widths: tuple[int, ...]
    lowest: int | None
    fingerprint: str

    @property
    def width(self) -> int | None:
        """The commonest of the widths."""
        return self.widths[0] if self.widths else None

    def may_have(self, width: int) -> bool:
        """Whether some of its faces may have so many numbers."""
        return not self.widths or width in self.widths


def run_of(params: Params) -> Run:
    """What the files that these weights make have in common."""
    digest = hashlib.sha256(repr(params.config).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(params)):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return Run(digest.hexdigest(), params.config.topology, deepmds_jax.__version__)


def list_parts(
    paths: Sequence[str | os.PathLike], out: str | os.PathLike
) -> list[tuple[Path, Path]]:
    """The files of faces, and what each becomes.

    Args:
      paths: files, folders, whose subfolders count too, and patterns. Names that begin with . or _
        are no data, as Spark and Hive have it, and neither is what lies in `out`.
      out: the folder to write to. A file of a folder given has the same place there.

    Raises:
      ValueError: nothing is there, what is there lies in `out`, or two files would become one.
    """
    placed: dict[Path, Path] = {}
    inside = Path(out).resolve()
    for path in map(Path, paths):
        if inside in (path.resolve(), *path.resolve().parents):
            raise ValueError(f"{path}: lies in the folder to write to, expected another folder")
        if path.is_dir():
            found = [(file, file.relative_to(path)) for file in _in_folder(path, inside)]
        elif path.exists():
            found = [(path, Path(path.name))]
        else:
            files = sorted(glob.glob(str(path), recursive=True), key=natural_key)
            found = [(Path(file), Path(Path(file).name)) for file in files]
        if not found:
            raise ValueError(f"{path}: no such file, or no {SUFFIX} file there")
        for source, name in found:
            other = placed.setdefault(Path(out) / name, source)
            if os.path.realpath(other) != os.path.realpath(source):
                raise ValueError(f"{other} and {source} would both become {Path(out) / name}; give "
                                 "the folder that has both, or one at a time")
    return [(source, target) for target, source in placed.items()]


def open_part(source: Path, target: Path) -> Part:
    """Looks at a file of faces.

    Args:
      source: the file.
      target: what it is to become.

    Raises:
      ValueError: one line: it is missing or damaged, or has no landmarks.
    """
    try:
        with open_parquet(source) as file:
            columns, num_rows = _columns_of(file), file.metadata.num_rows
            widths, lowest = (columns.width,) if columns.width else (), None
            for rows in file.iter_batches(_LOOKED_AT, columns=list(columns.landmarks)):
                widths = widths or _widths_of(rows)
                # Else no face was found in any of these: it looks on.
                if widths and len(faces := known_faces(rows, columns, widths[0])):
                    lowest = lowest_of_parts(faces)
                    break
        with source.open("rb") as raw:
            size = raw.seek(-_TAIL, os.SEEK_END) + _TAIL
            raw.seek(-_TAIL - int.from_bytes(raw.read(4), "little"), os.SEEK_END)
            footer = hashlib.sha256(raw.read()).hexdigest()
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ValueError(f"{source}: {reason_of(error)}") from error
    fingerprint = json.dumps({"bytes": size, "footer": footer})
    return Part(source, target, num_rows, columns, widths, lowest, fingerprint)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Opens a file to be read piece by piece, in little memory."""
    return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)


def describe(part: Part, run: Run) -> dict[bytes, bytes]:
    """Metadata that tell what a file was made of and by."""
    return {_RUN: json.dumps(run._asdict()).encode(), _PART: part.fingerprint.encode()}


def is_whole(part: Part, run: Run) -> bool:
    """Whether the file that a part becomes is there.

    Raises:
      ValueError: one is there that is not of this run.
    """
    if not part.target.exists():
        return False
    try:
        metadata = pq.read_metadata(part.target).metadata or {}
        made_by = json.loads(metadata.get(_RUN, b"{}"))
    except (ValueError, OSError, pa.ArrowException):
        metadata, made_by = {}, {}
    if made_by == run._asdict() and metadata.get(_PART) == part.fingerprint.encode():
        return True
    differ = [name for name, value in run._asdict().items() if made_by.get(name) != value]
    reason = ("is not of this program" if not made_by else
              f"is of a run with another {differ[0]}" if differ and differ[0] != "weights" else
              "is of a run with other weights" if differ else
              f"was made of another file than {part.source} is now")
    raise ValueError(f"{part.target} {reason}; give another folder, or remove it")


def remove_leftovers(parts: Iterable[Part]) -> None:
    """Removes what a run that was killed had begun to write of parts that are whole now."""
    names: dict[Path, set[str]] = {}
    for part in parts:
        names.setdefault(part.target.parent, set()).add(part.target.stem)
    for folder, stems in names.items():
        for path in folder.glob(f".*{SUFFIX}"):  # as `files.replacing` calls them
            match = re.fullmatch(rf"\.(.+)\.\d+{re.escape(SUFFIX)}", path.name)
            if match and match[1] in stems:
                path.unlink(missing_ok=True)


def _columns_of(file: pq.ParquetFile) -> Columns:
    """Where the landmarks are, and what says which were seen: also what only the rows show."""
    columns = find_columns(file.schema_arrow)
    doubtful = columns.doubtful
    if not doubtful:
        return columns
    one_each: dict[str, bool | None] = {}
    for rows in file.iter_batches(_LOOKED_AT, columns=[*columns.landmarks, *doubtful]):
        for name in doubtful:
            if one_each.get(name) is None:
                one_each[name] = have_one_each(rows, columns, name)
        if None not in one_each.values():
            break
    return find_columns(file.schema_arrow, [name for name in doubtful if one_each.get(name)])


def _in_folder(folder: Path, excluded: Path) -> list[Path]:
    files = [file for file in folder.rglob(f"*{SUFFIX}") if file.is_file()
             and not any(name[0] in "._" for name in file.relative_to(folder).parts)]
    return sorted((file for file in files if excluded not in file.resolve().parents),
                  key=lambda file: natural_key(str(file)))


def _widths_of(rows: pa.RecordBatch) -> tuple[int, ...]:
    """The lengths of the lists of landmarks, the commonest first; empty ones are of no face."""
    lists = rows.column(LANDMARKS)
    counts = collections.Counter(lists.value_lengths().drop_null().to_pylist())
    return tuple(length * numbers_each(lists.type) for length, _ in counts.most_common() if length)
