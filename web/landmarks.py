"""Prints, as JSON, what the page has to know of landmarks: topologies, and MediaPipe's mesh."""

import json

from deepmds_jax import topologies
from deepmds_jax.data.photos import mesh_landmarks


def describe() -> dict:
    """The topologies that MediaPipe's mesh has, and where on it their landmarks are.

    Returns:
      `topologies`, by name their `landmarks` and `edges`; and `mesh`, whose points from 0 are the
      `inner` landmarks, and the lines `right_jaw` and `left_jaw` that the others are spread over.
    """
    known = {name: topologies.get(name) for name in mesh_landmarks.TOPOLOGIES}
    return {
        "topologies": {name: {"landmarks": topology.landmarks, "edges": topology.edges}
                       for name, topology in known.items()},
        "mesh": {"inner": mesh_landmarks.FLAME51_POINTS.tolist(),
                 "right_jaw": mesh_landmarks.RIGHT_JAW, "left_jaw": mesh_landmarks.LEFT_JAW},
    }


if __name__ == "__main__":
    print(json.dumps(describe()))
