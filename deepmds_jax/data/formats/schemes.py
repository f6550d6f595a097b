"""Sets of landmarks that other programs use, and where ours are among them.

docs/landmarks.md lists them, and says which counterparts are exact.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from deepmds_jax.data.formats.faces import Face
from deepmds_jax.data.photos import mesh_landmarks
from deepmds_jax.topologies import Topology

# ibug68 among the 98 landmarks of WFLW: Wu et al., "Look at Boundary", CVPR 2018, fig. 1. Of the 33
# points of its jaw every other one; of the brows, 9 points around each, the upper edge; of an eye,
# 8 points with the middles of the lids, those between the middles and the corners. The nose, the
# corners of the eyes and the mouth are the same.
WFLW98 = (
    *range(0, 33, 2), *range(33, 38), *range(42, 47), *range(51, 60),
    60, 61, 63, 64, 65, 67, 68, 69, 71, 72, 73, 75, *range(76, 96),
)  # fmt: skip

# ibug68 among the 133 landmarks of COCO-WholeBody: 17 of the body, 6 of the feet, then the face as
# iBUG has it, then the hands. Jin et al., "Whole-Body Human Pose Estimation in the Wild", ECCV
# 2020, and github.com/jin-s13/COCO-WholeBody.
WHOLE_BODY133 = tuple(range(23, 91))

# By number of landmarks: where those of ibug68 are among them. OpenPose's 70 are these and pupils.
_IBUG68 = {68: tuple(range(68)), 70: tuple(range(68)), 98: WFLW98, 133: WHOLE_BODY133}

# By number of landmarks, the topology that they are read as where the weights may be chosen.
# MediaPipe's mesh has no jaw line, only something near it.
READ_AS = {**dict.fromkeys(_IBUG68, "ibug68"), **dict.fromkeys(mesh_landmarks.NUM_POINTS,
                                                               "flame51")}


def convert(face: Face, topology: Topology) -> Face:
    """The landmarks of a topology, taken from those of a known scheme where they are others.

    Raises:
      ValueError: another number of landmarks, which is no scheme that has those of the topology.
    """
    count = len(face)
    if count == topology.num_landmarks:
        return face
    if topology.name in mesh_landmarks.TOPOLOGIES:
        if count in mesh_landmarks.NUM_POINTS:
            return _from_mesh(face, topology)
        if count in _IBUG68:
            return _take(face, _IBUG68[count][-topology.num_landmarks:])
    raise ValueError(f"{count} landmarks, topology {topology.name} has {topology.num_landmarks}")


def _take(face: Face, indices: Sequence[int]) -> Face:
    chosen = list(indices)
    each = {name: value[chosen] for name in ("points", "visible", "confidence", "depth")
            if isinstance(value := getattr(face, name), np.ndarray)}
    return dataclasses.replace(face, **each)


def _from_mesh(face: Face, topology: Topology) -> Face:
    depth = np.zeros(len(face)) if face.depth is None else face.depth
    mesh = np.column_stack([np.where(face.visible[:, None], face.points, np.nan), depth])
    points = mesh_landmarks.to_landmarks(mesh, topology.name)
    confidence = None if isinstance(face.confidence, np.ndarray) else face.confidence
    return dataclasses.replace(face, points=points[:, :2], depth=points[:, 2],
                               visible=np.isfinite(points).all(-1), confidence=confidence)
