"""Makes a map of points from a table of the dissimilarities between them.

  bin/mds matrix.csv
  bin/mds matrix.csv --dims=2 --transform=ordinal --plot=map.png
  bin/mds matrix.csv --out=map.csv --plot=map.png --shepard=shepard.png --scree=scree.png
  bin/mds correlations.csv --similarities=correlation
  bin/mds pairs.tsv --dims=3 --transform=ratio --nosearch

Takes .csv, .tsv, .txt and .dat files: the whole matrix or one of its triangles, with names in the
first row, the first column, both or neither; or a row name,name,number for each pair; or one row or
column of numbers, as of SciPy's pdist. Also .npy and .npz files, and matrices of PHYLIP and Mothur
(.phy, .dist) under the number of their rows. Empty cells, NA and NaN are missing pairs. Where the
two columns of pairs share no name, a row A,A,0 says that these are of the same things. Prints
coordinates, each point's share of the stress, and stress-1; writes the coordinates as .csv or .tsv,
and pictures as .png, .svg or .pdf (docs/mds_maps.md).
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import mds
from deepmds_jax.cli import mds_flags, program
from deepmds_jax.data.formats import dissimilarity_files as files
from deepmds_jax.evaluation import figures, tables
from deepmds_jax.files import all_or_none
from deepmds_jax.mds.inputs import missing_pairs
from deepmds_jax.mds.several import PERFECT
from deepmds_jax.mds.similarities import SIMILARITIES

_FLAGS = mds_flags.FLAGS
_MAX_ROWS = 100  # on the terminal
_SCREE_STARTS = 20


def main(paths: list[str]) -> None:
    """Makes a map of the file in `paths`, as the flags say."""
    if len(paths) != 1:
        raise ValueError(f"expected one file of dissimilarities, got {len(paths)}")
    if mds_flags.SIMILARITIES.value not in (None, *SIMILARITIES):
        raise ValueError(f"similarities: expected one of {', '.join(SIMILARITIES)}, got "
                         f"{mds_flags.SIMILARITIES.value!r}")
    outputs = mds_flags.check_outputs(paths)
    may_differ = mds_flags.MEAN.value or mds_flags.SIMILARITIES.value == "confusion"
    matrix = files.read_matrix(paths[0], directed=may_differ)
    with _named(paths[0]):
        labels, dissimilarities = matrix.labels, _dissimilarities(matrix)
    # A pair that lacks one direction is missing in both: stress, shares and diagrams agree on it.
    dissimilarities = np.where(missing_pairs(dissimilarities), np.nan, dissimilarities)
    n, pairs = len(labels), dissimilarities[np.triu_indices(len(labels), 1)]
    if not mds_flags.DIMS.value < n:
        raise ValueError(f"dims: expected 1 to {n - 1} for {n} points, got {mds_flags.DIMS.value}")
    with jax.enable_x64(True):
        options = {"transform": mds_flags.TRANSFORM.value, "ties": mds_flags.TIES.value}
        with _named(paths[0]):
            result, found = _solve(dissimilarities, options)
        points = np.asarray(mds.to_principal_axes(result.embedding))
        shares = np.asarray(mds.stress_per_point(
            result.disparities, mds.distances(result.embedding), ~jnp.isnan(dissimilarities)))
        stress = float(result.stress)
        if stress < PERFECT:
            shares = np.zeros_like(shares)  # of rounding
        with all_or_none():
            for flag, path in outputs.items():
                if flag == "out":
                    files.write_coordinates(path, labels, points, shares)
                else:
                    figures.save_figure(_draw(flag, dissimilarities, result, points, shares, labels,
                                              options), path)
    _print_table(labels, points, shares)
    missing = np.sum(np.isnan(pairs))
    gaps = f", {missing} of {len(pairs)} pairs missing" if missing else ""
    wrote = f"; wrote {' '.join(outputs.values())}" if outputs else ""
    dims = f"{mds_flags.DIMS.value} dimension{'s' * (mds_flags.DIMS.value > 1)}"
    program.tell(f"{n} points in {dims}, {mds_flags.TRANSFORM.value}{gaps}: stress-1 {stress:.4g}, "
                 f"{found}{wrote}")
    if stress < PERFECT and mds_flags.TRANSFORM.value != "ratio":
        program.warn("the fit is perfect: other maps may fit as well; take fewer dimensions, or "
                     "--transform=ratio")


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Errors in here are about what the file holds."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _print_table(labels: Sequence[str], points: np.ndarray, shares: np.ndarray) -> None:
    rows = [{"point": label, **{f"x{i + 1}": x for i, x in enumerate(point)},
             "stress (%)": 100 * share}
            for label, point, share in zip(labels, points, shares, strict=True)]
    program.tell(tables.to_text(rows[:_MAX_ROWS]))
    if len(rows) > _MAX_ROWS:
        program.tell(f"... {_MAX_ROWS} of {len(rows)} points; --out=FILE.csv has all")


def _dissimilarities(matrix: files.LabelledMatrix) -> np.ndarray:
    """Those of a table that may hold similarities."""
    if mds_flags.MEAN.value:
        files.check_triangles(matrix)
        matrix = matrix._replace(values=matrix.values / 2 + matrix.values.T / 2)
    elif mds_flags.SIMILARITIES.value != "confusion":
        files.check_symmetric(matrix)
    values, way = matrix.values, mds_flags.SIMILARITIES.value
    if way is None:
        files.check_dissimilarities(matrix)
        return values
    if way == "reverse" and not np.diag(values).any():  # zeros that stand for nothing
        values = np.where(np.eye(len(values), dtype=bool), np.nan, values)
    with jax.enable_x64(True):
        return np.asarray(mds.similarity_to_dissimilarity(values, way))


def _solve(dissimilarities: np.ndarray, options: dict[str, Any]) -> tuple[mds.MDSResult, str]:
    """The best solution, and how it was found."""
    if not _searches(dissimilarities):
        result, found = mds.smacof(dissimilarities, mds_flags.DIMS.value, **options), ""
    else:
        key = jax.random.key(mds_flags.SEED.value)
        result, times_met, starts = mds.smacof_until_repeated(
            dissimilarities, mds_flags.DIMS.value, key=key, **options)
        found = f", the best of {starts} starts"
        if result.stress >= PERFECT:  # else nothing can be better
            found += f", met {times_met} times" if times_met > 1 else ", met only once"
    ended = "converged after" if result.converged else "not converged after"
    return result, f"{ended} {result.num_iters} iterations{found}"


def _searches(dissimilarities: np.ndarray) -> bool:
    search = mds_flags.SEARCH.value
    return len(dissimilarities) <= mds_flags.MAX_SEARCHED if search is None else search


def _draw(name, dissimilarities, result, points, shares, labels, options):
    """The figure that a flag asks for."""
    if name == "plot":
        return mds.draw_configuration(points, labels)
    if name == "shepard":
        return mds.draw_shepard(mds.shepard(dissimilarities, points, result.disparities))
    if name == "stress_plot":
        return mds.draw_stress_per_point(shares, labels)
    dims = range(1, min(7, len(labels)))
    if _searches(dissimilarities):
        key = jax.random.key(mds_flags.SEED.value)
        options = {**options, "key": key, "num_starts": _SCREE_STARTS}
    stress = mds.smacof_dims(dissimilarities, dims, **options).stress
    # Another search may end elsewhere.
    is_drawn = np.array(dims) == mds_flags.DIMS.value
    return mds.draw_scree(dims, np.where(is_drawn, result.stress, stress))


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments, positional=True)
