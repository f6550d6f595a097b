"""Lifts blocks of rows, all of one size, on all devices of this machine."""

import itertools
import threading

import jax
import numpy as np

from deepmds_jax.geometry import angles_from_rotation, place_in_image
from deepmds_jax.lifting import near_origin, reconstruct_detailed
from deepmds_jax.mds.cores import num_cores
from deepmds_jax.methods.contract import Params

# Rows of a block: on a CPU few, so that little of the last block of a part is empty; a GPU needs
# many to be busy.
BLOCK_ROWS = 1024
GPU_BLOCK_ROWS = 16384


class BlockLift:
    """Lifts blocks of rows; may be called by several threads at once.

    The weights are on every device, and each has one program for blocks with and one for those
    without hidden landmarks, compiled when the first such block comes.

    Attributes:
      block_rows: how many rows are computed at once; a shorter block is filled up.
      num_threads: how many threads keep the devices busy. On a CPU that is one for each core: XLA
        runs the loops of one program on one core, but programs of several threads in parallel.
    """

    def __init__(self, params: Params, *, num_threads: int | None = None):
        """Puts the weights on all devices of this process.

        Args:
          params: the weights.
          num_threads: instead of one for each core.
        """
        devices = jax.local_devices()
        on_cpu = devices[0].platform == "cpu"
        self.block_rows = BLOCK_ROWS if on_cpu else GPU_BLOCK_ROWS
        # Two for a GPU: one prepares its block while that of the other is computed.
        self.num_threads = num_threads or (num_cores() if on_cpu else 2 * len(devices))
        self._devices = devices
        self._params = [jax.device_put(params, device) for device in devices]
        self._turns = itertools.cycle(range(len(devices)))
        self._programs: dict[tuple[int, bool], jax.stages.Compiled] = {}
        self._lock = threading.Lock()

    def __call__(self, x2d: np.ndarray, visible: np.ndarray | None) -> dict[str, np.ndarray]:
        """Lifts up to `block_rows` rows.

        Args:
          x2d: (rows, N, 2) float32 or float64; a row whose landmarks are all equal gives NaN.
          visible: (rows, N) bool, or None.

        Returns:
          (rows, ...) arrays: `points`, `std` (which the published system lacks), `rotation` and
          `status` of a `Reconstruction`; `yaw`, `pitch` and `roll` in degrees.
        """
        rows = len(x2d)
        x2d = self._fill_up(np.asarray(near_origin(x2d, visible), np.float32))
        visible = None if visible is None else self._fill_up(visible)
        if not rows:  # many a folder has files of none
            of_none = jax.eval_shape(lift_rows, self._params[0], x2d, visible)
            return {name: np.zeros((0, *array.shape[1:]), array.dtype)
                    for name, array in of_none.items()}
        with self._lock:
            turn = next(self._turns)
            program = self._program(turn, x2d, visible)
        given = jax.device_put((x2d, visible), self._devices[turn])
        lifted = program(self._params[turn], *given)
        return {name: array[:rows] for name, array in jax.device_get(lifted).items()}

    def _fill_up(self, rows: np.ndarray) -> np.ndarray:
        missing = self.block_rows - len(rows)
        return np.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1)) if missing else rows

    def _program(
        self, turn: int, x2d: np.ndarray, visible: np.ndarray | None
    ) -> jax.stages.Compiled:
        key = turn, visible is not None
        if key not in self._programs:
            given = jax.device_put((x2d, visible), self._devices[turn])
            self._programs[key] = jax.jit(lift_rows).lower(self._params[turn], *given).compile()
        return self._programs[key]


def lift_rows(params: Params, x2d: jax.Array, visible: jax.Array | None) -> dict[str, jax.Array]:
    """What `BlockLift` computes; pure, see there."""
    found = reconstruct_detailed(params, x2d, visible)
    rotation = found.rotation
    if rotation is None:
        rotation = place_in_image(found.points, x2d, visible).rotation
    yaw, pitch, roll = angles_from_rotation(rotation)
    std = {} if found.std is None else {"std": found.std}
    return {"points": found.points, **std, "rotation": rotation, "yaw": yaw, "pitch": pitch,
            "roll": roll, "status": found.status}
