"""At the edges of the number formats, and with inputs that are almost right.

All problems have 12 points, all batches that may 6 problems, and the transform is "ratio" wherever
it does not matter, so that a few programs serve all tests.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from problems import euclidean, noisy_distances

from deepmds_jax import mds

D = noisy_distances(0).astype(np.float32)
SAME_DIRECTION = np.random.default_rng(0).standard_normal((12, 6))
SAME_DIRECTION[4] = 2 * SAME_DIRECTION[3]


def cosine_distances():
    """(12, 12) 1 - cosine similarity, with what rounding leaves of zeros."""
    unit = SAME_DIRECTION / np.linalg.norm(SAME_DIRECTION, axis=1, keepdims=True)
    distances = 1 - unit @ unit.T
    distances[np.diag_indices(12)] = distances[3, 4] = distances[4, 3] = -2e-16
    return distances


def solve(dissimilarities, **options):
    return mds.smacof(dissimilarities, 2, transform="ratio", **options)


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble])
def test_starts_of_any_size_anywhere(dtype, x64):
    start = np.random.default_rng(1).standard_normal((12, 2))
    given = D.astype(dtype)
    expected = solve(given, init=start).embedding
    for init in (1e300 * start, 1e-60 * start, (1e300 * start).tolist(), start + 1e9,
                 start.astype(np.longdouble)):
        np.testing.assert_allclose(solve(given, init=init).embedding, expected, atol=1e-3)
    for wrong in (np.full((12, 2), 0.1), np.full((12, 2), 1e300)):
        with pytest.raises(ValueError, match="got all of them at one place"):
            solve(given, init=wrong)


def test_more_digits_than_jax_has_are_those_of_float64():
    long = D.astype(np.longdouble)
    assert solve(long, weights=np.ones_like(long)).converged
    assert mds.distances(long).dtype == mds.distances(D.astype(np.float64)).dtype


def test_any_unit():
    """Powers of two only move the exponent: the embedding must follow to the bit."""
    units = np.float32(2) ** np.array([-100, 0, 100, 122, -50, 50], np.float32)
    result = solve(units[:, None, None] * D)
    assert result.converged.all()
    assert np.isfinite(result.embedding).all()
    for values in result[:1] + result[2:3]:
        expected = units[:, None, None] * np.asarray(values)[1]
        np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(result.stress, np.full(6, result.stress[1]))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    given = (3000 / D.max() * D).astype(dtype)
    half, single = solve(jnp.asarray(given)), solve(given.astype(np.float32))
    assert half.status == mds.Status.CONVERGED
    assert half.num_iters == single.num_iters > 5
    for one, other in zip(half[:3], single[:3], strict=True):
        assert one.dtype == dtype
        np.testing.assert_array_equal(one, np.asarray(other).astype(dtype))
    assert mds.classical(given, 2).dtype == mds.distances(half.embedding).dtype == dtype
    assert mds.place(half.embedding, given).dtype == dtype
    assert mds.isotonic_regression(given[0]).dtype == dtype
    anchors, trust = half.embedding, np.ones((12, 2), dtype)
    assert mds.smacof_anchored(given, anchors, trust).embedding.dtype == dtype


@pytest.mark.parametrize(("dtype", "largest"), [(jnp.float16, 6e4), (jnp.float32, 3e38)])
def test_an_embedding_too_large_for_the_dtype(dtype, largest):
    """Twelve points in a row, of which only the distances between neighbours are known."""
    steps = np.abs(np.arange(12)[:, None] - np.arange(12))
    row = np.where(steps > 1, np.nan, steps)
    near, far = (solve(jnp.asarray(size * row, dtype)) for size in (largest / 100, largest))
    assert near.status == mds.Status.CONVERGED
    assert np.ptp(np.asarray(near.embedding, float)) > 0.07 * largest
    assert far.status == mds.Status.NON_FINITE
    for values in far[:3]:
        assert np.isnan(np.asarray(values, float)).all()


def test_a_robust_embedding_too_large_for_half_precision():
    steps = np.abs(np.arange(12)[:, None] - np.arange(12))
    row = np.where(steps > 3, np.nan, steps)
    near, far = (mds.smacof_robust(jnp.asarray(size * row, jnp.float16), 2)
                 for size in (200, 20_000))
    assert near.status == mds.Status.CONVERGED
    assert far.status == mds.Status.NON_FINITE
    for few, many in zip(near[:4], far[:4], strict=True):
        assert np.isfinite(np.asarray(few, float)).all()
        assert np.isnan(np.asarray(many, float)).all()


def spoiled(*entries, value=np.nan, matrix=D):
    """A copy with another value at some (row, column) entries."""
    copy = np.array(matrix)
    for entry in entries:
        copy[entry] = value
    return copy


ALL = slice(None)
WRONG = {
    "NaN in one triangle": (spoiled(np.triu_indices(12, 1)), None, "11 of 12 without a path"),
    "NaN in a row, its column filled": (spoiled((3, ALL)), None, "1 of 12 without a path"),
    "below float32": (1e-50 * D.astype(float), None, "some > 0, .* below 1.2e-38"),
    "below the normal numbers": (np.float32(1e-40) * D, None, "some > 0, .* below 1.2e-38"),
    "only a missing pair > 0": (
        spoiled((0, 1), (1, 0), value=1, matrix=np.zeros_like(D)),
        spoiled((0, 1), (1, 0), value=0, matrix=np.ones_like(D)), "expected some > 0"),
    "negative": (spoiled((0, 1), (1, 0), value=-0.01), None, "expected none < 0, got -0.01"),
    "NaN weight": (D, spoiled((0, 1), (1, 0), matrix=np.ones_like(D)),
                          "weights: expected finite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name):
    dissimilarities, weights, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        solve(dissimilarities, weights=np.ones_like(D) if weights is None else weights)


def test_a_bad_problem_of_a_batch_has_a_status():
    problems = [D, -D, np.triu(D), np.zeros_like(D), spoiled((3, ALL)), np.full_like(D, np.inf)]
    result = solve(np.stack(problems))
    status = mds.Status
    assert result.status.tolist() == [
        status.CONVERGED, *3 * [status.INVALID], status.DISCONNECTED, status.NON_FINITE
    ]
    np.testing.assert_array_equal(result.embedding[0], solve(D).embedding)
    for values in result[:3]:
        assert np.isnan(values[1:]).all()
    with pytest.raises(ValueError, match="weights: expected none < 0, got -1"):
        solve(np.stack(6 * [D]), weights=-np.ones_like(D), acceleration="none")  # no problem's own
    points = np.asarray(mds.classical(np.stack([D, -D, np.zeros_like(D)]), 2))
    assert np.isfinite(points[0]).all() and np.isnan(points[1:]).all()


def test_one_pair_as_large_as_the_dtype_allows():
    """By a reciprocal, its unit would be less than the least normal number: zero."""
    problems = np.stack([noisy_distances(seed) for seed in range(3)]).astype(np.float32)
    scale = partial(mds.classical, num_dims=2)
    plain = np.asarray(scale(problems))[1]
    unit = np.float32(1e38) / problems[1].max()  # all entries are large
    points = np.asarray(scale(problems * [[[1]], [[unit]], [[1]]]))
    np.testing.assert_allclose(points[1] / unit, plain, atol=1e-4 * np.abs(plain).max())
    problems[1, 0, 1] = problems[1, 1, 0] = 1e38
    points = np.asarray(scale(problems))[1] / np.float32(1e38)
    np.testing.assert_allclose(np.abs(points[:2, 0]), 0.5, rtol=1e-4)
    assert np.abs(points[2:]).max() < 1e-4
    anchors = np.random.default_rng(0).standard_normal((3, 12, 2)).astype(np.float32)
    found = mds.smacof_anchored(problems, anchors, np.full_like(anchors, 0.1))
    assert found.status[1] == mds.Status.NON_FINITE and not found.converged[1]
    assert np.isfinite(np.asarray(found.stress)[[0, 2]]).all()


def test_of_ordinal_ones_the_order_counts_however_large_the_largest_is():
    start = np.random.default_rng(0).normal(size=(len(D), 2))
    stress = []
    for largest in (10, 1e38):
        one = np.array(D)
        one[0, 1] = one[1, 0] = largest
        alone = mds.smacof(one, 2, transform="ordinal", init=start)
        beside = mds.individual_differences(np.stack([one, D]), 2, transform="ordinal")
        stress.append([alone.stress, beside.stress])
    np.testing.assert_allclose(*stress, rtol=1e-4)
    one[0, 1] = one[1, 0] = np.inf
    infinite = mds.smacof(one, 2, transform="ordinal", init=start)
    assert infinite.status == mds.Status.NON_FINITE and np.isnan(infinite.embedding).all()


def test_units_near_the_top_of_the_range():
    """A power of two only moves the exponent, as in `test_any_unit`; this one is the largest."""
    unit = np.float32(2) ** (127 - np.floor(np.log2(D.max())))
    for scale in (solve, lambda d: mds.smacof_robust(d, 2)):
        found, expected = scale(unit * D), scale(D)
        assert found.converged and found.stress == expected.stress > 0.01
        np.testing.assert_array_equal(found.embedding, unit * np.asarray(expected.embedding))
    found, expected = (np.asarray(mds.classical(d, 2)) for d in (unit * D, D))
    np.testing.assert_array_equal(found, unit * expected)
    found, expected = (mds.unfold(d[:7, 7:], 2, weights=np.ones((7, 5))) for d in (unit * D, D))
    assert found.stress == expected.stress > 0.01
    np.testing.assert_array_equal(found.rows, unit * np.asarray(expected.rows))


def test_no_problems_give_no_results():
    nothing = np.zeros((3, 0, 5, 5), np.float32)
    plain = partial(mds.smacof, transform="ratio")
    for solve in (plain, jax.jit(plain)):
        result = solve(nothing)
        assert result.embedding.shape == (3, 0, 5, 3)
        assert result.status.shape == (3, 0)


def test_nan_on_one_side_is_a_missing_pair():
    pair = spoiled((0, 1), (1, 0))
    for one_side in (spoiled((0, 1)), spoiled((1, 0))):
        np.testing.assert_array_equal(solve(one_side).embedding, solve(pair).embedding)
    nan_on_diagonal = spoiled(np.diag_indices(12), matrix=np.ones_like(D))
    weighted = [solve(D, weights=w).embedding for w in (nan_on_diagonal, np.ones_like(D))]
    np.testing.assert_array_equal(*weighted)
    anchors, trust = np.asarray(solve(D).embedding), np.ones((12, 2), np.float32)
    anchored = [mds.smacof_anchored(x, anchors, trust).embedding
                for x in (spoiled((0, 1)), pair)]
    np.testing.assert_array_equal(*anchored)


def test_negative_by_rounding_is_zero():
    given = cosine_distances()
    assert (given < 0).sum() == 14
    clipped = np.maximum(given, 0)
    np.testing.assert_array_equal(solve(given).embedding, solve(clipped).embedding)
    np.testing.assert_array_equal(mds.classical(given, 2), mds.classical(clipped, 2))
    points = np.asarray(solve(given).embedding)
    np.testing.assert_array_equal(mds.place(points, given), mds.place(points, clipped))
    np.testing.assert_array_equal(mds.place(points, given)[4], points[3])  # -2e-16 is on it
    with pytest.raises(ValueError, match=r"disparities: expected none < 0, got -0\.01"):
        mds.place(points, given - 0.01)


@pytest.mark.parametrize("unit", [1e-24, 1.0, 1e20, 4e37])
def test_distances_neither_overflow_nor_vanish(unit):
    points = np.zeros((12, 2), np.float32)
    points[1:3] = np.array([[3, 4], [1, 0]]) * unit
    expected = euclidean(points.astype(float))
    np.testing.assert_allclose(mds.distances(points), expected, rtol=1e-6)
    slope = jax.jit(jax.grad(lambda x: mds.distances(x)[0, 1]))(points)
    np.testing.assert_allclose(slope[:2], [[-0.6, -0.8], [0.6, 0.8]], rtol=1e-6)
    assert not slope[2:].any()


def test_distances_of_usual_numbers_are_those_of_the_formula():
    points = np.random.default_rng(0).standard_normal((12, 2)).astype(np.float32)
    x, y = (c[:, None] - c for c in points.T)
    np.testing.assert_allclose(mds.distances(points), np.sqrt(x**2 + y**2), rtol=2e-7)


PAIR = np.zeros((4, 4))
PAIR[0, 1] = PAIR[1, 0] = 1


def test_similarities_of_some_problems_of_a_batch_are_taken_as_they_are():
    found = solve(np.stack([D, *5 * [np.exp(-D)]]))
    np.testing.assert_array_equal(found.embedding[0], solve(D).embedding)


def test_bytes_in_another_order():
    swapped = D.astype(D.dtype.newbyteorder())
    np.testing.assert_array_equal(solve(swapped).embedding, solve(D).embedding)


@pytest.mark.parametrize(("options", "message"), [
    ({"key": 0}, r"key: expected a key like jax.random.key\(0\), got 0"),
    ({"key": np.ones(2)}, "key: expected a key"),
    ({"key": np.zeros(3, np.uint32)}, r"key: expected a key .*, got an array of shape \(3,\)"),
    ({"num_dims": 1.5}, "num_dims: expected an integer, got 1.5"),
    ({"init": np.ones((12, 2))}, "init: expected different points, got all of them at one place"),
    ({"init": np.full((12, 2), np.nan)}, "init: expected finite values"),
    ({"init": np.arange(24.0).reshape(12, 2), "weights": np.ones(12)},
     r"weights: expected shape \(12, 12\), got \(12,\)"),
    ({"dissimilarities": PAIR, "init": np.eye(4, 2)[::-1]},
     "init: expected some pairs of a dissimilarity > 0 apart"),
    ({"dissimilarities": np.zeros((1, 1)), "num_dims": 1},
     r"dissimilarities: expected at least 2 points, got shape \(1, 1\)"),
])
def test_messages(options, message):
    usual = {"dissimilarities": D, "num_dims": 2, "transform": "ratio"}
    with pytest.raises(ValueError, match=message):
        mds.smacof(**(usual | options))


@pytest.mark.parametrize(("given", "message"), [
    (D[np.triu_indices(12, 1)], r"got \(66,\): these can be the pairs of 12 points, as pdist gives "
                                "them; make them a matrix by scipy.spatial.distance.squareform"),
    (np.ones(65), r"expected shape \(..., n, n\), got \(65,\)$"),
    (scipy.sparse.csr_array(D), "got a sparse one: give dissimilarities.toarray.., and NaN for"),
    (np.ma.masked_greater(D, 3), "got a masked one; give NaN where a pair is missing"),
    (D + 0j, "expected real numbers, got complex"),
    (np.exp(-D), "expected 0 on the diagonal, .* got 1 or more there, .* as of similarities"),
])
def test_what_is_no_matrix_is_told_how_to_become_one(given, message):
    for function in (solve, mds.classical, mds.smacof_dims):
        with pytest.raises(ValueError, match=f"dissimilarities: .*{message}"):
            function(given)


def test_weights_that_are_truth_values():
    seen = D < 3
    np.testing.assert_array_equal(
        solve(D, weights=seen).embedding, solve(D, weights=1.0 * seen).embedding)


WEIGHTS = np.float32(0.5) + D / (2 * D.max())
ANCHORS = np.random.default_rng(0).standard_normal((12, 2)).astype(np.float32)


def anchored(dissimilarities, anchors, weights):
    return mds.smacof_anchored(
        dissimilarities, anchors, weights[:, :2], weights=weights, max_iters=1000)


@pytest.mark.parametrize("solve_weighted", [
    lambda weights: solve(D, weights=weights),
    lambda weights: mds.smacof_robust(D, 2, weights=weights),
    lambda weights: mds.unfold(D[:7, 7:], 2, transform="ratio", weights=weights[:7, 7:]),
    lambda weights: mds.unfold(D[:7, 7:], 2, transform="interval", weights=weights[:7, 7:]),
    lambda weights: anchored(D, ANCHORS, weights),
], ids=["ratio", "robust", "unfold", "unfold by rows", "anchored"])
def test_a_common_factor_of_the_weights_changes_nothing(solve_weighted):
    """Powers of two only move the exponent: even the last bit must stay."""
    expected = solve_weighted(WEIGHTS)
    assert expected.status == mds.Status.CONVERGED
    for power in (-120, -60, 60, 125):
        found = solve_weighted(WEIGHTS * np.float32(2) ** power)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_weights_that_differ_by_more_than_the_dtype_can_tell():
    """The light pairs count next to nothing, yet still connect their point."""
    weights = np.full((12, 12), 2e38, np.float32)
    weights[0] = weights[:, 0] = 1e-37
    result = solve(D, weights=weights)
    assert result.status <= mds.Status.STEP_LIMIT
    assert np.isfinite(result.embedding).all()


@pytest.mark.parametrize("power", [-110, -60, 60, 120])
def test_anchors_of_any_unit(power):
    expected = anchored(D, ANCHORS, WEIGHTS)
    unit = np.float32(2) ** power
    found = anchored(unit * D, unit * ANCHORS, WEIGHTS)
    np.testing.assert_array_equal(found.embedding, unit * np.asarray(expected.embedding))
    np.testing.assert_array_equal(found.disparities, unit * np.asarray(expected.disparities))
    np.testing.assert_array_equal(found.stress, expected.stress)
    assert found.status == expected.status == mds.Status.CONVERGED


@pytest.mark.parametrize("placeholder", [1e6, -9.0, np.inf])
def test_what_pairs_of_weight_zero_hold_does_not_matter(placeholder):
    """It is neither refused itself, nor the measure by which others are rounding."""
    weights = np.ones_like(D)
    weights[0, 2] = weights[2, 0] = 0
    given = np.where(weights == 0, placeholder, D)
    expected = solve(np.where(weights == 0, np.nan, D), weights=weights)
    np.testing.assert_array_equal(solve(given, weights=weights).embedding, expected.embedding)
    given[1, 3] = given[3, 1] = -D[1, 3]
    with pytest.raises(ValueError, match="dissimilarities: expected none < 0, got -"):
        solve(given, weights=weights)


POINTS = np.arange(24.0).reshape(12, 2)
KEY = jax.random.key(0)
CALLS = {  # what each function takes at least, and `num_dims` where it is not an option
    "smacof": (D,), "smacof_robust": (D,), "unfold": (D,), "individual_differences": (D[None],),
    "smacof_anchored": (D, POINTS, np.ones_like(POINTS)), "place": (POINTS, D),
    "smacof_until_repeated": (D,), "jackknife": (D,), "classical": (D,), "classical_detailed": (D,),
    "bootstrap": (D[None].repeat(2, 0), lambda x: x[0], KEY), "permutation_test": (D, KEY),
}
DIRECT = [*CALLS][:6]  # the others have the limits of `smacof`


def assert_refused(name, options, message):
    if name == "smacof_until_repeated":
        options = {"key": KEY} | options
    with pytest.raises(ValueError, match=f"^{message}") as error:
        getattr(mds, name)(*CALLS[name], **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", ["2", None, True, np.nan, 2.0, [2], np.array(2)])
def test_no_function_takes_anything_but_integers(wrong):
    for name in set(CALLS) - {"smacof_anchored", "place"}:
        assert_refused(name, {"num_dims": wrong}, "num_dims: expected an integer, got")
    for name in DIRECT:
        if not isinstance(wrong, np.ndarray):  # which may be traced
            assert_refused(name, {"max_iters": wrong}, "max_iters: expected an integer, got")
    for name, argument in [("smacof", "num_starts"), ("smacof_until_repeated", "max_rounds"),
                           ("bootstrap", "num_replicates"),
                           ("permutation_test", "num_permutations")]:
        assert_refused(name, {argument: wrong}, f"{argument}: expected an integer, got")


@pytest.mark.parametrize("wrong", ["a", None, True, np.nan, -1, np.inf, np.ones(2), 1j])
def test_no_function_takes_a_tolerance_that_is_none(wrong):
    for name in DIRECT:
        assert_refused(name, {"tolerance": wrong}, "tolerance: expected a finite number >= 0, got")
    if wrong is not None:
        assert_refused("smacof_robust", {"threshold": wrong}, "threshold: expected .* > 0, got")


@pytest.mark.parametrize(("name", "options", "message"), [
    ("smacof", {"max_iters": 10**30}, "max_iters: expected an integer <= 2147483647, got 10{30}$"),
    ("smacof", {"transform": ["ratio"]}, r"transform: expected one of .*, got \['ratio'\]"),
    ("unfold", {"transform": None}, "transform: expected one of .*, got None"),
    ("individual_differences", {"model": 3}, "model: expected one of .*, got 3"),
    ("smacof", {"init": "POINTS"}, "init: expected real numbers"),
    ("smacof", {"init": np.ma.masked_equal(POINTS, 3)}, "init: expected an array without a mask"),
    ("smacof", {"key": jax.random.split(KEY)},
     r"key: expected a key .*, got an array of shape \(2,\)"),
    ("smacof_anchored", {"init": 1j * POINTS}, "init: expected real numbers, got complex128"),
    ("unfold", {"weights": scipy.sparse.csr_array(D)}, "weights: .* give weights.toarray..$"),
    ("place", {"weights": [[1, 2], [3]]}, "weights: expected an array: "),
    ("smacof_until_repeated", {"key": None}, "key: expected a key .*, got None"),
    ("smacof_until_repeated", {"init": POINTS},
     "init: expected none, for smacof_until_repeated gives its own, got one"),
    ("permutation_test", {"init": POINTS}, "init: expected none, for permutation_test gives"),
    ("bootstrap", {"num_starts": 2}, "num_starts: expected none, for bootstrap gives"),
])
def test_arguments_are_named_as_the_caller_names_them(name, options, message):
    assert_refused(name, options, message)


def test_positional_arguments_are_named_too():
    for call, message in [
        (lambda: mds.smacof_dims(D, num_dims=2), "num_dims: expected none, for smacof_dims gives"),
        (lambda: mds.bootstrap(D[None].repeat(2, 0), D, KEY), "dissimilarities: expected a functi"),
        (lambda: mds.bootstrap(D[None].repeat(2, 0), lambda x: x[0], 2), "key: expected a key"),
        (lambda: mds.permutation_test(D, 2), "key: expected a key"),
        (lambda: mds.unfold(None), "preferences: expected real numbers"),
        (lambda: mds.unfold(D[:1]), r"preferences: expected .* both 2 or more, got \(1, 12\)"),
        (lambda: mds.smacof_anchored(D, 3.0, D), r"anchors: expected shape \(12, k\), k from 1 to"),
        (lambda: mds.distances(np.ones(3)), r"points: expected shape \(..., n, k\), got \(3,\)"),
        (lambda: mds.to_principal_axes("abc"), "points: expected real numbers"),
        (lambda: mds.fit_vectors(np.ones(3), np.ones(3)), "points: expected shape"),
        (lambda: mds.compare_configurations(POINTS, None), "b: expected real numbers"),
        (lambda: mds.similarity_to_dissimilarity(D, ["gower"]), "way: expected one of"),
        (lambda: mds.draw_shepard(D), "diagram: expected a ShepardDiagram .* got an array"),
        (lambda: mds.draw_scree(["a"], [1]), "dims: expected real numbers"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            call()


def test_lists_with_traced_numbers_are_refused_by_name():
    def rows(array):
        return [array[i] for i in range(12)]

    for name, function in [
        ("init", lambda x: solve(D, init=rows(x))),
        ("weights", lambda x: solve(D, weights=rows(x))),
        ("points", lambda x: mds.distances(rows(x))),
    ]:
        with pytest.raises(ValueError, match=f"^{name}: .* list .*: give jnp.asarray.{name}"):
            jax.jit(function)(POINTS)


def test_a_mask_that_hides_nothing():
    np.testing.assert_array_equal(mds.distances(np.ma.masked_array(POINTS, mask=False)),
                                  mds.distances(POINTS))


@pytest.mark.parametrize("solve", [partial(mds.smacof, transform="ratio"), mds.smacof_robust])
def test_near_the_least_normal_number(solve):
    """Half of most of them would be zero."""
    rectangle = np.array([[0, 3, 4, 5], [3, 0, 5, 4], [4, 5, 0, 3], [5, 4, 3, 0]])
    thrice = np.tile(rectangle, (3, 3))  # three points at each corner
    result = solve((5e-39 * thrice).astype(np.float32), 2)
    assert result.status == mds.Status.CONVERGED and result.stress < 1e-5
