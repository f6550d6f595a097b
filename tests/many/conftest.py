"""Parts, and something in the place of the weights that needs no compilation."""

import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepmds_jax.mds import Status

BLOCK_ROWS = 8


class FakeLift:
    """Instead of `BlockLift`: the landmarks are the shape, z the number of visible ones."""

    block_rows, num_threads = BLOCK_ROWS, 3

    def __init__(self):
        self.sizes = []

    def __call__(self, x2d, visible):
        self.sizes.append(len(x2d))
        rows, num, _ = x2d.shape
        seen = np.full(rows, num) if visible is None else visible.sum(-1)
        depth = np.broadcast_to(seen[:, None, None], (rows, num, 1))
        angle = np.arange(rows, dtype=np.float32)
        return {"points": np.concatenate([x2d, depth], -1).astype(np.float32),
                "rotation": np.broadcast_to(np.eye(3, dtype=np.float32), (rows, 3, 3)),
                "yaw": angle, "pitch": angle, "roll": angle,
                "status": np.full(rows, Status.CONVERGED)}


@pytest.fixture
def fake_lift():
    return FakeLift()


@pytest.fixture(scope="session")
def parts51(tmp_path_factory):
    """A folder of parts of flame51 with 20 rows, 3 and none; and the landmarks of each."""
    folder = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(0)
    known = {}
    for name, rows in (("a", 20), ("b", 3), ("c", 0)):
        x2d = known[name] = rng.normal(size=(rows, 51, 2)).astype(np.float32)
        table = pa.table({
            "id": np.arange(rows),
            "landmarks": pa.FixedSizeListArray.from_arrays(x2d.ravel(), 102),
            "kind": pa.array(["x", "y"] * (rows // 2) + ["x"] * (rows % 2),
                             pa.string()).dictionary_encode(),
            "tags": pa.array([[str(i)] * (i % 3) for i in range(rows)], pa.list_(pa.string())),
        })
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=6)
    return types.SimpleNamespace(folder=folder, x2d=known)
