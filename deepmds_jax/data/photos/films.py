"""Films in files, read and written frame by frame: only one picture is in memory at a time."""

import contextlib
import dataclasses
import fractions
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from deepmds_jax.extras import require
from deepmds_jax.files import replacing

SUFFIXES = (".mp4", ".mov", ".mkv")  # of films that can be written
_EARLY = 0.5  # seconds that a film may end before its header says without a word


@dataclasses.dataclass
class Film:
    """A film in a file.

    Attributes:
      path: of the file.
      frame_rate: mean frames per second, above 0.
      num_frames: what its header says, or about; 0 if unknown.
      damage: what `read_frames` could not read, in words; empty if nothing, or before.
    """

    path: pathlib.Path
    frame_rate: float
    num_frames: int
    damage: str = ""


class Frame(NamedTuple):
    """One picture of a film.

    Attributes:
      seconds: since the first one.
      pixels: (height, width, 3) uint8 RGB, upright and with square pixels.
    """

    seconds: float
    pixels: np.ndarray


def is_film(path: str | os.PathLike) -> bool:
    """Whether a file is of a kind that can be written."""
    return pathlib.Path(path).suffix.lower() in SUFFIXES


def open_film(path: str | os.PathLike) -> Film:
    """Looks at the header of a film.

    Raises:
      ValueError: there is no such file, it is damaged, or no film.
      ImportError: PyAV is not installed.
    """
    path = pathlib.Path(path)
    with _opened(path) as (container, stream):
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        if not 0 < rate < float("inf"):
            raise ValueError(f"video: {path}: it has no frame rate")
        seconds = _seconds(container, stream)
        return Film(path, rate, stream.frames or round((seconds or 0) * rate))


def read_frames(film: Film) -> Iterator[Frame]:
    """The frames of a film in their order; parts that are damaged are left out.

    Raises:
      ValueError: the file is gone, or none of its frames can be read.
    """
    av = require("av", extra="video")
    with _opened(film.path) as (container, stream):
        stream.thread_type = "AUTO"
        declared, damaged, start, last = _seconds(container, stream), 0, None, None
        packets = container.demux(stream)
        while True:
            try:
                frames = next(packets).decode()
            except StopIteration:
                break
            except av.error.InvalidDataError:
                damaged += 1
                continue
            for frame in frames:
                time = frame.time
                if time is None:
                    time = 0.0 if last is None else last + 1 / film.frame_rate
                start = time if start is None else start
                last = time
                yield Frame(time - start, _upright(frame, stream))
        if start is None or last is None:
            raise ValueError(f"video: {film.path}: no frame can be read")
        told = [f"{damaged} damaged parts are left out"] * bool(damaged)
        if declared is not None and last - start + 1 / film.frame_rate < declared - _EARLY:
            told.append(f"it ends after {last - start:.2f} of {declared:.2f} s")
        film.damage = "; ".join(told)


def check_format(path: str | os.PathLike) -> pathlib.Path:
    """Returns the path if `write_film` can write it, by its ending; ValueError otherwise."""
    path = pathlib.Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: unknown film format, expected {', '.join(SUFFIXES)}")
    return path


@contextlib.contextmanager
def write_film(
    path: str | os.PathLike, frame_rate: float
) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes a film without sound, whole or not at all.

    Args:
      path: the file; a missing folder is made.
      frame_rate: frames per second.

    Yields:
      A function that adds a picture (height, width, 3) uint8 RGB. All have one size; an odd last
      row or column is cut off, which H.264 cannot have.

    Raises:
      ValueError: its ending is another one.
      ImportError: PyAV is not installed.
    """
    av, path = require("av", extra="video"), check_format(path)
    with replacing(path) as temporary, av.open(str(temporary), "w") as container:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        # As films have it: 29.97 is 30000/1001.
        rate = fractions.Fraction(frame_rate).limit_denominator(1001)
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "20", "preset": "veryfast"}
        sized = False

        def add(pixels):
            nonlocal sized
            pixels = pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2]
            if not sized:
                stream.height, stream.width = pixels.shape[:2]
                sized = True
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))

        yield add
        if sized:
            container.mux(stream.encode())


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[tuple]:
    """Its container and the stream of its pictures."""
    av = require("av", extra="video")
    if not path.is_file():
        raise ValueError(f"video: no such film: {path}")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"video: {path}: no film, or damaged: {error.strerror}") from error
    with container:
        if not container.streams.video:
            raise ValueError(f"video: {path}: it has no pictures")
        yield container, container.streams.video[0]


def _seconds(container, stream) -> float | None:
    """How long a film is, as its header says."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1e6  # in microseconds


def _upright(frame, stream) -> np.ndarray:
    """The pixels as a player shows them: turned as the film says, and square."""
    ratio = stream.sample_aspect_ratio
    width = round(frame.width * (ratio or 1))
    pixels = frame.reformat(width=width, height=frame.height, format="rgb24").to_ndarray()
    return np.rot90(pixels, round(frame.rotation / 90))
