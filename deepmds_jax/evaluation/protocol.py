"""Runs methods over test faces."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from deepmds_jax.data.views import Faces
from deepmds_jax.evaluation.metrics import Metrics, score
from deepmds_jax.methods import Method

_BATCH = 250


def evaluate(
    methods: Sequence[Method], faces: Faces
) -> dict[str, Metrics]:
    """Scores every method on every face.

    Args:
      methods: see `deepmds_jax.methods`; their titles differ.
      faces: F test faces and one view of each.

    Returns:
      By title, `Metrics` of (F,) NumPy arrays.
    """
    num_faces = faces.x2d.shape[0]
    batch = min(_BATCH, num_faces)
    num_batches = -(-num_faces // batch)
    # Whole batches compile once: the last one is filled up with the first faces, cut off below.
    index = jnp.arange(num_batches * batch) % num_faces
    results = {}
    for title, predict, _ in methods:
        run = jax.jit(lambda faces, predict=predict: score(faces.points, predict(faces)))
        parts = [
            jax.device_get(run(jax.tree.map(lambda x, rows=rows: x[rows], faces)))
            for rows in tqdm.tqdm(index.reshape(-1, batch), desc=title, unit="batch")
        ]
        results[title] = Metrics(*(np.concatenate(x)[:num_faces] for x in zip(*parts, strict=True)))
    return results
