"""How sure the names of the 72 landmarks of the Basel Face Model are, and a test of them.

The release of Deep-MDS lists 72 vertices and names none. `topologies.BFM72` infers their names;
what geometry can say of that is here: partners are mirror images, midline points lie on the
midline, and points along a contour come in order.
"""

from typing import NamedTuple

import numpy as np

from deepmds_jax import topologies

# How sure a name is, by the name without its side.
SURE = "sure"  # no other of the points can have it
LIKELY = "likely"  # of this place, but a neighbour that is as near may be what is meant
ORDER = "order only"  # one of a row whose order is certain, and whose names are not
_LIKELY = {
    "inner_cheilion", "supratip", "alar_curvature", "alar_base", "alare", "alar_rim",
    "nostril_border", "subalare", "columella_apex", "columella_midpoint", "upper_lip_lateral",
    "upper_lip_medial", "nasal_sidewall", "maxillofrontale", "orbitale", "orbitale_superius",
    "zygofrontale", "zygion", "gonion", "brow_outer", "sublabiale",
}
_ORDER = {"glabella", "nasion", "sellion", "nose_bridge_top"}

# Landmarks in order, downwards; or inwards, towards the midline, on either side.
_DOWN = (
    "glabella nasion sellion nose_bridge_top rhinion supratip pronasale subnasale "
    "labiale_superius stomion_superius labiale_inferius sublabiale pogonion menton",
    "orbitale_superius* palpebrale_superius* pupil* palpebrale_inferius* orbitale*",
    "zygofrontale* zygion* gonion*",
    "maxillofrontale* nasal_sidewall* alare*",
    "upper_lip_lateral* cheilion* lower_lip_lateral*",
)
_INWARD = (
    "zygion* exocanthion* pupil* endocanthion* sellion",
    "brow_outer* brow_middle* brow_inner* glabella",
    "cheilion* inner_cheilion* stomion_superius",
    "cheilion* upper_lip_lateral* upper_lip_medial* crista_philtri* labiale_superius",
    "cheilion* lower_lip_lateral* labiale_inferius",
    "alar_curvature* alar_base* subalare* columella_midpoint* subnasale",
    "nostril_border* alar_rim* columella_apex* pronasale",
)
# Of the distance of the outer eye corners. On the mean that the release's networks draw, the worst
# partner is 0.04 from the mirror image, and the worst point of the midline 0.02 from it.
_LARGEST = 0.08
_SLACK = 0.02  # likewise, by which neighbours on a contour may come in another order
_PARTNERS = np.array(topologies.BFM72.mirror)


class Evidence(NamedTuple):
    """What geometry says of a landmark; lengths as shares of the distance of the eye corners.

    Attributes:
      name: of the landmark.
      sure: "sure", "likely" or "order only".
      off: how far its mirror image is from its partner; itself on the midline.
      nearest: how far the nearest other landmark is.
    """

    name: str
    sure: str
    off: float
    nearest: float


def evidence(points: np.ndarray) -> list[Evidence]:
    """What is known of each of the 72 names.

    Args:
      points: (72, 3) of a mean face: x right, y down, z away from the viewer, any unit.
    """
    points, unit = _on_midline(points)
    mirrored = points[_PARTNERS] * [-1, 1, 1]
    off = np.linalg.norm(points - mirrored, axis=1) / unit
    others = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(others, np.inf)
    return [Evidence(name, certainty(name), float(a), float(b)) for name, a, b in zip(
        topologies.BFM72.landmarks, off, others.min(1) / unit, strict=True)]


def certainty(name: str) -> str:
    """How sure the name of a landmark is: "sure", "likely" or "order only"."""
    stem = name.removesuffix("_right").removesuffix("_left")
    return ORDER if stem in _ORDER else LIKELY if stem in _LIKELY else SURE


def doubts(points: np.ndarray) -> list[str]:
    """What contradicts the names, a line each: partners, sides, and orders along contours.

    Args:
      points: as `evidence` takes them.
    """
    found = [f"{e.name} and its partner are no mirror images of each other: {100 * e.off:.0f} % of "
             f"the distance of the outer eye corners off, expected {100 * _LARGEST:.0f} at most"
             for e in evidence(points) if not e.off <= _LARGEST]
    centred, unit = _on_midline(points)
    for name, (x, *_) in zip(topologies.BFM72.landmarks, centred, strict=True):
        if (name.endswith("_left") and not x > 0) or (name.endswith("_right") and not x < 0):
            found.append(f"{name} is on the other side of the face")
    for contours, values, direction in (
        (_DOWN, centred[:, 1], "further down"),
        (_INWARD, -np.abs(centred[:, 0]), "nearer to the midline"),
    ):
        for contour in (c for text in contours for c in topologies.expand_sides(text)):
            names = contour.split()
            rows = [topologies.BFM72.landmarks.index(name) for name in names]
            found += [f"{names[i + 1]} is not {direction} than {names[i]}"
                      for i in np.flatnonzero(~(np.diff(values[rows]) > -_SLACK * unit))]
    return found


def _on_midline(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The points with the midline at x = 0, and the distance of the outer eye corners."""
    points = np.asarray(points, np.float64)
    index = topologies.BFM72.landmarks.index
    unit = np.linalg.norm(points[index("exocanthion_left")] - points[index("exocanthion_right")])
    middle = (points[:, 0] + points[_PARTNERS, 0]).mean() / 2
    return points - [middle, 0, 0], float(unit)
