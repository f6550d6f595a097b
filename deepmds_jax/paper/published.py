"""What the paper reports and on which data, to print beside our own measurements.

Kamyab & Azimifar (2022), arXiv:2210.15200, tables 1 to 4.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

# The paper's trivial case, "our method only outputs one specific solution for all test inputs".
TRIVIAL = "trivial_case"

# Name -> title: the methods of `methods.registry`, and the programs that run elsewhere.
METHODS = {
    "deep_mds": "Deep-MDS",
    "zhao": "Zhao et al.",
    "aldrian": "Aldrian & Smith",
    "mobileface": "MobileFace",
    "ringnet": "RingNet",
    "mediapipe": "MediaPipe",
    "mean_shape": "mean shape",
    "posed_mean": "posed mean",
}
TITLES = METHODS | {TRIVIAL: "Deep-MDS, one output for all faces"}


class Reported(NamedTuple):
    """A row of one of the paper's tables.

    Attributes:
      depthcorr: the trace, at most the number of landmarks; None if the paper does not print it.
      mse: in the unit of the table.
    """

    depthcorr: float | None
    mse: float


class Data(NamedTuple):
    """Data to score on, and data that the methods are trained on.

    Attributes:
      dataset: name of the test faces' dataset, see data_specs.
      topology: name of their landmarks' topology.
      train: name of the training faces' dataset; its training runs and its mean face are used.
    """

    dataset: str
    topology: str
    train: str


@dataclasses.dataclass(frozen=True)
class ScoreTable:
    """Table 1, 3 or 4.

    Attributes:
      title: heading of the table.
      num_landmarks: the paper's N.
      unit: the paper's MSE are multiples of this number.
      scores: method, a key of `TITLES` -> its row.
      data: the paper's data, then substitutes for them, the most similar first.
      remark: what a reader must know about the paper's numbers.
    """

    title: str
    num_landmarks: int
    unit: float
    scores: Mapping[str, Reported]
    data: tuple[Data, ...]
    remark: str = ""


# ICT-FaceKit is a free model made from real scans; the synthetic faces need no file at all. Weights
# are shipped for 68 and 51 landmarks only, so the synthetic faces are listed with 72 and with 68.
_NEUTRAL = (
    Data("ict", "ibug68", "ict"),
    Data("synthetic", "bfm72", "synthetic"),
    Data("synthetic", "ibug68", "synthetic"),
)

SCORES = {
    "table1": ScoreTable(
        "Table 1: Basel Face Model, three kinds of projection",
        72,
        1e-4,
        {
            "zhao": Reported(71.42, 22),
            "aldrian": Reported(71.89, 2.5),
            "mobileface": Reported(71.97, 0.6),
            "deep_mds": Reported(71.95, 1.4),
            TRIVIAL: Reported(None, 2.9),
        },
        (Data("bfm", "bfm72", "bfm"), *_NEUTRAL),
    ),
    "table3": ScoreTable(
        "Table 3: CelebA photographs with fitted Basel faces",
        72,
        1e-5,
        {
            "zhao": Reported(71.46, 21),
            "mobileface": Reported(71.99, 0.092),
            "aldrian": Reported(71.91, 0.18),
            "deep_mds": Reported(71.99, 0.14),
        },
        (Data("celeba", "bfm72", "bfm"), Data("bfm", "bfm72", "bfm"), *_NEUTRAL),
    ),
    "table4": ScoreTable(
        "Table 4: CASIA-3D scans, methods trained on CoMA (FLAME landmarks)",
        51,
        1e-3,
        {
            "zhao": Reported(60, 2.6),
            "ringnet": Reported(65, 1.34),
            "mediapipe": Reported(68, 1.30),
            "deep_mds": Reported(65, 1.50),
        },
        # Scans have expressions, so ICT-FaceKit's faces are given some, too.
        (
            Data("casia3d", "flame51", "coma"),
            Data("coma", "flame51", "coma"),
            Data("ict_expression", "flame51", "ict_expression"),
            Data("synthetic", "flame51", "synthetic"),
        ),
        "The paper's DepthCorr of 60 to 68 cannot be the trace for its 51 landmarks, which is at "
        "most 51. It is printed as published, without a share trace/N.",
    ),
}

PARAMETERS_TITLE = "Table 2: parameters learnt"
# For 72 landmarks; as text, because one of them is a lower bound.
PARAMETERS = {
    "zhao": "114,840",
    "aldrian": "0",
    "mobileface": "900,979",
    "ringnet": "> 23,000,000",
    "deep_mds": "27,505",
}
