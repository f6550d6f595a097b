"""Photographs in files: which there are, what they show, and whether they are whole."""

import os
import pathlib

import numpy as np

from deepmds_jax.data.formats.faces import natural_key
from deepmds_jax.data.formats.reasons import reason_of
from deepmds_jax.extras import require

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def list_photographs(path: str | os.PathLike) -> list[pathlib.Path]:
    """The photographs in a folder, in natural order, without hidden files; or the one file given.

    Raises:
      ValueError: no such file or folder, or a folder without photographs.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise ValueError(f"no such file or folder: {path}")
    if not path.is_dir():
        return [path]
    files = sorted((file for file in path.iterdir()
                    if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")),
                   key=lambda file: natural_key(file.name))
    if not files:
        raise ValueError(f"{path}: no photographs, expected some of {', '.join(SUFFIXES)}")
    return files


def read_photograph(path: str | os.PathLike) -> np.ndarray:
    """A photograph as viewers show it: turned as its EXIF data say, on white where transparent.

    Grey values of more than 8 bits are scaled: 16 bits by their range, floating point numbers by 1,
    or by 255 or 65535 where they are larger.

    Returns:
      (height, width, 3) uint8 RGB.

    Raises:
      ValueError: it is missing, damaged or no picture.
    """
    image = require("PIL.Image", extra="pictures")
    transpose = require("PIL.ImageOps", extra="pictures").exif_transpose
    try:
        with image.open(path) as opened:
            turned = transpose(opened)
            if turned.mode[0] in "IF":  # Pillow would clip these at 255
                return np.repeat(_to_8_bits(np.asarray(turned))[..., None], 3, axis=2)
            if turned.has_transparency_data:
                turned = turned.convert("RGBA")
                white = image.new("RGBA", turned.size, "white")
                turned = image.alpha_composite(white, turned)
            return np.asarray(turned.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise ValueError(f"{path}: cannot be read: {reason_of(error)}") from error


def check_image(path: pathlib.Path) -> None:
    """Decodes a photograph.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is damaged or cut off.
    """
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    try:
        with require("PIL.Image", extra="pictures").open(path) as image:
            image.load()
    except ImportError:
        raise
    except Exception as error:  # Pillow raises many kinds on a damaged file
        raise ValueError(f"{path}: not a whole picture: {error}") from error


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    if not np.isfinite(grey).all():
        raise ValueError("grey values are not finite")
    largest = grey.max(initial=0)
    if grey.dtype.kind == "f":
        white = next((white for white in (1, 255, 65535) if largest <= white), largest)
    else:  # Pillow gives 16 bits as 32 in some formats, and signed ones
        white = 65535 if grey.dtype.itemsize == 2 or 255 < largest <= 65535 else max(largest, 255)
    return np.rint(np.clip(grey / white, 0, 1) * 255).astype(np.uint8)
