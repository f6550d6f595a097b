import pickle
from functools import partial

import jax
import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist, pdist, squareform

from deepmds_jax import mds

pytest.importorskip("sklearn")

from sklearn import manifold
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import pairwise_distances
from sklearn.utils.estimator_checks import parametrize_with_checks

from deepmds_jax.mds.estimator import MDS

PRECOMPUTED = {"metric": "precomputed"}

KINDS = pytest.mark.parametrize("kind", ["ratio", "interval", "ordinal"])


@parametrize_with_checks([MDS(), MDS(metric="precomputed")])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def samples(seed, n=12, num_features=4):
    return np.random.default_rng(seed).standard_normal((n, num_features))


def euclidean(a, b):
    """The distances by their definition."""
    return np.sqrt(np.sum((a[:, None] - b) ** 2, axis=-1))


@pytest.mark.parametrize(
    ("kind", "ties"),
    [("ratio", "primary"), ("interval", "primary"), ("ordinal", "primary"),
     ("ordinal", "secondary")],
)
def test_fit_is_smacof(kind, ties):
    dissimilarities = np.ceil(4 * euclidean(samples(0), samples(0)))  # has ties
    fitted = MDS(kind=kind, ties=ties, tol=1e-3, metric="precomputed")
    fitted.fit(dissimilarities)
    expected = mds.smacof(dissimilarities, 2, transform=kind, ties=ties, tolerance=1e-3)
    np.testing.assert_array_equal(fitted.embedding_, expected.embedding)
    np.testing.assert_array_equal(fitted.disparities_, expected.disparities)
    np.testing.assert_array_equal(fitted.dissimilarity_matrix_, dissimilarities)
    assert fitted.stress_ == expected.stress
    assert fitted.n_iter_ == expected.num_iters
    assert fitted.n_features_in_ == 12


def test_distances_of_close_points_far_from_zero():
    points = 1e4 + 1e-4 * samples(0, n=10, num_features=2)
    fitted = MDS().fit(points)
    distances = euclidean(points, points)
    np.testing.assert_allclose(fitted.dissimilarity_matrix_, distances, rtol=1e-12)
    assert fitted.stress_ < 1e-5
    np.testing.assert_allclose(
        euclidean(fitted.embedding_, fitted.embedding_), distances, atol=1e-9
    )


def test_random_starts():
    first, second, third = (
        MDS(1, init="random", n_init=20, random_state=seed).fit(samples(1)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.embedding_, second.embedding_)
    assert np.abs(first.embedding_ - third.embedding_).max() > 1e-3
    single = MDS(1, init="random", random_state=0).fit(samples(1))
    assert first.stress_ < single.stress_


def to_fitted_frame(fitted, points):
    """The rotation, reflection and shift from the space of the samples to the embedding."""
    u, _, v = np.linalg.svd((points - points.mean(0)).T @ fitted.embedding_)
    return lambda new: (new - points.mean(0)) @ u @ v


@pytest.mark.parametrize("num_dims", [1, 2, 3])
@pytest.mark.parametrize("metric", ["euclidean", "precomputed"])
def test_new_points_land_where_they_are(num_dims, metric):
    points, new = samples(2, 12, num_dims), 2 * samples(3, 6, num_dims)
    if metric == "euclidean":
        fitted = MDS(num_dims).fit(points)
        placed = fitted.transform(new)
    else:
        fitted = MDS(num_dims, metric="precomputed").fit(euclidean(points, points))
        distances = euclidean(new, points)
        distances[:, ::4] = np.nan
        placed = fitted.transform(distances)
    np.testing.assert_allclose(placed, to_fitted_frame(fitted, points)(new), atol=1e-4)


@KINDS
def test_every_fitted_point_is_where_its_disparities_want_it(kind):
    # SMACOF minimises over all points together, `place` over one: the transform is right if a point
    # returns to its place without its zero dissimilarity to itself.
    distances = euclidean(samples(4), samples(4))
    fitted = MDS(kind=kind, metric="precomputed", tol=1e-6).fit(distances)
    assert fitted.stress_ > 0.04
    others = np.where(np.eye(12, dtype=bool), np.nan, distances)
    size = np.abs(fitted.embedding_).max()
    np.testing.assert_allclose(fitted.transform(others), fitted.embedding_, atol=3e-3 * size)


@pytest.mark.parametrize(("kind", "n", "warp"), [
    ("interval", 12, lambda distances: 3 + 2 * distances),
    ("ordinal", 40, lambda distances: distances**3),  # fewer leave points too much room
])
def test_new_points_of_warped_distances(kind, n, warp):
    points, new = samples(5, n, 2), samples(6, 6, 2)
    dissimilarities = np.where(np.eye(n), 0, warp(euclidean(points, points)))
    fitted = MDS(kind=kind, metric="precomputed").fit(dissimilarities)
    placed = fitted.transform(warp(euclidean(new, points)))
    scale = np.sqrt(np.mean(euclidean(points, points)[np.triu_indices(n, 1)] ** 2))
    expected = to_fitted_frame(fitted, points)(new) / scale
    tolerance = {"interval": 1e-3, "ordinal": 0.05}[kind]  # in units of the mean distance
    assert np.sqrt(np.mean((placed - expected) ** 2)) < tolerance


@KINDS
def test_far_points_are_placed_far(kind):
    points = samples(7, num_features=2)
    fitted = MDS(kind=kind).fit(points)
    far = 10.0 ** np.arange(1, 7)[:, None] * [1, 0]
    distances = np.linalg.norm(fitted.transform(far), axis=1)
    np.testing.assert_allclose(distances[1:3] / distances[:2], 10, rtol=0.3)


def test_missing_dissimilarities():
    points = samples(8, 12, 2)
    distances = euclidean(points, points)
    distances[[0, 3, 5], [7, 1, 11]] = distances[[7, 1, 11], [0, 3, 5]] = np.nan
    fitted = MDS(metric="precomputed", tol=1e-6).fit(distances)
    expected = to_fitted_frame(fitted, points)(points)
    np.testing.assert_allclose(fitted.embedding_, expected, atol=1e-3)
    np.testing.assert_allclose(fitted.transform(distances), fitted.embedding_, atol=1e-6)
    new = euclidean(samples(9, 20, 2), points)
    placed = fitted.transform(new)
    for known in (np.tri(12), np.tri(12).T):  # one direction is enough
        one_sided = np.where(known, euclidean(points, points), distances)
        other = MDS(metric="precomputed", tol=1e-6).fit(one_sided)
        np.testing.assert_array_equal(other.embedding_, fitted.embedding_)
        np.testing.assert_array_equal(other.transform(new), placed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("x64", [False, True])
def test_dtype_and_precision(dtype, x64):
    points = samples(9, num_features=2).astype(dtype)
    with jax.enable_x64(x64):
        fitted = MDS(tol=1e-12).fit(points)
        placed = fitted.transform(points + dtype(1))
    assert fitted.embedding_.dtype == placed.dtype == dtype
    double = x64 and dtype == np.float64
    error = np.abs(cdist(fitted.embedding_, fitted.embedding_) - cdist(points, points)).max()
    assert error < (1e-12 if double else 1e-5)


@pytest.mark.parametrize("method", ["fit", "fit_transform"])
def test_warns_at_the_step_limit_where_it_is_called(method):
    fitted = MDS(max_iter=2, tol=1e-6)
    with pytest.warns(ConvergenceWarning, match="max_iter=2 reached") as warned:
        getattr(fitted, method)(samples(10))
    assert warned[0].filename == __file__
    assert fitted.n_iter_ == 2


def test_given_start():
    start = samples(13, num_features=1)
    fitted = MDS(1, init="random").fit_transform(samples(1), init=start)
    expected = mds.smacof(euclidean(samples(1), samples(1)), 1, transform="ratio", init=start)
    np.testing.assert_array_equal(fitted, expected.embedding)
    for unit in (1e200, 1e-200):
        np.testing.assert_allclose(
            MDS(1).fit_transform(samples(1), init=unit * start), fitted, atol=1e-4)
    with pytest.raises(ValueError, match=r"init: expected shape \(12, 2\), got \(12, 3\)"):
        MDS().fit(samples(1), init=samples(1)[:, :3])


def test_weights_of_pairs_and_of_samples():
    points, counts = samples(1, 8), np.repeat([2.0, 1], 4)
    distances = euclidean(points, points)
    weights = np.outer(counts, counts)
    fitted = MDS(**PRECOMPUTED).fit(distances, weights=weights)
    expected = mds.smacof(distances, 2, transform="ratio", weights=weights)
    np.testing.assert_array_equal(fitted.embedding_, expected.embedding)
    again = MDS(**PRECOMPUTED).fit_transform(distances, weights=counts)
    np.testing.assert_array_equal(again, fitted.embedding_)
    # A sample of weight 2 is two equal ones, whose distance 0 is fitted.
    twice = np.repeat(np.arange(8), counts.astype(int))
    double = MDS(tol=1e-6).fit(points[twice])
    single = MDS(tol=1e-6).fit(points, weights=counts)
    np.testing.assert_allclose(double.stress_, single.stress_, rtol=1e-4)
    for unit in (1e30, 1e-30):  # products of which are out of range
        found = MDS(**PRECOMPUTED).fit_transform(distances, weights=unit * counts)
        np.testing.assert_allclose(found, fitted.embedding_, atol=1e-3)
    for wrong, message in (
        (np.ones(7), r"weights: expected shape \(8, 8\) or \(8,\), got \(7,\)"),
        (-np.ones(8), "weights: expected none < 0, got -1"),
        (np.triu(weights), "weights: expected symmetric"),
    ):
        with pytest.raises(ValueError, match=message):
            MDS(**PRECOMPUTED).fit(distances, weights=wrong)


@pytest.mark.parametrize(("wrong", "message"), [
    (lambda x: np.ma.masked_less(x, 0.5), "an array without a mask, got a masked one"),
    (lambda x: x + 1j, "real numbers, got complex128"),
    (lambda x: x.astype(str), "real numbers, got <U"),
])
def test_weights_and_starts_are_plain_numbers(wrong, message):
    for name, given in (("weights", np.eye(12)), ("weights", np.arange(12.0)),
                        ("init", samples(13, num_features=2))):
        with pytest.raises(ValueError, match=f"^{name}: expected {message}"):
            MDS().fit(samples(1), **{name: wrong(given)})


def test_new_points_of_a_weighted_fit():
    # Pairs of weight 0 say nothing of the transform: here they lie far off its line.
    points, new = samples(2, 12, 2), samples(3, 6, 2)
    distances, weights = euclidean(points, points), np.ones((12, 12))
    for i, j in ((0, 7), (3, 1)):
        distances[i, j] = distances[j, i] = 50
        weights[i, j] = weights[j, i] = 0
    fitted = MDS(kind="interval", tol=1e-6, **PRECOMPUTED).fit(distances, weights=weights)
    placed = fitted.transform(euclidean(new, points))
    size = np.linalg.norm(fitted.embedding_) / np.linalg.norm(points - points.mean(0))
    expected = size * to_fitted_frame(fitted, points)(new)
    np.testing.assert_allclose(placed, expected, atol=1e-3)


@pytest.mark.parametrize(("metric", "params"), [
    ("cosine", None), ("minkowski", {"p": 3}), ("mahalanobis", None), ("seuclidean", None),
    ("euclidean", {"squared": True}), ("mahalanobis", {"VI": np.diag([1.0, 2, 3, 4])}),
    (lambda a, b, power: np.sum(np.abs(a - b) ** power) ** (1 / power), {"power": 3}),
])
def test_any_metric_of_scikit_learn(metric, params):
    points = samples(4)
    fitted = MDS(metric=metric, metric_params=params).fit(points)
    expected = pairwise_distances(points, metric=metric, **(params or {}))
    np.testing.assert_allclose(fitted.dissimilarity_matrix_, expected, atol=1e-12)
    by_matrix = MDS(**PRECOMPUTED).fit(expected)
    np.testing.assert_allclose(fitted.embedding_, by_matrix.embedding_, atol=1e-6)
    # Alone, a new point has the distances that it has among all.
    np.testing.assert_allclose(fitted.transform(points[:1]), fitted.embedding_[:1], atol=1e-4)


def test_the_units_of_features_do_not_make_them_dependent():
    points = samples(4) * [1, 1e-8, 1e5, 1]
    fitted = MDS(metric="mahalanobis").fit(points)
    by_scipy = squareform(pdist(points, "mahalanobis"))
    np.testing.assert_allclose(fitted.dissimilarity_matrix_, by_scipy, rtol=1e-6)
    points[:, 1] = 1e-8 * points[:, 0]
    with pytest.raises(ValueError, match=r"X: .* none follows from others"):
        MDS(metric="mahalanobis").fit(points)


def test_parameters_of_a_metric_need_no_spread_of_their_own():
    points = np.array(samples(4))
    points[:, 0] = 1  # the covariance has no inverse
    with pytest.raises(ValueError, match=r"X: .* none follows .*give VI in metric_params"):
        MDS(metric="mahalanobis").fit(points)
    fitted = MDS(metric="mahalanobis", metric_params={"VI": np.eye(4)}).fit(points)
    np.testing.assert_allclose(fitted.dissimilarity_matrix_, euclidean(points, points), atol=1e-12)


def test_features_that_lack_numbers():
    points = np.ma.masked_greater(samples(4), 1.5)
    assert 0 < points.mask.sum() < 6
    fitted = MDS(metric="nan_euclidean").fit(points)
    expected = pairwise_distances(points.filled(np.nan), metric="nan_euclidean")
    np.testing.assert_allclose(fitted.dissimilarity_matrix_, expected)


def test_masked_dissimilarities_are_missing():
    distances = euclidean(samples(8), samples(8))
    masked = np.ma.masked_greater(distances, 4)
    assert masked.mask.any()
    fitted = MDS(**PRECOMPUTED).fit(masked)
    expected = MDS(**PRECOMPUTED).fit(np.where(masked.mask, np.nan, distances))
    np.testing.assert_array_equal(fitted.embedding_, expected.embedding_)
    unmasked = MDS(**PRECOMPUTED).fit(np.ma.masked_array(distances))
    np.testing.assert_array_equal(
        unmasked.embedding_, MDS(**PRECOMPUTED).fit(distances).embedding_)


class Frame:
    """As much of a pandas DataFrame as is looked at."""

    def __init__(self, values, index, columns):
        self.values, self.index, self.columns = values, index, columns
        self.iloc = values
        self.shape = values.shape

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def test_rows_of_a_frame_in_another_order_are_refused():
    distances, names = euclidean(samples(8), samples(8)), list("abcdefghijkl")
    fitted = MDS(**PRECOMPUTED).fit_transform(Frame(distances, names, names))
    np.testing.assert_array_equal(fitted, MDS(**PRECOMPUTED).fit_transform(distances))
    MDS(**PRECOMPUTED).fit(Frame(distances, range(12), names))
    with pytest.raises(ValueError, match="same order, got row c where column b is"):
        MDS(**PRECOMPUTED).fit(Frame(distances, list("acbdefghijkl"), names))
    with pytest.raises(ValueError, match=r"weights: .* got row c where column b is"):
        MDS(**PRECOMPUTED).fit(distances, weights=Frame(distances, list("acbdefghijkl"), names))
    for name in ("dissimilarities", "weights"):
        given = {"dissimilarities": distances, name: Frame(distances, list("acbdefghijkl"), names)}
        with pytest.raises(ValueError, match=f"{name}: .* got row c where column b is"):
            mds.smacof(num_dims=2, **given)


def test_rows_labelled_otherwise_than_the_matrix_are_refused():
    points, names = samples(8, 8), list("abcdefgh")
    distances = euclidean(points, points)
    other, frame = names[::-1], Frame(distances, names, names)
    with pytest.raises(ValueError, match=r"weights: expected rows in the order of .*got row h"):
        mds.smacof(frame, 2, weights=Frame(np.ones((8, 8)), other, other))
    with pytest.raises(ValueError, match=r"weights: expected rows in the order of .*got row h"):
        MDS(**PRECOMPUTED).fit(frame, weights=Frame(np.ones(8), other, None))
    start = Frame(points[:, :2], other, ["x", "y"])
    with pytest.raises(ValueError, match=r"init: expected rows in the order of .*got row h"):
        mds.smacof(frame, 2, init=start)
    with pytest.raises(ValueError, match=r"anchors: expected rows in the order of .*got row h"):
        mds.smacof_anchored(frame, start, np.ones((8, 2)))
    solve = partial(mds.smacof, num_dims=2, transform="ratio")
    unlabelled = solve(frame, weights=Frame(np.ones((8, 8)), range(8), range(8)))
    expected = solve(distances, weights=np.ones((8, 8)))
    np.testing.assert_array_equal(unlabelled.embedding, expected.embedding)


def test_ratio_stress_is_scikit_learns_normalized_stress(x64):
    # Theirs compares distances with the dissimilarities themselves, ours with the disparities:
    # s = sigma / sqrt(1 - sigma^2), and both are least for the same shape.
    points = samples(4)
    ours = MDS(tol=1e-8).fit(points)
    theirs = manifold.MDS(init="classical_mds", n_init=1, max_iter=5000, eps=1e-12,
                          normalized_stress=True).fit(points)
    np.testing.assert_allclose(
        ours.stress_ / np.sqrt(1 - ours.stress_**2), theirs.stress_, rtol=1e-6)
    shape = mds.compare_configurations(ours.embedding_, theirs.embedding_)
    assert shape.disparity < 1e-6


def test_names_and_pickle():
    fitted = MDS(3).fit(samples(11))
    assert list(fitted.get_feature_names_out()) == ["mds0", "mds1", "mds2"]
    again = pickle.loads(pickle.dumps(fitted))
    new = samples(12, 6)
    np.testing.assert_array_equal(again.transform(new), fitted.transform(new))


@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        ({"kind": "metric"}, samples(0), r"kind: expected one of \['ratio', 'interval', "),
        ({"ties": "none"}, samples(0), "ties: expected one of"),
        ({"init": "pca"}, samples(0), "init: expected one of"),
        ({"init": np.zeros((12, 2))}, samples(0),
         r"init: expected one of .*, got shape \(12, 2\): give it to fit"),
        ({"metric": 2}, samples(0), "metric: expected a name or a function, got 2"),
        ({"metric": "angle"}, samples(0), "(?i)metric.*angle"),
        ({}, np.ma.masked_less(samples(0), 0), "without a mask for metric='euclidean'"),
        (PRECOMPUTED, np.ones(66), r"X: expected a square .* got \(66,\): these can be the pairs "
                                   "of 12 points, .* scipy.spatial.distance.squareform"),
        (PRECOMPUTED, csr_array(np.eye(12)), "got a sparse one: give X.toarray.., and NaN for"),
        ({"metric": "braycurtis"}, np.arange(12.0)[:, None] // 2 * np.ones(4),
         "X: .*metric='braycurtis' has distances for, got NaN for samples 0 and 1"),
        ({"n_components": 2.5}, samples(0), "n_components: expected an integer >= 1"),
        ({"n_components": 12}, samples(0), "n_components: expected less than n_samples = 12, got"),
        ({"n_init": 0}, samples(0), "n_init: expected an integer >= 1, got 0"),
        (PRECOMPUTED, samples(0) ** 2, r"X: expected a square matrix if precomputed, got \(12, 4"),
        (PRECOMPUTED, -np.ones((4, 4)), "X: expected none < 0, got -1"),
        (PRECOMPUTED, np.arange(144.0).reshape(12, 12), "expected symmetric"),
        (PRECOMPUTED, np.zeros((12, 12)), "only zeros"),
        (PRECOMPUTED, np.full((12, 12), 1e-50), "only zeros"),
        (PRECOMPUTED, np.where(np.tri(12), 1.0, np.nan), "11 of 12 without a path"),
        ({}, 1e300 * samples(0), "X: expected dissimilarities in the range of float32"),
    ],
)
def test_bad_input(options, x, message):
    with pytest.raises(ValueError, match=message):
        MDS(**options).fit(x)


def test_negative_by_rounding_is_zero():
    unit = samples(0) / np.linalg.norm(samples(0), axis=1, keepdims=True)
    cosine_distances = np.where(np.eye(12), -2e-16, 1 - unit @ unit.T)
    fitted = MDS(**PRECOMPUTED).fit(cosine_distances)
    clipped = np.maximum(cosine_distances, 0)
    np.testing.assert_array_equal(fitted.dissimilarity_matrix_, clipped)
    np.testing.assert_array_equal(fitted.embedding_, MDS(**PRECOMPUTED).fit(clipped).embedding_)
    np.testing.assert_array_equal(fitted.transform(cosine_distances), fitted.embedding_)


def test_bad_new_points():
    with pytest.raises(NotFittedError):
        MDS().transform(samples(0))
    points = samples(0)
    fitted = MDS(**PRECOMPUTED).fit(euclidean(points, points))
    with pytest.raises(ValueError, match="X has 4 features, but MDS is expecting 12"):
        fitted.transform(points)
    with pytest.raises(ValueError, match="X: expected none < 0, got -1"):
        fitted.transform(-np.ones((1, 12)))
    with pytest.raises(ValueError, match="X: expected some dissimilarity in each row, got none "
                                         "in row 1"):
        fitted.transform([[1.0] * 12, [np.nan] * 12])
