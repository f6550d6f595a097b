"""2D landmark files of many programs.

`read_landmarks` returns image points with x right, y down and the centre of the top left pixel at
(0, 0). Annotations made in MATLAB count pixels from 1 and are shifted by one pixel: .pts of 300-W
and the fields of 300W-LP and AFLW2000-3D in .mat. All other files are taken as written, but for
.tps, whose y grows upward.
"""

import dataclasses
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from deepmds_jax.data.formats import array_files, arrays, matlab, points_files, text_tables
from deepmds_jax.data.formats.faces import (
    MESH_POINTS,
    Contents,
    Face,
    are_around_origin,
    are_parts,
    are_parts_from_middle,
    hide_marks,
    in_pixels,
    natural_key,
    read_text,
    some_of,
    tell_apart,
    undo_alphabet,
)
from deepmds_jax.data.formats.plain_names import printable
from deepmds_jax.data.formats.reasons import reason_of

# Width and height of a picture in pixels: of all, or by the name of a face, None if not known.
ImageSize = tuple[float, float] | Callable[[str], tuple[float, float] | None]


class LandmarksRead(NamedTuple):
    """Faces from files.

    Attributes:
      faces: by name.
      warnings: a line for each thing that was taken for something, or may be wrong.
      left_out: a line for each file and each face that cannot be read.
    """

    faces: dict[str, Face]
    warnings: list[str]
    left_out: list[str]


def read_landmarks(
    path: str | Path, *, image_size: ImageSize | None = None
) -> dict[str, Face]:
    """Reads the 2D landmarks of every face in a file.

    docs/landmarks.md shows every format. Numbers that are missing, NaN or null, negative pairs, and
    (0, 0) and (-1, -1) apart from the other landmarks are hidden landmarks, and so are those of a
    confidence below 0.3. Damaged faces are left out and, as all that was taken for something,
    named in the log.

    A face is named as the file says, or like the file; of several of one name each has #0, #1, ...
    at its end, its place among them in the file, where damaged ones count. They come in the order
    of the file, or where that is the alphabet's, in that of the numbers in their names.

    Args:
      path: The file.
      image_size: (width, height) of the picture in pixels, or a function that gives it for the name
        of a face, or None where it is not known. Landmarks that are parts of width and height are
        multiplied by it, and in .tps y is counted from the upper edge.

    Returns:
      By face name, faces of N landmarks each, x right and y down in the file's unit (usually
      pixels), the centre of the top left pixel at (0, 0).

    Raises:
      ValueError: One line that names the file: it cannot be read, is cut off, has another layout,
        or all its faces are damaged.
    """
    found = _read(Path(path), image_size)
    for line in found.warnings + found.left_out:
        logging.warning("%s", line)
    return found.faces


def read_all_landmarks(
    paths: Sequence[str | os.PathLike], *, image_size: ImageSize | None = None
) -> LandmarksRead:
    """Reads landmark files and folders of them, each file once.

    Of a second face of one name, the file is part of the name. `image_size` is that of
    `read_landmarks`.
    """
    files, left_out = list_all(paths)
    faces: dict[str, Face] = {}
    tracks: set[str] = set()
    warnings = [f"warning: {file}: not taken for landmarks, no line has more numbers than words"
                for path in paths if os.path.isdir(path)
                for file in _texts_passed_over(path, files)]
    once: dict[str, Path] = {}
    for file in files:
        once.setdefault(os.path.realpath(file), file)
    if len(once) < len(files):
        warnings.append(f"warning: {len(files) - len(once)} of {len(files)} files are given again; "
                        "each is read once")
    for file in once.values():
        try:
            found = _read(file, image_size)
        except ValueError as error:
            left_out.append(str(error))
            continue
        warnings += [f"warning: {line}" for line in found.warnings]
        left_out += found.left_out
        taken = {face.track for face in found.faces.values() if face.track in tracks}
        for name, face in found.faces.items():
            if face.track in taken:
                face = dataclasses.replace(face, track=f"{face.track} ({file})")
            if face.track is not None:
                tracks.add(face.track)
            faces[name if name not in faces else f"{name} ({file})"] = face
    return LandmarksRead(faces, warnings, left_out)


def list_all(paths: Sequence[str | os.PathLike]) -> tuple[list[Path], list[str]]:
    """The files given and those in the folders given, and a line for each folder without any.

    And one for each folder with Parquet files among others, which cannot be read together.
    Paths in the order of the alphabet, as shells sort them, are put in natural order.
    """
    files, wrong = [], []
    given = [str(os.fspath(path)) for path in paths]
    for path in (given[i] for i in undo_alphabet(given)):
        try:
            files += list_landmark_files(path) if os.path.isdir(path) else [Path(path)]
            parquet = _parquet_files(path)
        except (ValueError, OSError) as error:
            wrong.append(str(error))
            continue
        if parquet:
            wrong.append(f"{path}: {some_of(parquet)} not read with other landmarks; give Parquet "
                         "files in a call of their own")
    return files, wrong


def _parquet_files(path: str) -> list[str]:
    names = os.listdir(path) if os.path.isdir(path) else ()
    return sorted((name for name in names
                   if name.lower().endswith(".parquet") and not name.startswith(".")),
                  key=natural_key)


def list_landmark_files(folder: str | Path) -> list[Path]:
    """Lists the files in a folder that have an extension `read_landmarks` knows.

    Args:
      folder: The folder. Its subfolders and hidden files are skipped, and .txt files that have no
        line of numbers.

    Returns:
      The files, sorted by name, numbers in it by value.

    Raises:
      ValueError: There is no such folder, or no such file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    files = sorted((file for file in folder.iterdir() if _is_landmark_file(file)),
                   key=lambda file: natural_key(file.name))
    if not files:
        raise ValueError(f"{folder}: no landmark files, expected some of {', '.join(_FORMATS)}")
    return files


def _is_landmark_file(file: Path) -> bool:
    suffix = file.suffix.lower()
    if suffix not in _FORMATS or file.name.startswith(".") or not file.is_file():
        return False
    return suffix != ".txt" or points_files.has_rows(_beginning(file))


def _texts_passed_over(folder: str | os.PathLike, taken: Collection[Path]) -> list[Path]:
    """The .txt files of a folder that are not taken though they have numbers, as notes have."""
    texts = [file for file in {*Path(folder).iterdir()}.difference(taken)
             if file.suffix.lower() == ".txt" and not file.name.startswith(".") and file.is_file()]
    return sorted((file for file in texts if any(map(str.isdigit, _beginning(file)))),
                  key=lambda file: natural_key(file.name))


def _beginning(file: Path) -> str:
    """The first MiB of a text; a digit in place of one that cannot be opened, which reading tells.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(1 << 20)
    except OSError:
        return "0"
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


def _read(path: Path, image_size: ImageSize | None) -> LandmarksRead:
    """The faces of a file, in pixels where that is known; lines begin with the file."""
    if path.suffix.lower() not in _FORMATS:
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
        raise ValueError(f"{path}: unknown landmark format, expected {', '.join(_FORMATS)}")
    load, parse = _FORMATS[path.suffix.lower()]
    try:
        content = load(path)
    except ImportError:
        raise
    except Exception as error:  # every parser fails on damaged files in ways of its own
        raise ValueError(f"{path}: cannot be read: {reason_of(error)}") from error
    try:
        parsed = parse(content, path.stem.removesuffix(".mrk"))
        if all(face is None for _, face in parsed.faces):
            raise ValueError(parsed.left_out[0] if parsed.left_out else "no faces")
        faces, warnings, left_out = _finish(parsed, image_size)
        if not faces:
            raise ValueError(left_out[-1].partition(": ")[2])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: lists in lists without end") from None
    return LandmarksRead(faces, [f"{path}: {line}" for line in warnings],
                         [f"{path}: {line}" for line in left_out])


def _finish(parsed: Contents, image_size: ImageSize | None) -> LandmarksRead:
    """Names told apart, marks of hidden landmarks, and pixels from the top left."""
    order = undo_alphabet(name for name, _ in parsed.faces)
    named = [parsed.faces[i] for i in order]
    names = tell_apart([printable(name) for name, _ in named])
    faces, warnings, marked = {}, list(parsed.notes), {}
    for name, (_, face) in zip(names, named, strict=True):
        if face is None:
            continue
        faces[name], count = hide_marks(face)
        if face.track is not None:
            faces[name] = dataclasses.replace(faces[name], track=printable(face.track))
        if count and faces[name].visible.any():  # else it is a frame without a face
            marked[name] = count
    if marked:
        count = sum(marked.values())
        warnings.append(f"{count} landmark{'s' * (count > 1)} at (0, 0), (-1, -1) or negative "
                        f"places taken as hidden: {some_of(marked)}")
    size_of = image_size if callable(image_size) else lambda name: image_size
    left_out = [printable(line) for line in parsed.left_out]
    shown = {name: face.points[face.visible] for name, face in faces.items()}
    suspect = {name: points for name, points in shown.items()
               if (are_parts(points) or are_parts_from_middle(points))
               and not are_around_origin(points)}
    # A file has one unit, and only of some faces it shows that it counts from the middle.
    from_middle = any(map(are_parts_from_middle, suspect.values()))
    unknown = []  # parts of pictures whose size is not known
    for name, face in list(faces.items()):
        parts = are_parts(shown[name]) and not from_middle
        size = size_of(name) if parts or parsed.y_up else None
        face = dataclasses.replace(face, points=face.points - parsed.first_pixel)
        if parts and size is not None:
            face = in_pixels(face, size)
        elif parts and len(face) in MESH_POINTS:
            del faces[name]
            left_out.append(f"{name}: MediaPipe's landmarks are parts of the picture's width and "
                            "height; give them by image_size (--image_size=WIDTH,HEIGHT)")
            continue
        elif name in suspect:
            unknown.append(name)
        if parsed.y_up:
            upper_edge = 0 if size is None else size[1]
            face = dataclasses.replace(face, points=face.points * [1, -1] + [0, upper_edge])
        faces[name] = face
    if unknown:
        whose = "" if len(unknown) == len(faces) else f" of {some_of(unknown)}"
        remedy = "give them from 0 to 1, (x + 1) / 2, and" if from_middle else "give"
        warnings.append(f"nearly all landmarks{whose} lie within [{-1 if from_middle else 0}, 1]; "
                        f"if they are parts of the picture's width and height, {remedy} those by "
                        "image_size (--image_size=WIDTH,HEIGHT), or shapes come out wrong")
    return LandmarksRead(faces, warnings, left_out)


def _load_table(path: Path) -> tuple[list[list[str]], str]:
    return text_tables.split_rows(read_text(path))


_FORMATS = {
    ".pts": (read_text, points_files.parse_pts),
    ".json": (array_files.load_json, arrays.parse_arrays),
    ".csv": (_load_table, text_tables.parse_table),
    ".npy": (array_files.load_numpy, arrays.parse_arrays),
    ".npz": (array_files.load_numpy, arrays.parse_arrays),
    ".mat": (matlab.load_mat, arrays.parse_mat),
    ".tsv": (_load_table, text_tables.parse_table),
    ".txt": (read_text, points_files.parse_txt),
    ".xml": (points_files.load_imglib, points_files.parse_imglib),
    ".tps": (read_text, points_files.parse_tps),
    ".ljson": (array_files.load_json, arrays.parse_arrays),
    ".fcsv": (read_text, points_files.parse_fcsv),
}
