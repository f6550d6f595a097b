"""Runs methods over test faces."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from deepmds_jax.data.views import Faces
from deepmds_jax.evaluation.metrics import Metrics, score

_BATCH = 250


def evaluate(
    methods: Mapping[str, Callable[[jax.Array], jax.Array]], faces: Faces
) -> dict[str, Metrics]:
    """Scores every method on every face.

    Args:
      methods: by name, see `deepmds_jax.methods`.
      faces: F test faces and one view of each.

    Returns:
      By method, `Metrics` of (F,) NumPy arrays.
    """
    num_faces = faces.x2d.shape[0]
    batch = min(_BATCH, num_faces)
    num_batches = -(-num_faces // batch)
    # Whole batches compile once: the last one is filled up with the first faces, cut off below.
    index = jnp.arange(num_batches * batch) % num_faces
    results = {}
    for name, method in methods.items():
        run = jax.jit(lambda faces, method=method: score(faces.points, method(faces.x2d)))
        parts = [
            jax.device_get(run(jax.tree.map(lambda x, rows=rows: x[rows], faces)))
            for rows in tqdm.tqdm(index.reshape(-1, batch), desc=name, unit="batch")
        ]
        results[name] = Metrics(*(np.concatenate(x)[:num_faces] for x in zip(*parts, strict=True)))
    return results
