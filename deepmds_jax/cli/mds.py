"""Makes a map of points from a table of the dissimilarities between them.

  bin/mds matrix.csv
  bin/mds matrix.csv --dims=2 --transform=ordinal --plot=map.png
  bin/mds matrix.csv --out=map.csv --plot=map.png --shepard=shepard.png --scree=scree.png
  bin/mds correlations.csv --similarities=correlation
  bin/mds pairs.tsv --dims=3 --transform=ratio --nosearch

Takes .csv, .tsv, .txt and .dat files: the whole matrix or one of its triangles, with names in the
first row, the first column, both or neither; or a row name,name,number for each pair. Also .npy and
.npz files. Empty cells, NA and NaN are missing pairs. Prints coordinates, each point's share of the
stress, and stress-1; writes the coordinates as .csv or .tsv, and pictures as .png, .svg or .pdf
(docs/mds_maps.md).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from deepmds_jax import mds
from deepmds_jax.cli import program
from deepmds_jax.data.formats import dissimilarity_files as files
from deepmds_jax.evaluation import figures, tables
from deepmds_jax.files import all_or_none
from deepmds_jax.mds.similarities import SIMILARITIES
from deepmds_jax.mds.transforms import TIES, TRANSFORMS

_MAX_ROWS = 100  # on the terminal
_MAX_SEARCHED = 500
_PERFECT = 1e-5  # stress-1

_FLAGS = program.new_flags()
_DIMS = flags.DEFINE_integer("dims", 2, "Dimensions of the map.", 1, flag_values=_FLAGS)
_TRANSFORM = flags.DEFINE_enum(
    "transform", "ordinal", list(TRANSFORMS),
    "What distances have to follow: ordinal the order of the dissimilarities, spline a smooth "
    "curve that rises with them, interval these on a scale with any zero, ratio these themselves.",
    flag_values=_FLAGS)
_TIES = flags.DEFINE_enum(
    "ties", "primary", list(TIES), "Whether equal dissimilarities may have different distances in "
    "ordinal scaling (primary) or not (secondary).", flag_values=_FLAGS)
_SIMILARITIES = flags.DEFINE_string(
    "similarities", None, "The table holds similarities, and how these become dissimilarities: "
    f"{', '.join(SIMILARITIES)} (docs/mds_maps.md).", flag_values=_FLAGS)
_MEAN = flags.DEFINE_bool(
    "mean", False, "Takes the mean of both triangles where they differ.", flag_values=_FLAGS)
_SEARCH = flags.DEFINE_bool(
    "search", None, "Tries random starts until the best map is met twice, not only the classical "
    f"start; by default up to {_MAX_SEARCHED} points.", flag_values=_FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "Of the random starts.", 0, flag_values=_FLAGS)
_OUT = flags.DEFINE_string("out", None, "Coordinates, .csv or .tsv.", flag_values=_FLAGS)
_PICTURES = {name: flags.DEFINE_string(name, None, text, flag_values=_FLAGS) for name, text in (
    ("plot", "Picture of the map, its first two dimensions."),
    ("shepard", "Picture of the Shepard diagram: distances against dissimilarities."),
    ("stress_plot", "Picture of each point's share of the stress."),
    ("scree", "Picture of stress-1 in 1, 2, ..., 6 dimensions."),
)}


def main(paths: list[str]) -> None:
    """Makes a map of the file in `paths`, as the flags say."""
    if len(paths) != 1:
        raise ValueError(f"expected one file of dissimilarities, got {len(paths)}")
    if _SIMILARITIES.value not in (None, *SIMILARITIES):
        raise ValueError(f"similarities: expected one of {', '.join(SIMILARITIES)}, got "
                         f"{_SIMILARITIES.value!r}")
    outputs = _outputs(paths)
    matrix = files.read_matrix(paths[0])
    try:
        labels, dissimilarities = matrix.labels, _dissimilarities(matrix)
    except ValueError as error:
        raise ValueError(f"{paths[0]}: {error}") from None
    n, pairs = len(labels), dissimilarities[np.triu_indices(len(labels), 1)]
    if not _DIMS.value < n:
        raise ValueError(f"dims: expected 1 to {n - 1} for {n} points, got {_DIMS.value}")
    with jax.enable_x64(True):
        options = {"transform": _TRANSFORM.value, "ties": _TIES.value}
        result, found = _solve(dissimilarities, options)
        points = np.asarray(mds.to_principal_axes(result.embedding))
        shares = np.asarray(mds.stress_per_point(
            result.disparities, mds.distances(result.embedding), ~jnp.isnan(dissimilarities)))
        stress = float(result.stress)
        _print_table(labels, points, shares)
        with all_or_none():
            for flag, path in outputs.items():
                if flag == "out":
                    files.write_coordinates(path, labels, points, shares)
                else:
                    figures.save_figure(_draw(flag, dissimilarities, result, points, shares, labels,
                                              options), path)
    missing = np.sum(np.isnan(pairs))
    gaps = f", {missing} of {len(pairs)} pairs missing" if missing else ""
    wrote = f"; wrote {' '.join(outputs.values())}" if outputs else ""
    dims = f"{_DIMS.value} dimension{'s' * (_DIMS.value > 1)}"
    program.tell(f"{n} points in {dims}, {_TRANSFORM.value}{gaps}: stress-1 {stress:.4g}, "
                 f"{found}{wrote}")
    if stress < _PERFECT and _TRANSFORM.value != "ratio":
        program.warn("the fit is perfect: other maps may fit as well; take fewer dimensions, or "
                     "--transform=ratio")


def _outputs(paths: Sequence[str]) -> dict[str, str]:
    """Flag -> file of what is to be written; ValueError for what cannot be, before the work."""
    outputs = {name: flag.value for name, flag in (*_PICTURES.items(), ("out", _OUT))
               if flag.value is not None}
    for flag, path in outputs.items():
        (files if flag == "out" else figures).check_format(path)
    program.check_outputs(list(outputs.items()), paths)
    for flag, path in outputs.items():
        program.check_file_writable(flag, path)
    return outputs


def _print_table(labels: Sequence[str], points: np.ndarray, shares: np.ndarray) -> None:
    rows = [{"point": label, **{f"x{i + 1}": x for i, x in enumerate(point)},
             "stress (%)": 100 * share}
            for label, point, share in zip(labels, points, shares, strict=True)]
    program.tell(tables.to_text(rows[:_MAX_ROWS]))
    if len(rows) > _MAX_ROWS:
        program.tell(f"... {_MAX_ROWS} of {len(rows)} points; --out=FILE.csv has all")


def _dissimilarities(matrix: files.LabelledMatrix) -> np.ndarray:
    """Those of a table that may hold similarities."""
    if _MEAN.value:
        matrix = matrix._replace(values=matrix.values / 2 + matrix.values.T / 2)
    elif _SIMILARITIES.value != "confusion":
        files.check_symmetric(matrix)
    if _SIMILARITIES.value is None:
        files.check_dissimilarities(matrix)
        return matrix.values
    with jax.enable_x64(True):
        return np.asarray(mds.similarity_to_dissimilarity(matrix.values, _SIMILARITIES.value))


def _solve(dissimilarities: np.ndarray, options: dict[str, Any]) -> tuple[mds.MDSResult, str]:
    """The best solution, and how it was found."""
    n = len(dissimilarities)
    if not (n <= _MAX_SEARCHED if _SEARCH.value is None else _SEARCH.value):
        result, found = mds.smacof(dissimilarities, _DIMS.value, **options), ""
    else:
        key = jax.random.key(_SEED.value)
        result, times_met, starts = mds.smacof_until_repeated(
            dissimilarities, _DIMS.value, key=key, **options)
        times = f"{times_met} times" if times_met > 1 else "only once"
        found = f", the best of {starts} starts, met {times}"
    ended = "converged after" if result.converged else "not converged after"
    return result, f"{ended} {result.num_iters} iterations{found}"


def _draw(name, dissimilarities, result, points, shares, labels, options):
    """The figure that a flag asks for."""
    if name == "plot":
        return mds.draw_configuration(points, labels)
    if name == "shepard":
        return mds.draw_shepard(mds.shepard(dissimilarities, points, result.disparities))
    if name == "stress_plot":
        return mds.draw_stress_per_point(shares, labels)
    dims = range(1, min(7, len(labels)))
    return mds.draw_scree(dims, mds.smacof_dims(dissimilarities, dims, **options).stress)


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments, positional=True)
