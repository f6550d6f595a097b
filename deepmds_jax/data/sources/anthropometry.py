"""Published head-and-face measurements of adults: the numbers the `synthetic` face is built from.

In all names `*` stands for both sides.
"""

from typing import NamedTuple

import numpy as np

from deepmds_jax import topologies

# U.S. Army, 1,774 men and 2,208 women: Gordon et al., "1988 Anthropometric Survey of U.S. Army
# Personnel: Methods and Summary Statistics", NATICK/TR-89/044. Its automated headboard located
# landmarks with the head in the Frankfurt plane. Taken from the public transcription
# hfelabs-boop/AnthropometricRepo, aggregates/raw/usarmy.csv (centimetres checked against inches).
ANSUR = "Gordon et al. 1988"
# North American whites, 109 men and 200 women: Farkas, Katic and Forrest, Ann. Plast. Surg. 2007,
# 59:692-698, as tabulated by Virdi, Wertheim and Naini, Maxillofac. Plast. Reconstr. Surg. 2019,
# 41:9, tables 2, 3 and 6. Taken from public quotations of these tables, not from the papers.
FARKAS = "Farkas et al. 2007"
# Farkas, "Anthropometry of the Head and Face", 1994: quoted from memory, not verified.
MEMORY = "Farkas 1994 (unverified)"

# ANSUR headboard means, mm: distance below the top and in front of the back of the head, for men,
# then for women. NaN where the scan of the report is illegible: the other sex stands for both.
HEADBOARD = {
    "tragion*": (131.0, 98.9, 123.5, 97.4),
    "orbitale*": (130.8, 180.8, 124.1, 176.1),
    "ectoorbitale*": (118.2, 160.1, 111.5, 153.5),
    "zygofrontale*": (106.3, 171.2, 98.3, np.nan),
    "frontotemporale*": (90.4, 174.5, 84.0, 166.1),
    "zygion*": (131.2, 132.6, 126.3, 128.5),
    "gonion*": (197.9, 117.6, 181.9, 106.4),
    "alare*": (155.4, 199.8, 146.5, 191.3),
    "cheilion*": (187.9, 185.4, 177.2, 179.7),
    "glabella": (96.2, 199.7, 88.3, 191.0),
    "sellion": (112.0, 197.0, 105.3, 189.0),
    "pronasale": (151.9, 219.2, np.nan, 209.7),
    "subnasale": (161.9, 203.5, 152.8, 195.7),
    "stomion_superius": (186.3, 199.4, 175.1, 193.1),
    "menton": (232.0, 182.4, 217.6, 173.3),
}


class Dimension(NamedTuple):
    """A distance measured on many people, mm.

    Attributes:
      name: what the source calls it.
      ends: the two landmarks; a single name with `*` is the breadth between its two sides, two
        names with `*` are a distance measured on each side.
      men: mean and standard deviation over men.
      women: the same over women.
      source: who measured it.
    """

    name: str
    ends: tuple[str, ...]
    men: tuple[float, float]
    women: tuple[float, float]
    source: str

    @property
    def mean(self) -> float:
        """Mean over a population with as many men as women."""
        return (self.men[0] + self.women[0]) / 2

    @property
    def sd(self) -> float:
        """Standard deviation over that population, within the sexes and between them."""
        within = (self.men[1] ** 2 + self.women[1] ** 2) / 2
        return float(np.sqrt(within + ((self.men[0] - self.women[0]) / 2) ** 2))

    @property
    def pairs(self) -> list[tuple[str, ...]]:
        """The two landmarks, once, or once for each side where it is measured on both."""
        expanded = [topologies.expand_sides(end) for end in self.ends]
        return expanded if len(expanded) == 1 else list(zip(*expanded, strict=True))


DIMENSIONS = (
    Dimension("bitragion breadth", ("tragion*",), (144.8, 6.0), (136.4, 5.2), ANSUR),
    Dimension("bizygomatic breadth", ("zygion*",), (143.3, 6.4), (135.7, 5.6), ANSUR),
    Dimension("bigonial breadth", ("gonion*",), (118.9, 7.9), (108.3, 7.1), ANSUR),
    Dimension("minimum frontal breadth", ("frontotemporale*",), (105.1, 5.2), (103.3, 4.8), ANSUR),
    Dimension("maximum frontal breadth", ("zygofrontale*",), (113.3, 5.2), (111.3, 5.4), ANSUR),
    Dimension("maximum biocular breadth", ("ectoorbitale*",), (121.8, 5.4), (119.6, 5.5), ANSUR),
    Dimension("biinfraorbitale breadth", ("orbitale*",), (68.5, 5.1), (67.2, 5.1), ANSUR),
    Dimension("interpupillary breadth", ("pupil*",), (64.7, 3.7), (62.3, 3.6), ANSUR),
    Dimension("nose breadth", ("alare*",), (36.5, 4.6), (34.5, 4.7), ANSUR),
    Dimension("lip length", ("cheilion*",), (56.1, 4.3), (55.0, 4.2), ANSUR),
    Dimension("menton-sellion length", ("menton", "sellion"), (121.1, 6.4), (113.7, 6.0), ANSUR),
    Dimension("menton-subnasale length", ("menton", "subnasale"), (73.5, 5.6), (68.8, 5.4), ANSUR),
    Dimension(
        "subnasale-sellion length", ("subnasale", "sellion"), (50.5, 3.7), (48.2, 3.6), ANSUR
    ),
    # Men illegible in the scan: mean from the headboard positions, standard deviation of women.
    Dimension("nose protrusion", ("pronasale", "subnasale"), (18.6, 2.3), (18.2, 2.3), ANSUR),
    # Means from the headboard positions; standard deviation of the men of FARKAS.
    Dimension(
        "upper lip height", ("subnasale", "stomion_superius"), (24.7, 2.1), (22.4, 2.1), ANSUR
    ),
    Dimension("intercanthal width", ("endocanthion*",), (33.3, 2.7), (31.8, 2.3), FARKAS),
    Dimension(
        "eye fissure length", ("exocanthion*", "endocanthion*"), (31.3, 1.3), (30.7, 1.2), FARKAS
    ),
    # Standard deviations of Virdi et al. 2019, table 9.
    Dimension(
        "upper vermilion height",
        ("labiale_superius", "stomion_superius"), (7.8, 1.3), (8.7, 0.9), FARKAS,
    ),
    Dimension(
        "lower vermilion height",
        ("stomion_superius", "labiale_inferius"), (9.3, 1.6), (9.4, 1.5), MEMORY,
    ),
    Dimension(
        "eye fissure height",
        ("palpebrale_superius*", "palpebrale_inferius*"), (10.8, 1.2), (10.9, 1.2), MEMORY,
    ),
)  # fmt: skip
