"""A parametric face built from published anthropometry, which needs no download.

As in DeCarlo, Metaxas and Stone, "An anthropometric face model using variational techniques",
SIGGRAPH 1998, tables of measurements constrain a smooth prior over faces. Here the prior is a
Gaussian process, so the result is a linear model in closed form, and one operator does all the
work: the least displacement under the prior that changes given dimensions by given amounts. It
moves hand-placed landmarks until the mean face has the published means, and it replaces the prior's
own variation of the measured dimensions by the published standard deviations.

Frame: millimetres; origin midway between the tragions (the ears), Frankfurt plane horizontal
(tragion and orbitale equally high); x right (the subject's left), y down, z away from the viewer,
so the nose tip is near (0, 21, -118).
"""

import functools
import pathlib

import jax
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.sources.anthropometry import DIMENSIONS, HEADBOARD

# Landmarks without a measured position, placed by hand between those that have one: (x, y, z) on
# the midline and, where `*` stands for both sides, on the left. The eye is a 12 mm ball whose front
# lies 17 mm in front of the lateral orbital rim (Hertel's measure). Placed by anatomy and by eye,
# with an eye on the distance from other mean faces, but fitted to none.
PLACED = {
    "nasion": (0.0, -26.0, -96.0),
    "nose_bridge_top": (0.0, -14.0, -96.0),
    "nose_bridge_upper": (0.0, -3.0, -102.0),
    "rhinion": (0.0, 2.0, -105.0),
    "nose_bridge_lower": (0.0, 8.5, -109.5),
    "supratip": (0.0, 18.5, -116.2),
    "labiale_superius": (0.0, 45.8, -101.8),
    "stomion_inferius": (0.0, 54.3, -97.7),
    "labiale_inferius": (0.0, 62.6, -99.0),
    "sublabiale": (0.0, 70.5, -91.0),
    "pogonion": (0.0, 84.5, -92.8),
    "brow_outer*": (55.0, -28.0, -73.0),
    "brow_lateral*": (47.0, -34.5, -82.5),
    "brow_middle*": (36.0, -37.5, -90.5),
    "brow_medial*": (24.5, -35.0, -94.5),
    "brow_inner*": (13.0, -31.5, -96.0),
    "orbitale_superius*": (36.5, -29.0, -88.0),
    "pupil*": (31.7, -12.5, -81.5),
    "palpebrale_superius*": (31.0, -17.5, -80.7),
    "palpebrale_inferius*": (30.8, -6.9, -79.5),
    "endocanthion*": (16.3, -11.0, -77.5),
    "upper_lid_medial*": (25.5, -16.6, -80.0),
    "upper_lid_lateral*": (36.5, -16.6, -78.5),
    "exocanthion*": (45.2, -12.8, -68.5),
    "lower_lid_lateral*": (36.0, -8.0, -77.0),
    "lower_lid_medial*": (25.5, -7.9, -79.0),
    "maxillofrontale*": (12.5, -9.5, -85.0),
    "nasal_sidewall*": (14.5, 8.0, -92.0),
    "nostril_border*": (13.0, 20.0, -105.5),
    "alar_curvature*": (17.3, 25.5, -94.0),
    "alar_base*": (14.5, 29.0, -95.5),
    "subalare*": (10.0, 29.0, -99.5),
    "alar_rim*": (10.7, 25.5, -104.5),
    "columella_apex*": (6.3, 26.0, -108.5),
    "columella_midpoint*": (4.3, 27.8, -105.0),
    "nostril_base*": (7.0, 30.0, -100.5),
    "crista_philtri*": (5.6, 45.0, -101.4),
    "upper_lip_medial*": (10.2, 46.3, -99.6),
    "upper_lip_lateral*": (17.5, 49.5, -94.8),
    "upper_lip_inner*": (8.5, 53.6, -97.0),
    "inner_cheilion*": (24.5, 55.0, -87.5),
    "lower_lip_inner*": (8.5, 54.5, -96.6),
    "lower_lip_medial*": (8.5, 62.0, -97.6),
    "lower_lip_lateral*": (17.5, 59.8, -92.5),
    # The outline of the frontal view: in front of the zygion, over the masseter, along the jaw.
    "jaw_0*": (68.5, -13.0, -26.0),
    "jaw_1*": (69.8, 5.0, -30.0),
    "jaw_2*": (67.8, 24.0, -30.0),
    "jaw_3*": (63.0, 44.0, -31.0),
    "jaw_4*": (55.5, 62.0, -36.0),
    "jaw_5*": (44.5, 77.0, -47.0),
    "jaw_6*": (31.0, 88.5, -62.0),
    "jaw_7*": (16.0, 95.5, -74.5),
}

# The prior: displacements that scale the face, move a region, and move a detail; mm.
SCALE_SD = 0.035
REGION_SD, REGION_LENGTH = 3.0, 40.0
DETAIL_SD, DETAIL_LENGTH = 1.0, 15.0
ASYMMETRY = 0.3  # standard deviation of antisymmetric displacements relative to symmetric ones
NUM_MODES = 80

# Opening the mouth turns the lower jaw about the condyles, 13 mm in front of the tragions; these
# landmarks follow by the given share. The other expressions are displacements, mm, of some
# landmarks, spread smoothly to the rest. Their sizes are our own choice, from no source.
JAW_ANGLE = np.deg2rad(14.0)
CONDYLE = np.array([0.0, 0.0, -13.0])
JAW_OPEN = {
    "menton": 1.0, "pogonion": 1.0, "sublabiale": 1.0, "gonion*": 0.9, "labiale_inferius": 1.0,
    "lower_lip_medial*": 0.97, "lower_lip_lateral*": 0.85, "stomion_inferius": 1.0,
    "lower_lip_inner*": 0.9, "cheilion*": 0.45, "inner_cheilion*": 0.45, "upper_lip_lateral*": 0.1,
    "jaw_7*": 1.0, "jaw_6*": 1.0, "jaw_5*": 0.95, "jaw_4*": 0.8, "jaw_3*": 0.5, "jaw_2*": 0.2,
}  # fmt: skip
SMILE = {
    "cheilion*": (7.0, -6.0, 5.0), "inner_cheilion*": (7.0, -5.5, 5.0),
    "upper_lip_lateral*": (4.0, -3.0, 2.5), "lower_lip_lateral*": (4.0, -2.0, 2.5),
    "labiale_superius": (0.0, -1.0, 1.0), "labiale_inferius": (0.0, 0.0, 1.0),
    "alare*": (1.0, -1.0, 0.5), "orbitale*": (0.0, -1.5, -0.5), "jaw_3*": (0.5, 0.0, 0.0),
    "pupil*": (0.0, 0.0, 0.0), "pronasale": (0.0, 0.0, 0.0), "menton": (0.0, 0.0, 0.0),
}  # fmt: skip
BROW_RAISE = {
    "brow_inner*": (0.0, -8.0, 1.0), "brow_middle*": (0.0, -9.0, 3.0),
    "brow_outer*": (0.0, -5.0, 2.0), "orbitale_superius*": (0.0, -7.0, 2.0),
    "glabella": (0.0, -5.0, 0.5), "palpebrale_superius*": (0.0, -1.0, 0.0),
    "pupil*": (0.0, 0.0, 0.0), "endocanthion*": (0.0, 0.0, 0.0), "exocanthion*": (0.0, 0.0, 0.0),
    "nose_bridge_top": (0.0, -0.5, 0.0), "zygion*": (0.0, 0.0, 0.0),
}  # fmt: skip
SPREAD_LENGTH = 20.0

# Of a mode's two directions LAPACK returns either, by the processor and the number of threads. One
# bit for each mode: 1 where its coordinates add up to less than 0, as they did when the published
# figures were measured.
DIRECTIONS = 0x8062A0AB64DB4DFC88B7


def load(topology: str, folder: pathlib.Path | None = None) -> MorphableModel:
    """The synthetic face model on the landmarks of a topology.

    Args:
      topology: name of the landmark topology.
      folder: not looked at, since the model needs no files.

    Returns:
      The model in mm, in the frame of this module: `NUM_MODES` identity modes, the principal
      components of all points of all topologies together, so that topologies agree where they
      share landmarks, and three expressions: mouth open, smile, brows raised.

    Raises:
      ValueError: the topology is unknown.
    """
    landmarks = topologies.get(topology).landmarks
    names, mean, identity, expression = _face()
    rows = [names.index(name) for name in landmarks]
    return MorphableModel(
        mean=jax.device_put(mean[rows].astype(np.float32)),
        identity=jax.device_put(identity[:, rows].astype(np.float32)),
        expression=jax.device_put(expression[:, rows].astype(np.float32)),
        topology=topology,
        unit="mm",
    )


def check(folder: pathlib.Path | None = None) -> list[str]:
    """No problems: there are no files."""
    return []


@functools.cache
def _face() -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Names (P), mean (P, 3), identity (K, P, 3), expression (E, P, 3) of all points, float64."""
    names, points = _draft()
    covariance = _prior(names, points)
    frame = _frame_of_reference(names)
    covariance = covariance - _response(covariance, frame) @ frame @ covariance
    target = np.array([d.mean for d in DIMENSIONS for _ in d.pairs])
    for _ in range(5):  # Newton's method; distances are nearly linear in small displacements
        distances, jacobian = _distances(names, points)
        points = points + (_response(covariance, jacobian) @ (target - distances)).reshape(-1, 3)

    # For the measured dimensions, keep the prior's correlations, which no source gives, and replace
    # its standard deviations; the prior's distribution given the dimensions stays as it is.
    jacobian = _distances(names, points)[1]
    response = _response(covariance, jacobian)
    prior = jacobian @ covariance @ jacobian.T
    ratio = np.array([d.sd for d in DIMENSIONS for _ in d.pairs]) / np.sqrt(np.diag(prior))
    covariance = covariance + response @ (prior * np.outer(ratio, ratio) - prior) @ response.T
    variances, vectors = np.linalg.eigh(covariance)
    modes = (vectors * np.sqrt(np.maximum(variances, 0))).T[::-1][:NUM_MODES]
    negative = np.array([bit == "1" for bit in f"{DIRECTIONS:0{NUM_MODES}b}"])
    modes[(modes.sum(axis=1) < 0) != negative] *= -1
    return names, points, modes.reshape(NUM_MODES, -1, 3), _expressions(names, points)


def _draft() -> tuple[list[str], np.ndarray]:
    """Measured and hand-placed points: names (P), positions (P, 3)."""
    half_breadth = {d.ends[0]: d.mean / 2 for d in DIMENSIONS if len(d.ends) == 1}
    left = dict(PLACED)
    for name, position in HEADBOARD.items():
        down_men, ahead_men, down_women, ahead_women = np.subtract(position, HEADBOARD["tragion*"])
        down, ahead = np.nanmean([[down_men, ahead_men], [down_women, ahead_women]], axis=0)
        left[name] = (half_breadth.get(name, 0.0), down, -ahead)
    return _both_sides(left)


def _both_sides(left: dict) -> tuple[list[str], np.ndarray]:
    """Names (P) and vectors (P, 3) of both sides from those of the left side and the midline."""
    vectors = {}
    for name, (x, y, z) in left.items():
        for full_name in topologies.expand_sides(name):
            vectors[full_name] = (-x if full_name.endswith("_right") else x, y, z)
    return list(vectors), np.array(list(vectors.values()))


def _prior(names: list[str], points: np.ndarray) -> np.ndarray:
    """Covariance (3P, 3P) of smooth, mostly symmetric displacements of the points."""
    covariance = REGION_SD**2 * _gaussian(points, points, REGION_LENGTH)
    covariance = covariance + DETAIL_SD**2 * _gaussian(points, points, DETAIL_LENGTH)
    covariance = np.kron(covariance, np.eye(3))
    covariance = covariance + SCALE_SD**2 * np.outer(points, points)
    mirror = [names.index(topologies.mirror_name(name)) for name in names]
    reflection = np.kron(np.eye(len(names))[mirror], np.diag([-1.0, 1.0, 1.0]))
    symmetric = (covariance + reflection @ covariance) / 2
    return symmetric + ASYMMETRY**2 * (covariance - symmetric)


def _gaussian(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    """Squared-exponential kernel (A, B) between two sets of points."""
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * length**2))


def _response(covariance: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
    """Least displacement (3P, D) under the prior that changes each of D linear functions by one."""
    return covariance @ jacobian.T @ np.linalg.inv(jacobian @ covariance @ jacobian.T)


def _frame_of_reference(names: list[str]) -> np.ndarray:
    """Six linear functions (6, 3P) of a displacement, zero if it stays in the module's frame."""
    right, left = (names.index(name) for name in topologies.expand_sides("tragion*"))
    jacobian = np.zeros((6, len(names), 3))
    for row, (point, axis) in enumerate([(right, 1), (right, 2), (left, 1), (left, 2)]):
        jacobian[row, point, axis] = 1
    jacobian[4, [right, left], 0] = 1
    jacobian[5, [names.index(name) for name in topologies.expand_sides("orbitale*")], 1] = 1
    return jacobian.reshape(6, -1)


def _distances(names: list[str], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The measured dimensions (D,) of a face (P, 3), and their Jacobian (D, 3P)."""
    pairs = [[names.index(name) for name in pair] for d in DIMENSIONS for pair in d.pairs]
    a, b = np.array(pairs).T
    difference = points[a] - points[b]
    distances = np.linalg.norm(difference, axis=-1)
    jacobian = np.zeros((len(pairs), *points.shape))
    rows = np.arange(len(pairs))
    jacobian[rows, a] = difference / distances[:, None]
    jacobian[rows, b] = -jacobian[rows, a]
    return distances, jacobian.reshape(len(pairs), -1)


def _expressions(names: list[str], points: np.ndarray) -> np.ndarray:
    """Displacements (3, P, 3) at full strength: mouth open, smile, brows raised."""
    share = {name: s for key, s in JAW_OPEN.items() for name in topologies.expand_sides(key)}
    share = np.array([share.get(name, 0.0) for name in names])
    sin, cos = np.sin(JAW_ANGLE), np.cos(JAW_ANGLE)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    fields: list[np.ndarray] = [share[:, None] * ((points - CONDYLE) @ (turn - np.eye(3)).T)]
    for moves in (SMILE, BROW_RAISE):
        moved, displacements = _both_sides(moves)
        controls = points[[names.index(name) for name in moved]]
        kernel = _gaussian(controls, controls, SPREAD_LENGTH) + 1e-3 * np.eye(len(controls))
        weights = np.linalg.solve(kernel, displacements)
        fields.append(_gaussian(points, controls, SPREAD_LENGTH) @ weights)
    return np.stack(fields)
