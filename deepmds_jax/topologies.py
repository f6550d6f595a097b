"""Landmark topologies: how many points, what each means, how to mirror and to draw them.

A landmark's name is its anatomical term (Farkas, "Anthropometry of the Head and Face", 1994); a
paired one ends in `_right` or `_left`, the subject's side. The same name in two topologies is the
same anatomical point. `register` adds landmarks of your own; so does `get`, from a TOML file.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

SIDES = ("right", "left")


@dataclasses.dataclass(frozen=True)
class Topology:
    """The meaning and order of a set of landmarks.

    Attributes:
      name: its key in `TOPOLOGIES`.
      landmarks: (N,) anatomical name of each landmark.
      mirror: (N,) index of each landmark's partner on the other side of the face, itself on the
        midline. `points[..., mirror, :]` with x negated is the mirrored face. None for things
        without symmetry, such as hands.
      edges: pairs of indices to connect when drawing.
    """

    name: str
    landmarks: tuple[str, ...]
    mirror: tuple[int, ...] | None
    edges: tuple[tuple[int, int], ...]

    @property
    def num_landmarks(self) -> int:
        """Number of landmarks N."""
        return len(self.landmarks)


def get(name: str | os.PathLike[str]) -> Topology:
    """A topology by its name, or by the path of its file, which ends in .toml.

    That of a file is known by its name from then on. The file has the entries `name`; `landmarks`,
    a list of names; `mirror`, pairs of landmarks that change places (the others stay where they
    are; without the entry the thing has no symmetry); and `edges`, pairs of landmarks to connect
    (none without the entry). Landmarks in pairs are names, or indices from 0.

    Raises:
      ValueError: there is none; the file is missing or wrong, or its name is that of another.
    """
    text = os.fspath(name)
    if text.endswith(".toml"):
        return _read(pathlib.Path(text))
    if text not in TOPOLOGIES:
        raise ValueError(f"topology: got {name!r}, expected one of {', '.join(TOPOLOGIES)}, or a "
                         "file of your own, NAME.toml")
    return TOPOLOGIES[text]


def to_json(name: str) -> str | None:
    """All that a topology is, for a file that has to be understood without it; see `from_json`.

    Returns:
      None for the topologies of this package, which are known everywhere.
    """
    topology = get(name)
    return None if topology in _BUILT_IN else json.dumps(dataclasses.asdict(topology))


def from_json(text: str) -> Topology:
    """The topology that `to_json` described; known by its name from then on.

    Raises:
      ValueError: the text is damaged, or the name is that of another topology.
    """
    try:
        content = json.loads(text)
        landmarks, mirror, edges = (content[key] for key in ("landmarks", "mirror", "edges"))
        topology = Topology(content["name"], tuple(landmarks), mirror and tuple(mirror),
                            tuple(map(tuple, edges)))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"topology: expected the JSON of one, got {text[:60]!r}") from error
    return _adopt(topology)


def _adopt(topology: Topology) -> Topology:
    """Registers a topology that may be known already."""
    known = TOPOLOGIES.get(topology.name)
    if known is None:
        register(topology)
    elif known != topology:
        fields = [f.name for f in dataclasses.fields(Topology)
                  if getattr(known, f.name) != getattr(topology, f.name)]
        raise ValueError(f"topology: another one called {topology.name!r} is known, with other "
                         f"{' and '.join(fields)}; expected the same, or another name")
    return TOPOLOGIES[topology.name]


def _read(path: pathlib.Path) -> Topology:
    if not path.is_file():
        raise ValueError(f"topology: no file {path}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        unknown = content.keys() - {field.name for field in dataclasses.fields(Topology)}
        missing = {"name", "landmarks"} - content.keys()
        if unknown or missing:
            raise ValueError("expected name, landmarks and, if wanted, mirror and edges, got "
                             f"{', '.join(content) or 'nothing'}")
        names = content["landmarks"]
        if not isinstance(content["name"], str) or not isinstance(names, list) or not all(
            isinstance(name, str) for name in names
        ):
            raise ValueError("expected a text as name and a list of texts as landmarks")
        mirror = _permutation(content, names) if "mirror" in content else None
        edges = tuple(_pairs(content, "edges", names))
        return _adopt(Topology(content["name"], tuple(names), mirror, edges))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error


def _permutation(content: Mapping[str, Any], names: list[str]) -> tuple[int, ...]:
    """The partner of each landmark, where `mirror` lists pairs of them."""
    partners = list(range(len(names)))
    for a, b in _pairs(content, "mirror", names):
        if partners[a] != a or partners[b] != b or a == b:
            raise ValueError(f"mirror: expected each landmark in one pair at most, got "
                             f"[{names[a]}, {names[b]}] besides")
        partners[a], partners[b] = b, a
    return tuple(partners)


def _pairs(content: Mapping[str, Any], entry: str, names: list[str]) -> list[tuple[int, int]]:
    pairs = []
    for pair in content.get(entry, []):
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"{entry}: expected pairs of landmarks, got {pair!r}")
        for end in pair:
            if end not in (names if isinstance(end, str) else range(len(names))):
                raise ValueError(f"{entry}: expected names of landmarks, or indices from 0 to "
                                 f"{len(names) - 1}, got {end!r}")
        a, b = (names.index(end) if isinstance(end, str) else int(end) for end in pair)
        pairs.append((a, b))
    return pairs


def register(topology: Topology) -> None:
    """Adds a topology, which `get` and everything that takes a topology's name then find.

    A few names have a meaning elsewhere: the distance between `exocanthion_right` and
    `exocanthion_left`, where there are both, is the unit of some errors, and the landmarks called
    `jaw_*` or `menton` are those that `Augmentation.contour` slides and that a spec's `outline`
    moves, in their order along the jaw from the subject's right to the left.

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
    mirror = range(num) if topology.mirror is None else topology.mirror
    if len(mirror) != num:
        raise ValueError(f"mirror: expected a partner for each of the {num} landmarks of {name!r}, "
                         f"got {len(mirror)}")
    for i, partner in enumerate(mirror):
        if not 0 <= partner < num or mirror[partner] != i:
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
    return Topology(name, names, _mirror(names), tuple(edges))


def _mirror(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(names.index(mirror_name(landmark)) for landmark in names)


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
    tuple(i - 17 for i in _mirror(IBUG68.landmarks)[17:]),
    tuple((a - 17, b - 17) for a, b in IBUG68.edges if min(a, b) >= 17),
)

# The 72 points of the DeepMDS release: vertices of the Basel Face Model 2009 in increasing order of
# index. They are feature points of MPEG-4 and of Farkas that the Basel model marks. Their names are
# inferred from the MPEG-4 (ISO/IEC 14496-2) numbers published for some of them and from the mean
# frontal face; of the midline points above the nose (64, 23, 24, 25) only the order is certain. How
# sure each is: `data.sources.bfm_landmarks`, docs/bfm72.md.
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

_BUILT_IN = (IBUG68, FLAME51, BFM72)

# Topologies by name, in the order of registration.
TOPOLOGIES = {topology.name: topology for topology in _BUILT_IN}
