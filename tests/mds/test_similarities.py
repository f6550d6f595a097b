import jax
import numpy as np
import pytest

from deepmds_jax import mds
from deepmds_jax.mds.similarities import SIMILARITIES

# By hand; the diagonal is 1, the largest.
S = np.array([[1, 0.5, 0.25], [0.5, 1, 0.1], [0.25, 0.1, 1]])
PAIRS = {
    "correlation": [0.5**0.5, 0.75**0.5, 0.9**0.5],
    "one_minus": [0.5, 0.75, 0.9],
    "reverse": [0.6, 0.85, 1.0],
    "reciprocal": [2, 4, 10],
    "exponential": np.log([2, 4, 10]),
    "gaussian": np.log([2, 4, 10]) ** 0.5,
    "gower": [1, 1.5**0.5, 1.8**0.5],
    # Sums of rows 1.75, 1.6, 1.35, in all 4.7.
    "gravity": np.sqrt([1.75 * 1.6 / 4.7 / 0.5, 1.75 * 1.35 / 4.7 / 0.25, 1.6 * 1.35 / 4.7 / 0.1]),
    "confusion": np.log([2, 4, 10]),
}


def convert(similarities, way):
    """On the host."""
    return np.asarray(mds.similarity_to_dissimilarity(similarities, way))


@pytest.mark.parametrize("way", SIMILARITIES)
def test_by_hand(way, x64):
    found = convert(np.stack([S, S]), way)
    np.testing.assert_allclose(found[0][np.triu_indices(3, 1)], PAIRS[way], rtol=1e-12)
    np.testing.assert_array_equal(found[0], found[0].T)
    np.testing.assert_array_equal(np.diag(found[0]), 0)
    np.testing.assert_array_equal(found[1], found[0])


def test_ratings_that_would_come_out_negative_are_refused():
    ratings = np.array([[9, 1, 4], [1, 9, 3], [4, 3, 9.0]])
    found = convert(ratings, "reverse")
    np.testing.assert_array_equal(found, [[0, 9, 6], [9, 0, 7], [6, 7, 0]])
    correlations = np.array([[1, 0.8, -0.4], [0.8, 1, 0.1], [-0.4, 0.1, 1]])
    with pytest.raises(ValueError, match=r"at most the sum of .* smallest for 'reverse', got 0\.8"):
        convert(correlations, "reverse")


def test_reversed_ratings_keep_their_digits_and_forgive_rounding():
    large = np.array([[1e8, 1e8, 3], [1e8, 1e8, 5], [3, 5, 1e8]], np.float32)
    assert convert(large, "reverse")[0, 1] == 3
    largest = np.float32(3e38) * np.array([[1, 1, 0.9], [1, 1, 0.8], [0.9, 0.8, 1]], np.float32)
    found = convert(largest, "reverse")
    np.testing.assert_allclose(found[0, 1:] / np.float32(3e38), [0.8, 0.9], rtol=1e-6)
    rounded = np.array([[1, 1, 0.2], [1, 1, -1e-9], [0.2, -1e-9, 1]])
    assert convert(rounded, "reverse")[0, 1] == 0
    infinite = np.array([[9, np.inf, 4], [np.inf, 9, 3], [4, 3, 9]])
    with pytest.raises(ValueError, match="expected finite numbers for 'reverse', got inf"):
        convert(infinite, "reverse")


def test_published_stress_of_ekmans_colours(ekman, x64):
    """De Leeuw (2025), "Yet another smacof": stress-1 squared of R's smacof, seven digits."""
    published = {"ratio": 0.0172132, "primary": 0.0005337, "secondary": 0.0009977}
    weighted = {"ratio": 0.0105187, "primary": 0.0003205, "secondary": 0.0007063}
    d = convert(ekman, "one_minus")
    for expected, weights in ((published, np.ones_like(d)), (weighted, d**2)):
        for name, value in expected.items():
            options = {"transform": "ratio"} if name == "ratio" else {"ties": name}
            result = mds.smacof(d, 2, weights=weights, **options)
            np.testing.assert_allclose(result.stress**2, value, atol=5e-8)
    # Only the order counts.
    again = convert(ekman, "correlation")
    same = mds.smacof(again, 2, weights=d**2, ties="secondary")
    np.testing.assert_allclose(same.stress, result.stress, rtol=1e-6)


def test_scalar_products_give_the_distances_of_their_points(x64):
    points = np.random.default_rng(0).standard_normal((6, 3))
    points[5] = points[4]
    found = convert(points @ points.T, "gower")
    expected = np.linalg.norm(points[:, None] - points, axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_confusions_need_not_be_symmetric(x64):
    counts = np.array([[80, 8, 1], [2, 40, 5], [4, 20, 10]])
    found = convert(counts, "confusion")
    np.testing.assert_allclose(found[0, 1], -np.log(4 / (80 * 40) ** 0.5))
    np.testing.assert_array_equal(found, found.T)


def test_missing_stay_missing_and_what_may_not_be_is_told():
    gaps = np.where(S == 0.1, np.nan, S)
    found = convert(gaps, "exponential")
    assert np.isnan(found[1, 2]) and np.isfinite(found[0]).all()
    zeros = np.where(S == 0.1, 0, S)
    assert np.isnan(convert(zeros, "gravity")[1, 2])
    for similarities, way, message in (
        (zeros, "reciprocal", "similarities: expected > 0 for 'reciprocal', got 0"),
        (3 * S, "correlation", "similarities: expected from -1 to 1 for 'correlation', got 1.5"),
        (S[:2], "reverse", r"similarities: expected shape \(..., n, n\), got \(2, 3\)"),
        (S * (1 - np.eye(len(S))), "confusion", "counts > 0, with the diagonal for .*, got 0"),
        (S, "inverse", "way: expected one of .*'confusion'.*, got 'inverse'"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(similarities, way)
    for way, value in ("exponential", -0.5), ("gaussian", -0.5), ("reciprocal", -0.5), (
            "confusion", -1):  # whose diagonal counts
        with pytest.raises(ValueError, match=f"for '{way}', got {value}"):
            convert(-S, way)
    with pytest.raises(ValueError, match=r"up to 1 for 'one_minus', got 1\.5"):
        convert(3 * S, "one_minus")
    with pytest.raises(ValueError, match=r"from -1 to 1 for 'correlation', got -1\.5"):
        convert(-3 * S, "correlation")
    inside = np.asarray(jax.jit(lambda s: mds.similarity_to_dissimilarity(s, "exponential"))(-S))
    assert np.isnan(inside[0, 1])


def test_as_large_as_the_dtype_allows():
    unit = np.float32(2) ** 127
    given = unit * np.float32([[1, 0.5, 0.25], [0.5, 1, 0.125], [0.25, 0.125, 1]])
    root = np.float64(unit) ** 0.5
    found = convert(given, "gower")[np.triu_indices(3, 1)]
    np.testing.assert_allclose(found / root, [1, 1.5**0.5, 1.75**0.5], rtol=1e-6)
    # Sums of rows 1.75, 1.625, 1.375, in all 4.75.
    found = convert(given, "gravity")[np.triu_indices(3, 1)]
    expected = np.array([1.75 * 1.625 / 0.5, 1.75 * 1.375 / 0.25, 1.625 * 1.375 / 0.125]) / 4.75
    np.testing.assert_allclose(found, expected**0.5, rtol=1e-6)
    assert np.isfinite(convert(given / 4, "reciprocal")).all()
    message = r"expected numbers whose reciprocals float32 has for 'reciprocal', got 1\.7"
    with pytest.raises(ValueError, match=message):
        convert(np.full((3, 3), unit), "reciprocal")


def test_what_is_taken_for_another_more_often_than_for_itself():
    counts = np.array([[5, 9, 1], [4, 6, 1], [1, 2, 7.0]])
    message = r"s_ii s_jj for 'confusion', got 9 \* 4 > 5 \* 6 for points 0 and 1$"
    with pytest.raises(ValueError, match=message):
        convert(counts, "confusion")
    inside = np.asarray(jax.jit(lambda s: mds.similarity_to_dissimilarity(s, "confusion"))(counts))
    assert np.isnan(inside[0, 1]) and np.isfinite(inside[2]).all()
    counts[0, 0] = 6  # 9 * 4 = 6 * 6
    assert convert(counts, "confusion")[0, 1] == 0


@pytest.mark.parametrize("way", ["gower", "confusion"])
def test_the_diagonal_that_a_way_needs(way):
    with pytest.raises(ValueError, match=f", with the diagonal for '{way}', got nan on the diag"):
        convert(np.where(np.eye(3) > 0, np.nan, S), way)
    with pytest.raises(ValueError, match="got inf on the diagonal"):
        convert(np.where(np.diag([1, 0, 0]) > 0, np.inf, S), way)
    # What is missing in one direction is missing, and so is all of a point without its diagonal.
    one, unknown = S.copy(), S.copy()
    one[0, 1] = unknown[2] = unknown[:, 2] = np.nan
    found = convert(np.stack([one, unknown]), way)
    assert np.argwhere(np.isnan(found)).tolist() == [
        [0, 0, 1], [0, 1, 0], [1, 0, 2], [1, 1, 2], [1, 2, 0], [1, 2, 1]]


def test_what_may_not_be_is_told_beside_what_is_missing():
    one_way = np.array([[1, 0, 0.2], [np.nan, 1, 0.3], [0.2, 0.3, 1]])
    with pytest.raises(ValueError, match=r"for 'confusion', got 0$"):
        convert(one_way, "confusion")


def test_rounding_is_no_error(x64):
    s = np.where(S == 0.5, 1 + 2e-16, S)
    assert convert(s, "correlation")[0, 1] == 0
    assert convert(s, "one_minus")[0, 1] == 0


@pytest.mark.parametrize("way", ["correlation", "gaussian"])
def test_derivatives_are_finite_where_the_root_is_of_zero(way, x64):
    def third(s):
        return mds.similarity_to_dissimilarity(s, way)[0, 1]

    s = np.array([[1, 0.5, 1], [0.5, 1, 0.25], [1, 0.25, 1]])  # points 0 and 2 are alike
    gradient = jax.jit(jax.grad(lambda s: mds.similarity_to_dissimilarity(s, way).sum()))(s)
    assert np.isfinite(gradient).all()
    # d sqrt(1 - s) / ds, and d sqrt(-log s) / ds.
    slope = {"correlation": -1 / (2 * 0.5**0.5), "gaussian": -1 / (2 * 0.5 * np.log(2) ** 0.5)}
    np.testing.assert_allclose(np.asarray(jax.jit(jax.grad(third))(s))[0, 1], slope[way])
