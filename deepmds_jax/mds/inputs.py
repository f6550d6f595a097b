"""Checks dissimilarities and weights, and brings them to one form."""

import inspect
from collections.abc import Callable, Collection
from functools import wraps
from numbers import Integral
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike

from deepmds_jax import loops
from deepmds_jax.given_arrays import check_numbers
from deepmds_jax.programs import one_program

_Function = TypeVar("_Function", bound=Callable[..., Any])
ROUNDING = 1e-4  # of the largest entry: up to this, asymmetry and negative values are rounding
_DEFAULTS = {"init": None, "key": None, "num_starts": 1, "progress": False}  # of `smacof`
_LARGEST_INTEGER = 2**31 - 1  # that JAX takes


def is_traced(tree: Any) -> bool:
    """Whether a pytree holds tracers, whose values cannot be checked."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def is_on_cpu(tree: Any) -> bool | None:
    """Whether all arrays of a pytree are on CPUs; None if some are traced, which may run anywhere.

    A program for one kind of device need not be traced for the others, which takes longer.
    """
    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    if is_traced(arrays):
        return None
    return all(device.platform == "cpu" for array in arrays for device in array.devices())


def check_integer(name: str, value: Any, minimum: int | None = None) -> None:
    """ValueError unless a value, called `name`, is an integer and large enough.

    2.0 is none, nor is an array: programs are told apart by such numbers.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name}: expected an integer, got {one_line(value)}")
    if minimum is not None and not minimum <= int(value) <= _LARGEST_INTEGER:
        limit = f">= {minimum}" if int(value) < minimum else f"<= {_LARGEST_INTEGER}"
        raise ValueError(f"{name}: expected an integer {limit}, got {value}")


def check_number(name: str, value: Any, *, may_be_zero: bool = True) -> Any:
    """The value as a float, or as the () array or tracer that it is.

    Raises:
      ValueError: no finite number >= 0, or > 0.
    """
    if is_traced(value):
        return value
    number = _plain(value)
    is_number = isinstance(number, int | float | np.integer | np.floating)
    if isinstance(number, bool) or not (
        is_number and 0 <= number < np.inf and (may_be_zero or number > 0)
    ):
        raise ValueError(f"{name}: expected a finite number {'>=' if may_be_zero else '>'} 0, got "
                         f"{one_line(number)}")
    return float(number) if number is value else value  # JAX takes no large integers


def check_limits(max_iters: Any, tolerance: Any) -> Any:
    """`check_number` of the tolerance; ValueError also for `max_iters` that is no integer >= 0.

    Both may be () arrays, also traced ones.
    """
    if not is_traced(max_iters):
        check_integer("max_iters", _plain(max_iters), 0)
    return check_number("tolerance", tolerance)


def _plain(value: Any) -> Any:
    """The number in a () array; anything else as it is."""
    is_one = isinstance(value, jax.Array | np.ndarray) and value.shape == ()
    return value.item() if is_one else value


def check_choice(name: str, value: Any, known: Collection[str]) -> None:
    """ValueError unless a value is one of the names."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: expected one of {list(known)}, got {one_line(value)}")


def refuse_options(function: str, options: dict[str, Any], names: Collection[str]) -> None:
    """ValueError if options that are passed on hold what a function passes on itself.

    What is the default of `smacof` changes nothing; it is taken out of the options.
    """
    for name in names:
        if name not in options:
            continue
        value = options.pop(name)
        is_default = name in _DEFAULTS and type(value) is type(_DEFAULTS[name])
        if not is_default or value != _DEFAULTS[name]:
            raise ValueError(f"{name}: expected none, for {function} gives its own, got one")


def one_line(value: Any) -> str:
    """A wrong value in one line."""
    is_array = isinstance(value, jax.Array | np.ndarray)
    return f"an array of shape {value.shape}" if is_array else " ".join(repr(value).split())


def as_float(values: ArrayLike) -> jax.Array:
    """Array of the same floating dtype, or of the default one for integers."""
    dtype = float_dtype(values)
    if isinstance(values, jax.Array) and values.dtype == dtype:
        return values
    if isinstance(values, np.ndarray):  # copied here: JAX would compile a program for each shape
        with np.errstate(over="ignore"):
            return jnp.asarray(np.asarray(values).astype(dtype))  # no mask: none is masked
    return jnp.asarray(values, dtype)


def float_dtype(values: ArrayLike) -> np.dtype:
    """That of `as_float(values)`, which makes an array."""
    dtype = getattr(values, "dtype", None) or np.asarray(values).dtype
    if not jnp.issubdtype(dtype, jnp.floating) or dtype == np.longdouble:  # JAX has no such
        dtype = float
    elif not dtype.isnative:
        dtype = dtype.newbyteorder("=")
    return jax.dtypes.canonicalize_dtype(dtype)


def as_computed(name: str, values: ArrayLike, are_pairs: bool = False) -> jax.Array:
    """`as_float`, but half precision becomes float32: what is computed with.

    Raises:
      ValueError: values, of an argument of that name, that are no real numbers. Those of pairs are
        a matrix whose rows and columns are the same things; NaN may be missing ones.
    """
    check_kind(name, values, are_pairs)
    array = as_float(values)
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


def start_of(init: ArrayLike, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
    """Starts of this (..., n, k) shape and dtype, whose size and place do not matter.

    What is no JAX array has any size and place that float64 has digits for.

    Raises:
      ValueError: another shape, or no real numbers.
    """
    check_kind("init", init)
    if np.shape(init) != shape:
        raise ValueError(f"init: expected shape {shape}, got {np.shape(init)}")
    if isinstance(init, jax.Array):
        return as_computed("init", init).astype(dtype)
    points = np.asarray(init, np.float64)
    with np.errstate(invalid="ignore"):  # infinity minus infinity: found later
        # Not the mean, whose rounding would part points that are all at one place.
        points = _in_own_unit(points)
        return jnp.asarray(_in_own_unit(points - points[..., :1, :]).astype(dtype))


def _in_own_unit(points: np.ndarray) -> np.ndarray:
    """(..., n, k) points of at most 1, but for those that are all 0 or not finite."""
    peak = np.max(np.abs(points), axis=(-2, -1), keepdims=True, initial=0)
    return points / np.where(np.isfinite(peak) & (peak > 0), peak, 1)


def program_of_arrays(function: _Function) -> _Function:
    """`one_program`, but what is given and is no array is refused by its name, before tracing.

    Shapes are for the function itself to check, which is done once for each of them.
    """
    program, parameters = one_program(function), inspect.signature(function).parameters

    def as_array(name, values):
        if values is None and parameters[name].default is None:
            return None
        check_kind(name, values)
        if not isinstance(values, jax.Array | np.ndarray):
            values = np.asarray(values)
        return values.astype(np.float64) if values.dtype == np.longdouble else values

    @wraps(function)
    def checked(*args, **named):
        arrays = [as_array(*pair) for pair in zip(parameters, args, strict=False)]
        named = {name: as_array(name, x) if name in parameters else x for name, x in named.items()}
        return program(*arrays, *args[len(arrays):], **named)

    return cast(_Function, checked)


def check_points(name: str, points: jax.Array) -> None:
    """ValueError unless points are (..., n, k)."""
    if points.ndim < 2 or points.shape[-1] < 1:
        raise ValueError(f"{name}: expected shape (..., n, k), got {points.shape}")


def as_numbers(name: str, values: ArrayLike) -> np.ndarray:
    """A NumPy array in float64, for what is drawn."""
    check_kind(name, values)
    return np.asarray(values, np.float64)


def check_shapes(
    dissimilarities: ArrayLike, weights: ArrayLike | None, num_dims: int
) -> tuple[jax.Array, jax.Array | None]:
    """Dissimilarities (..., n, n) and weights of the same shape, `as_computed`, of one dtype.

    Raises:
      ValueError: wrong shapes, or similarities. `is_valid` and `check_values` look at the values.
    """
    given, dissimilarities = dissimilarities, as_computed("dissimilarities", dissimilarities, True)
    shape = dissimilarities.shape
    check_square("dissimilarities", shape)
    if shape[-1] < 2:
        raise ValueError(f"dissimilarities: expected at least 2 points, got shape {shape}")
    check_num_dims(num_dims, shape[-1])
    if isinstance(given, np.ndarray):
        _refuse_similarities(given)
    elif is_on_cpu(dissimilarities):  # from elsewhere all would have to be sent
        _refuse_similarities(np.asarray(dissimilarities))
    if weights is not None:
        check_labels("weights", weights, given)
        weights = broadcast_weights(as_computed("weights", weights, True), dissimilarities)
        if not (is_on_cpu(weights) and np.all(weights)):  # quicker to see than to do for nothing
            dissimilarities = _without_missing(dissimilarities, weights)
    return dissimilarities, weights


def check_square(name: str, shape: tuple[int, ...]) -> None:
    """ValueError unless an array of this shape holds square matrices."""
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"{name}: expected shape (..., n, n), got {shape}{pairs_advice(shape)}")


def check_leading_axes(shapes: dict[str, tuple[int, ...]]) -> None:
    """ValueError unless all axes but the last two broadcast; it names the first that does not."""
    known = ()
    for name, shape in shapes.items():
        try:
            known = jnp.broadcast_shapes(known, shape[:-2])
        except ValueError:
            raise ValueError(f"{name}: expected leading axes that broadcast against {known}, got "
                             f"shape {shape}") from None


def check_num_dims(
    num_dims: Any, limit: int, name: str = "num_dims", of: str | None = None
) -> None:
    """ValueError unless it is an integer from 1 to below the limit, the number of points."""
    check_integer(name, num_dims)
    if not 1 <= num_dims < limit:
        raise ValueError(f"{name}: expected 1 to {limit - 1} for {of or f'{limit} points'}, got "
                         f"{num_dims}")


@one_program
def _without_missing(dissimilarities, weights):
    """NaN for pairs of weight 0, which may hold anything: it is no measure of the others."""
    missing = (weights == 0) & (weights == 0).mT
    return jnp.where(missing, jnp.nan, dissimilarities)


def broadcast_weights(weights: jax.Array, matrices: jax.Array) -> jax.Array:
    """Weights of the shape and dtype of (..., n, m) matrices, of all of them or of each.

    Raises:
      ValueError: another shape.
    """
    shapes = matrices.shape, matrices.shape[-2:]
    if weights.shape not in shapes:
        expected = " or ".join(map(str, dict.fromkeys(shapes)))
        raise ValueError(f"weights: expected shape {expected}, got {weights.shape}")
    return jnp.broadcast_to(weights.astype(matrices.dtype), matrices.shape)


def check_kind(name: str, given: Any, are_pairs: bool = False) -> None:
    """ValueError for what would become an array of something else, see `as_computed`."""
    if hasattr(given, "toarray"):
        advice = ", and NaN for pairs that are missing, for it has 0 there" if are_pairs else ""
        raise ValueError(f"{name}: expected an array, got a sparse one: give {name}.toarray()"
                         f"{advice}")
    if is_traced(given) and not hasattr(given, "dtype"):
        raise ValueError(f"{name}: expected an array, got a list with traced numbers: give "
                         f"jnp.asarray({name})")
    if are_pairs:
        check_order(name, given)
    if getattr(given, "dtype", None) != np.bool_:  # these are weights too
        check_numbers(name, given, "give NaN where a pair is missing" if are_pairs else "")


def _refuse_similarities(matrices: np.ndarray) -> None:
    """ValueError where each matrix has all of its largest entries on the diagonal, above 0."""
    diagonals = np.diagonal(matrices, axis1=-2, axis2=-1)
    if not diagonals.any():
        return
    others = np.where(np.eye(matrices.shape[-1], dtype=bool), -np.inf, matrices)
    largest = np.max(others, axis=(-2, -1), initial=0, where=~np.isnan(others))
    if np.all(np.min(diagonals, axis=-1) > largest):
        raise ValueError("dissimilarities: expected 0 on the diagonal, or anything less than the "
                         f"others, got {np.min(diagonals):g} or more there, the largest of all, as "
                         "of similarities: see mds.similarity_to_dissimilarity")


def check_order(name: str, table: Any) -> None:
    """ValueError for a data frame whose rows are those of its columns, in another order."""
    if not (hasattr(table, "index") and hasattr(table, "columns")):
        return
    rows, columns = list(map(str, table.index)), list(map(str, table.columns))
    if rows != columns and sorted(rows) == sorted(columns):
        row, column = next(pair for pair in zip(rows, columns, strict=True) if pair[0] != pair[1])
        raise ValueError(f"{name}: expected rows and columns in the same order, got row {row} "
                         f"where column {column} is")


def check_labels(name: str, table: Any, matrix: Any) -> None:
    """ValueError for a data frame or series whose rows are labelled otherwise than a matrix's."""
    if not (hasattr(table, "iloc") and hasattr(matrix, "iloc")):
        return
    rows, expected = list(map(str, table.index)), list(map(str, matrix.index))
    unlabelled = list(map(str, range(len(rows))))
    if len(rows) == len(expected) and unlabelled not in (rows, expected) and rows != expected:
        row, other = next(pair for pair in zip(rows, expected, strict=True) if pair[0] != pair[1])
        raise ValueError(f"{name}: expected rows in the order of the dissimilarities, got row "
                         f"{row} where their row {other} is")


def pairs_advice(shape: tuple[int, ...]) -> str:
    """What to do with an array of this shape if it can be the list of all pairs i < j."""
    if len(shape) != 1:
        return ""
    n = (1 + np.sqrt(1 + 8 * shape[0])) / 2
    return (f": these can be the pairs of {n:.0f} points, as pdist gives them; make them a matrix "
            f"by scipy.spatial.distance.squareform") if n % 1 == 0 and n >= 2 else ""


def is_valid(matrix: jax.Array, alone_on_cpu: bool = False) -> jax.Array:
    """() whether (n, n) is symmetric, not negative and not all zero, up to rounding.

    A pair of which one entry is NaN, or both, counts as missing. For `alone_on_cpu` see
    `symmetrize`.
    """
    known = _mean_of_triangles(matrix, alone_on_cpu)
    known = jnp.where(jnp.isnan(known), 0, known)
    skew = jnp.abs(matrix - _transposed(matrix, alone_on_cpu))
    skew = jnp.where(jnp.isnan(skew), 0, skew)  # infinity minus itself too: found later
    largest = jnp.max(known)
    limit = ROUNDING * largest
    is_tiny = largest < jnp.finfo(matrix.dtype).tiny  # processors take less for zero
    return (jnp.max(skew) <= limit) & (jnp.min(known) >= -limit) & ~is_tiny


def check_values(
    dissimilarities: jax.Array, weights: jax.Array | None, name: str = "dissimilarities"
) -> None:
    """Says what is wrong with one concrete problem, as `check_shapes` returns it.

    It is (n, n), or (K, n, n) of subjects, who know all points together. `name` is the caller's.

    Raises:
      ValueError: values that are negative, asymmetric or all zero, weights that are not finite, or
        points that no chain of observed pairs connects.
    """
    names = [name] if dissimilarities.ndim == 2 else [
        f"{name}[{s}]" for s in range(len(dissimilarities))]
    n = dissimilarities.shape[-1]
    known = np.stack(list(map(_check_matrix, names, dissimilarities.reshape(-1, n, n))))
    observed = ~np.isnan(known)
    if weights is not None:
        observed &= np.stack(list(map(check_weights, weights.reshape(-1, n, n)))) > 0
    num_unreached = _count_unreached(np.any(observed, axis=0))
    if num_unreached:
        raise ValueError(
            f"{name}: expected the observed pairs to connect all points, got {num_unreached} of "
            f"{n} without a path to point 0 (a pair with NaN in any of its entries, or of weight "
            f"0, is missing)"
        )
    tiny = np.finfo(known.dtype).tiny
    for whose, values, seen in zip(names, known, observed, strict=True):
        if not np.any(values[seen] > 0):
            is_known = np.any(seen & ~np.eye(n, dtype=bool))
            found = f"only zeros (in {known.dtype}, what is below {tiny:.2g} is zero)"
            raise ValueError(f"{whose}: expected some > 0, got "
                             f"{found if is_known else 'only missing pairs'}")


def check_if_single(valid: jax.Array, dissimilarities: jax.Array) -> None:
    """Says what is wrong with a problem that is not valid, if it is the only one and not traced."""
    if not is_traced(valid) and valid.ndim == 0 and not valid:
        check_values(dissimilarities, None)


def is_negative(values: np.ndarray) -> np.ndarray:
    """(...) bool, which values are negative by more than rounding. NaN is not."""
    largest = np.max(values, initial=0, where=values > 0)
    return values < -ROUNDING * largest


def check_start(init: jax.Array, dissimilarities: jax.Array) -> None:
    """ValueError for a concrete (n, k) configuration that nothing can start from."""
    points = _values(init)
    if not np.isfinite(points).all():
        raise ValueError("init: expected finite values, got NaN or infinity")
    if np.ptp(points, axis=0).max() == 0:
        raise ValueError("init: expected different points, got all of them at one place")
    i, j = np.nonzero(np.nan_to_num(_values(dissimilarities)) > 0)
    if np.array_equal(points[i], points[j]):
        raise ValueError("init: expected some pairs of a dissimilarity > 0 apart, got the points "
                         "of each at one place")


def check_weights(weights: jax.Array) -> np.ndarray:
    """The (n, n) weights, symmetrized; ValueError if they are not finite, negative or skew."""
    known = _check_matrix("weights", weights)
    if not np.all(np.isfinite(known)):
        raise ValueError("weights: expected finite values, got NaN or infinity")
    return known


def _check_matrix(name: str, values: jax.Array) -> np.ndarray:
    """(n, n) mean of both triangles, with a zero diagonal; ValueError if negative or skew."""
    matrix = np.where(np.eye(values.shape[-1], dtype=bool), 0, _values(values))
    matrix = np.where(np.abs(matrix) < np.finfo(matrix.dtype).tiny, 0, matrix)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        mean, skew = matrix / 2 + matrix.T / 2, np.abs(matrix - matrix.T)
    # A little less than `is_valid` allows: what it refuses is always named here.
    limit = 0.999 * ROUNDING * np.max(mean, initial=0, where=mean >= 0)
    if np.any(mean < -limit):
        raise ValueError(f"{name}: expected none < 0, got {np.nanmin(matrix):g}")
    if np.any(skew > limit):
        raise ValueError(f"{name}: expected symmetric, got differences up to {np.nanmax(skew):g}")
    return mean


def _values(array: jax.Array) -> np.ndarray:
    """Those of a concrete array, or of one that is differentiated outside jit, which has them."""
    return np.asarray(lax.stop_gradient(array))


def _count_unreached(observed: np.ndarray) -> int:
    """Number of points that no chain of (n, n) observed pairs connects to the first."""
    reached = np.arange(len(observed)) == 0
    while True:
        further = reached | np.any(observed & reached[:, None], axis=0)
        if np.array_equal(further, reached):
            return int(np.sum(~reached))
        reached = further


def missing_pairs(matrix: np.ndarray) -> np.ndarray:
    """(n, n) bool by NumPy: NaN on either side of the diagonal, as `symmetrize` has it."""
    missing = np.isnan(matrix)
    return missing | missing.T


def symmetrize(matrix: jax.Array, alone_on_cpu: bool = False) -> jax.Array:
    """The mean of (n, n) and its transpose, with a zero diagonal and 0 for negative values.

    Faster with `alone_on_cpu`, if the program is for a CPU and this is not part of a batch.
    """
    mean = _mean_of_triangles(matrix, alone_on_cpu)
    return jnp.where(mean < 0, 0, mean)


def _mean_of_triangles(matrix, alone_on_cpu):
    other = _transposed(matrix, alone_on_cpu)
    # Sums of large numbers might overflow, and halves of the least normal ones become zero.
    mean = jnp.where(jnp.abs(matrix) < 1, (matrix + other) / 2, matrix / 2 + other / 2)
    return jnp.where(jnp.eye(*mean.shape, dtype=bool), 0, mean)


def _transposed(matrix, alone_on_cpu):
    if not alone_on_cpu:
        return matrix.T
    # To read down columns takes a CPU several times as long as all that XLA would fuse it with, and
    # it would do so once for each use; but not where the columns go into a larger array.
    larger = jnp.pad(matrix, [(0, 1), (0, 0)])
    return lax.dynamic_update_slice(larger, matrix.T, (0, 0))[:-1]


def is_connected(weights: jax.Array) -> jax.Array:
    """() whether chains of pairs with positive (n, n) weights connect all points."""
    observed = weights > 0

    def spread(state):
        reached, _ = state
        further = reached | jnp.any(observed & reached[:, None], axis=0)
        return further, jnp.any(further != reached)

    reached = observed[0] | (jnp.arange(observed.shape[0]) == 0)
    reached, _ = loops.while_loop(
        lambda state: state[1], spread, (reached, ~jnp.all(reached))
    )
    return jnp.all(reached)


def fill_with_shortest_paths(dissimilarities: jax.Array, weights: jax.Array) -> jax.Array:
    """Replaces each missing dissimilarity by the shortest path through observed pairs.

    Both (n, n) and symmetric. Costs nothing if none is missing.

    Source: Floyd (1962), "Algorithm 97: shortest path", Communications of the ACM 5.
    """
    n = dissimilarities.shape[0]
    off_diagonal = ~jnp.eye(n, dtype=bool)
    missing = off_diagonal & (weights == 0)
    paths = jnp.where(missing, jnp.inf, dissimilarities)

    def detour(state):
        paths, point = state
        through = lax.dynamic_index_in_dim(paths, point, keepdims=False)
        return jnp.minimum(paths, through[:, None] + through[None, :]), point + 1

    first = jnp.where(jnp.any(missing), 0, n)
    paths, _ = loops.while_loop(lambda state: state[1] < n, detour, (paths, first))
    return jnp.where(missing, paths, dissimilarities)
