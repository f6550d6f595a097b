"""What every compared method is."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from deepmds_jax.data.views import Faces


class Method(NamedTuple):
    """A method, ready to run.

    Attributes:
      title: for tables and pictures.
      predict: F `Faces` -> (F, N, 3) points, x right, y down, z away from the viewer; pure and
        compilable by `jit`.
      num_params: how many parameters were learnt, as Table 2 counts them; None is not known.
    """

    title: str
    predict: Callable[[Faces], jax.Array]
    num_params: int | None
