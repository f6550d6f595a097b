"""What values of pairs are called: words that say distances, similarities, or that may."""

import re

# Words in what values are called that say, or may say, that these are similarities.
_SIMILAR = {
    "similarity", "similarities", "similar", "sim", "freq", "freqs", "frequency", "frequencies",
    "count", "counts", "n", "r", "rho", "cor", "corr", "correlation", "correlations", "covariance",
    "covariances", "cosine", "kernel", "occurrence", "occurrences", "cooccurrence", "cooccurrences",
    "confusion", "confusions", "proximity", "proximities", "affinity", "affinities", "closeness",
    "overlap", "shared", "common", "agreement", "weight", "weights", "strength", "strengths",
    "likeness", "kappa", "association", "associations", "concordance", "pearson", "spearman",
    "kendall", "tau", "jaccard", "tanimoto", "dice", "r2", "kinship", "identity", "score", "scores",
    "bitscore", "rating", "ratings", "relatedness", "mutual", "pmi", "coherence", "connectivity",
    "cocitation", "cocitations", "match", "matches", "resemblance", "alignment", "icc", "phi", "ld",
    "lod", "links", "votes", "trade", "flow",
    "häufigkeit", "anzahl", "fréquence", "frecuencia", "semejanza", "ähnlichkeit", "ähnlichkeiten",
    "korrelation", "korrelationen", "similarité", "similarités", "corrélation", "corrélations",
    "similitud", "correlación", "somiglianza", "correlazione",
}  # fmt: skip
_DISSIMILAR = {
    "d", "delta", "dist", "distance", "distances", "dissimilarity", "dissimilarities", "difference",
    "differences", "dissimilar", "dissim", "dissims", "diss", "abstand", "distanz", "distancia",
    "distanza",
}  # fmt: skip
# Those of `_SIMILAR` that say nothing else, even where a corner may as well name the rows.
_ONLY_SIMILAR = {
    "similarity", "similarities", "correlation", "correlations", "cooccurrence", "cooccurrences",
    "confusion", "confusions", "proximity", "proximities", "affinity", "affinities",
}
MEASURES = _SIMILAR | _DISSIMILAR | {"value"}
ONE_MINUS = re.compile(r"[\s(]*1\s*[-\u2212\u2013]\s*(?![\s\d])")  # a similarity


def says_similarity(name: str, surely: bool = False) -> bool:
    """Whether what values are called says that these are similarities, or if not surely, may."""
    words = as_words(re.sub(r"\bco[\W_]+(?=occurrence|citation)", "co", name.lower()))
    similar = words & (_ONLY_SIMILAR if surely else _SIMILAR)
    return bool(similar) and not words & _DISSIMILAR and not ONE_MINUS.match(name)


def as_words(name):
    """The words of a name, in small letters."""
    return set(re.split(r"[\W_]+", name.lower()))
