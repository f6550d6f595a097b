"""The Basel Face Model 2009, the paper's training data. Licensed: each user asks for it.

Paysan, Knothe, Amberg, Romdhani & Vetter (2009), "A 3D face model for pose and illumination
invariant face recognition", AVSS.
"""

import pathlib

import jax.numpy as jnp
import numpy as np

from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.extras import require


def load(topology: str, folder: pathlib.Path) -> MorphableModel:
    """Loads the model at the paper's 72 landmarks, in millimetres, in the model's own origin.

    Args:
      topology: "bfm72".
      folder: holds `01_MorphableModel.mat` of the Basel Face Model and `landmarks_me_72.mat`, the
        vertices of the 72 landmarks (1-based), of the authors' release.

    Raises:
      ValueError: another topology, or damaged files.
      FileNotFoundError: a file is missing; names it.
    """
    if topology != "bfm72":
        raise ValueError(f"topology: bfm has ['bfm72'], got {topology!r}")
    model = _read(folder / "01_MorphableModel.mat", ("shapeMU", "shapePC", "shapeEV"))
    landmarks = _read(folder / "landmarks_me_72.mat", ("landmarks",))["landmarks"]
    vertices = landmarks.ravel().astype(int) - 1
    num_vertices = model["shapeMU"].size // 3
    if vertices.size != 72 or vertices.max() >= num_vertices:
        raise ValueError(f"{folder}: expected 72 landmarks within the {num_vertices} vertices, "
                         f"got {vertices.size} up to {vertices.max()}")
    components = (model["shapePC"] * model["shapeEV"].ravel()).T.reshape(-1, num_vertices, 3)
    # The file is in micrometres, y up and z towards the viewer.
    to_frame = np.array([1, -1, -1]) * 1e-3
    mean = model["shapeMU"].reshape(num_vertices, 3)[vertices] * to_frame
    identity = components[:, vertices] * to_frame
    return MorphableModel(
        jnp.asarray(mean, jnp.float32),
        jnp.asarray(identity, jnp.float32),
        jnp.zeros((0, 72, 3), jnp.float32),
        topology=topology,
        unit="mm",
    )


def _read(path: pathlib.Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not path.exists():
        raise FileNotFoundError(f"no {path}")
    try:
        content = require("scipy.io", extra="files").loadmat(path, variable_names=names)
        return {name: content[name].astype(np.float64) for name in names}
    except ImportError:
        raise
    except Exception as error:  # scipy raises many kinds on a damaged file
        raise ValueError(f"{path}: expected a MATLAB file with {list(names)}: {error}") from error
