"""The landmarks of our topologies on MediaPipe's mesh of a face."""

import numpy as np

from deepmds_jax import topologies

NUM_POINTS = (468, 478)  # of the mesh, without and with the irises
TOPOLOGIES = ("flame51", "ibug68")

# The points of MediaPipe's canonical face (from 0) that are the 51 landmarks, chosen along its
# published contours FACEMESH_RIGHT_EYEBROW, _LEFT_EYEBROW, _NOSE, _RIGHT_EYE, _LEFT_EYE and _LIPS.
FLAME51_POINTS = np.array([
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # upper edges of the brows
    168, 197, 5, 4, 98, 97, 2, 326, 327,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91,  # lips, outside
    78, 82, 13, 312, 308, 317, 14, 87,  # lips, inside
])  # fmt: skip

# FACEMESH_FACE_OVAL from the subject's right temple over the chin to the left temple.
RIGHT_JAW = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)
LEFT_JAW = (152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)


def to_landmarks(mesh: np.ndarray, topology: str) -> np.ndarray:
    """Takes the landmarks of a topology from MediaPipe's mesh.

    The 51 of "flame51" are points of the mesh. The mesh does not mark the jaw line of "ibug68": its
    17 points are spread evenly, by length in 3D, over the contour of the face on either side of the
    chin.

    Args:
      mesh: (468 or 478, 3).
      topology: "flame51" or "ibug68".

    Returns:
      (N, 3), frame and unit of the mesh.

    Raises:
      ValueError: another topology.
    """
    if topology not in TOPOLOGIES:
        raise ValueError(f"topology: MediaPipe's mesh has the landmarks of "
                         f"{' and '.join(TOPOLOGIES)}, not of {topology}")
    inner = mesh[FLAME51_POINTS]
    if topology == "flame51":
        return inner
    num_jaw = topologies.get(topology).num_landmarks - len(inner)
    half = num_jaw // 2 + 1  # the chin is in both
    right, left = (_spread(mesh[list(line)], half) for line in (RIGHT_JAW, LEFT_JAW))
    return np.concatenate([right, left[1:], inner])


def _spread(line: np.ndarray, count: int) -> np.ndarray:
    """`count` points at equal steps along a line of (P, 3) points, its ends among them."""
    length = np.cumsum([0, *np.linalg.norm(np.diff(line, axis=0), axis=1)])
    steps = np.linspace(0, length[-1], count)
    return np.stack([np.interp(steps, length, axis) for axis in line.T], axis=1)
