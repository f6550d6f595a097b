"""Landmark topologies: how many points, what each means, how to mirror and to draw them.

A landmark's name is its anatomical term (Farkas, "Anthropometry of the Head and Face", 1994); a
paired one ends in `_right` or `_left`, the subject's side. The same name in two topologies is the
same anatomical point. `register` adds a set of landmarks of your own.
"""

import dataclasses
import itertools

SIDES = ("right", "left")


@dataclasses.dataclass(frozen=True)
class Topology:
    """The meaning and order of a set of landmarks.

    Attributes:
      name: its key in `TOPOLOGIES`.
      landmarks: (N,) anatomical name of each landmark.
      mirror: (N,) index of each landmark's partner on the other side of the face, itself on the
        midline. `points[..., mirror, :]` with x negated is the mirrored face.
      edges: pairs of indices to connect when drawing.
    """

    name: str
    landmarks: tuple[str, ...]
    mirror: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]

    @property
    def num_landmarks(self) -> int:
        """Number of landmarks N."""
        return len(self.landmarks)


def get(name: str) -> Topology:
    """The topology called `name`; ValueError if there is none."""
    if name not in TOPOLOGIES:
        raise ValueError(f"topology: got {name!r}, expected one of {', '.join(TOPOLOGIES)}")
    return TOPOLOGIES[name]


def register(topology: Topology) -> None:
    """Adds a topology, which `get` and everything that takes a topology's name then find.

    A few names have a meaning elsewhere: the distance between `exocanthion_right` and
    `exocanthion_left` is the unit of some errors, and the landmarks called `jaw_*` or `menton` are
    those that `Augmentation.contour` slides and that a spec's `outline` moves, in their order along
    the jaw from the subject's right to the left.

    Raises:
      ValueError: the name is taken, two landmarks have the same name, `mirror` is not a permutation
        of the landmarks that undoes itself, or an edge does not join two different landmarks.
    """
    name, num = topology.name, topology.num_landmarks
    if name in TOPOLOGIES:
        raise ValueError(f"topology: {name!r} is taken, expected a name other than "
                         f"{', '.join(TOPOLOGIES)}")
    if len(set(topology.landmarks)) < num:
        twice = sorted({n for n in topology.landmarks if topology.landmarks.count(n) > 1})
        raise ValueError(f"landmarks: expected a name of its own for each in {name!r}, got "
                         f"{', '.join(twice)} more than once")
    if len(topology.mirror) != num:
        raise ValueError(f"mirror: expected a partner for each of the {num} landmarks of {name!r}, "
                         f"got {len(topology.mirror)}")
    for i, partner in enumerate(topology.mirror):
        if not 0 <= partner < num or topology.mirror[partner] != i:
            raise ValueError(f"mirror: expected partners from 0 to {num - 1} that have each other "
                             f"in {name!r}, got {partner} for landmark {i}")
    for edge in topology.edges:
        if len(edge) != 2 or edge[0] == edge[1] or not all(0 <= end < num for end in edge):
            raise ValueError(f"edges: expected pairs of two landmarks from 0 to {num - 1} in "
                             f"{name!r}, got {edge}")
    TOPOLOGIES[name] = topology


def mirror_name(landmark: str) -> str:
    """The name of the partner on the other side of the face; the same for a midline landmark."""
    stem, _, side = landmark.rpartition("_")
    return f"{stem}_{SIDES[1 - SIDES.index(side)]}" if side in SIDES else landmark


def expand_sides(text: str) -> tuple[str, ...]:
    """`text` for the right and the left side, `*` becoming the suffix; once if it has no `*`."""
    return tuple(text.replace("*", f"_{side}") for side in SIDES) if "*" in text else (text,)


def _build(name: str, landmarks: str, chains: tuple[str, ...]) -> Topology:
    """Topology from landmark names and polylines through them, `*` standing for both sides."""
    names = tuple(landmarks.split())
    paths = [path.split() for chain in chains for path in expand_sides(chain)]
    edges = ((names.index(a), names.index(b)) for p in paths for a, b in itertools.pairwise(p))
    mirror = (names.index(mirror_name(landmark)) for landmark in names)
    return Topology(name, names, tuple(mirror), tuple(edges))


def _sided(landmarks: str, side: str) -> str:
    return " ".join(f"{landmark}_{side}" for landmark in landmarks.split())


def _reversed(landmarks: str) -> str:
    return " ".join(reversed(landmarks.split()))


_JAW = " ".join(f"jaw_{i}" for i in range(8))
_BROW = "brow_outer brow_lateral brow_middle brow_medial brow_inner"
_RIGHT_EYE = (
    "exocanthion upper_lid_lateral upper_lid_medial endocanthion lower_lid_medial lower_lid_lateral"
)
_LEFT_EYE = (
    "endocanthion upper_lid_medial upper_lid_lateral exocanthion lower_lid_lateral lower_lid_medial"
)
_UPPER_LIP = "cheilion upper_lip_lateral crista_philtri"
_LOWER_LIP = "lower_lip_lateral lower_lip_medial"

# Gross et al., "Multi-PIE", 2010, as used by Sagonas et al., "300 Faces in-the-Wild", 2013.
IBUG68 = _build(
    "ibug68",
    " ".join([
        _sided(_JAW, "right"), "menton", _sided(_reversed(_JAW), "left"),
        _sided(_BROW, "right"), _sided(_reversed(_BROW), "left"),
        "nose_bridge_top nose_bridge_upper nose_bridge_lower pronasale",
        "alar_base_right nostril_base_right subnasale nostril_base_left alar_base_left",
        _sided(_RIGHT_EYE, "right"), _sided(_LEFT_EYE, "left"),
        _sided(_UPPER_LIP, "right"), "labiale_superius", _sided(_reversed(_UPPER_LIP), "left"),
        _sided(_LOWER_LIP, "left"), "labiale_inferius", _sided(_reversed(_LOWER_LIP), "right"),
        "inner_cheilion_right upper_lip_inner_right stomion_superius",
        "upper_lip_inner_left inner_cheilion_left",
        "lower_lip_inner_left stomion_inferius lower_lip_inner_right",
    ]),
    (
        " ".join(f"jaw_{i}*" for i in range(8)) + " menton",
        "brow_outer* brow_lateral* brow_middle* brow_medial* brow_inner*",
        "nose_bridge_top nose_bridge_upper nose_bridge_lower pronasale",
        "alar_base* nostril_base* subnasale",
        "exocanthion* upper_lid_lateral* upper_lid_medial* endocanthion*",
        "endocanthion* lower_lid_medial* lower_lid_lateral* exocanthion*",
        "cheilion* upper_lip_lateral* crista_philtri* labiale_superius",
        "cheilion* lower_lip_lateral* lower_lip_medial* labiale_inferius",
        "inner_cheilion* upper_lip_inner* stomion_superius",
        "inner_cheilion* lower_lip_inner* stomion_inferius",
    ),
)  # fmt: skip

# iBUG without the jaw line: points 17 to 67, the landmarks of FLAME.
FLAME51 = Topology(
    "flame51",
    IBUG68.landmarks[17:],
    tuple(i - 17 for i in IBUG68.mirror[17:]),
    tuple((a - 17, b - 17) for a, b in IBUG68.edges if min(a, b) >= 17),
)

# The 72 points of the DeepMDS release: vertices of the Basel Face Model 2009 in increasing order of
# index. They are feature points of MPEG-4 and of Farkas that the Basel model marks. Their names are
# inferred from the MPEG-4 (ISO/IEC 14496-2) numbers published for some of them and from the mean
# frontal face; of the midline points above the nose (64, 23, 24, 25) only the order is certain.
BFM72 = _build(
    "bfm72",
    " ".join([
        _sided(
            "exocanthion orbitale palpebrale_inferius palpebrale_superius pupil orbitale_superius "
            "cheilion inner_cheilion alar_curvature upper_lip_lateral alar_base endocanthion "
            "nasal_sidewall alare maxillofrontale lower_lip_lateral upper_lip_medial subalare "
            "nostril_border alar_rim crista_philtri columella_apex columella_midpoint", "right"),
        "nasion sellion nose_bridge_top rhinion supratip pronasale subnasale",
        "labiale_superius stomion_superius labiale_inferius sublabiale",
        _sided(
            "columella_apex columella_midpoint crista_philtri alar_rim nostril_border subalare "
            "upper_lip_medial maxillofrontale lower_lip_lateral alare nasal_sidewall endocanthion "
            "alar_base upper_lip_lateral alar_curvature inner_cheilion cheilion orbitale_superius "
            "palpebrale_superius pupil palpebrale_inferius orbitale exocanthion", "left"),
        "zygion_right zygofrontale_right zygofrontale_left zygion_left",
        "brow_outer_right brow_middle_right brow_inner_right glabella",
        "brow_inner_left brow_middle_left brow_outer_left",
        "gonion_right pogonion menton gonion_left",
    ]),
    (
        "zygofrontale* zygion* gonion* menton",
        "brow_outer* brow_middle* brow_inner*",
        "exocanthion* palpebrale_superius* endocanthion* palpebrale_inferius* exocanthion*",
        "glabella nasion sellion nose_bridge_top rhinion supratip pronasale",
        "maxillofrontale* nasal_sidewall* nostril_border* alare* alar_curvature* alar_base*",
        "alar_base* subalare* columella_midpoint* subnasale",
        "subalare* alar_rim* columella_apex* columella_midpoint*",
        "cheilion* upper_lip_lateral* upper_lip_medial* crista_philtri* labiale_superius",
        "cheilion* lower_lip_lateral* labiale_inferius",
        "inner_cheilion* stomion_superius",
        "sublabiale pogonion menton",
    ),
)  # fmt: skip

# Topologies by name, in the order of registration.
TOPOLOGIES = {topology.name: topology for topology in (IBUG68, FLAME51, BFM72)}
