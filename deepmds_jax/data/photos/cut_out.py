"""Faces cut out of photographs, as pictures of models' faces show them."""

import pathlib
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from deepmds_jax.data.photos.reading import read_photograph
from deepmds_jax.data.rendering import SIZE, crop
from deepmds_jax.extras import require


def cut_out(paths: Sequence[pathlib.Path | None], x2d: np.ndarray) -> np.ndarray:
    """Cuts out faces by the square that `rendering.crop` takes of their landmarks.

    Args:
      paths: of the F photographs.
      x2d: (F, N, 2) landmarks in pixels, 0 at the centre of the first one.

    Returns:
      (F, SIZE, SIZE, 3) float32 RGB in [0, 1]; black beyond the photographs.

    Raises:
      ValueError: a photograph is missing or damaged.
      ImportError: Pillow is not installed.
    """
    image = require("PIL.Image", extra="pictures")
    corners, sides = map(np.asarray, crop(jnp.asarray(x2d)))
    pictures = np.zeros((len(paths), SIZE, SIZE, 3), np.float32)
    for i, (path, corner, side) in enumerate(zip(paths, corners, sides, strict=True)):
        if path is None:
            raise ValueError(f"face {i}: no photograph, expected one of each face")
        photograph = image.fromarray(read_photograph(path))
        x, y = corner + 0.5  # Pillow counts from the edges of pixels
        box = photograph.crop((round(x), round(y), round(x + side), round(y + side)))
        pictures[i] = np.asarray(box.resize((SIZE, SIZE)), np.float32) / 255
    return pictures
