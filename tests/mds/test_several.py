"""Several solutions of one problem.

Where the data do not matter they are stackloss in float32: a few programs serve several tests.
"""

import jax
import numpy as np
import pytest
from problems import euclidean

from deepmds_jax import mds


def dims(dissimilarities, numbers, **options):
    """`smacof_dims`, on the host."""
    return jax.device_get(mds.smacof_dims(dissimilarities, numbers, **options))


def until_repeated(dissimilarities, num_dims, **options):
    """`smacof_until_repeated`, on the host."""
    return jax.device_get(mds.smacof_until_repeated(dissimilarities, num_dims, **options))


@pytest.fixture(scope="module")
def stackloss(load_oracle):
    return load_oracle("stackloss").dissimilarities


def test_several_dimensions_reach_the_optima_of_r(usage, load_oracle, x64):
    for problem in usage("dims").values():
        d = load_oracle(problem["name"]).dissimilarities
        transform = problem["transform"].partition("_")[0]
        found = dims(d, problem["k"], transform=transform)
        assert found.embedding.shape == (4, 21, 5)
        expected = np.array(problem["stress1"])
        assert np.all(found.stress <= expected * (1 + 1e-5) + 1e-9)
        near = found.stress >= expected * (1 - 1e-5) - 1e-9
        assert near.tolist() == [True, True, transform == "ratio", True]  # one is even lower
        for k, embedding, disparities, stress in zip(
            problem["k"], found.embedding, found.disparities, found.stress, strict=True
        ):
            assert not np.any(embedding[:, k:])
            residual = np.linalg.norm(disparities - euclidean(embedding))
            misfit = residual / np.linalg.norm(euclidean(embedding))
            np.testing.assert_allclose(misfit, stress, rtol=1e-6, atol=1e-12)


def test_dimensions_in_any_order_with_missing_pairs(stackloss):
    gaps = stackloss.astype(np.float32)
    gaps[[0, 3, 5], [7, 1, 11]] = gaps[[7, 1, 11], [0, 3, 5]] = np.nan
    found = dims(np.stack([gaps, gaps]), [2, 1], max_iters=500)
    assert found.stress.shape == (2, 2)
    assert np.all(np.isfinite(found.stress))
    assert np.all(found.stress[:, 0] < found.stress[:, 1])
    with pytest.raises(ValueError, match=r"^dims: expected 1 to 20 for 21 points, got 21"):
        mds.smacof_dims(gaps, [1, 21])
    with pytest.raises(ValueError, match=r"^dims: expected 1 to 20 for 21 points, got 0"):
        mds.smacof_dims(gaps, [0, 1])
    with pytest.raises(ValueError, match="dims: expected one or more integers"):
        mds.smacof_dims(gaps, [1.5])


def test_each_number_of_dimensions_has_the_best_of_its_starts(load_oracle):
    roads = load_oracle("eurodist").dissimilarities[:10, :10]
    key, numbers = jax.random.key(0), (2, 1)
    tables = np.stack([roads, roads[::-1, ::-1]]).astype(np.float32)
    one, many = (dims(tables, numbers, key=key, num_starts=s, transform="ratio")
                 for s in (1, 20))
    assert many.embedding.shape == (2, 2, 10, 2)
    assert np.all(many.stress <= one.stress)
    assert np.all(many.stress[:, 1] < 0.98 * one.stress[:, 1])  # one axis has many minima
    assert not np.any(many.embedding[:, 1, :, 1])
    residual = np.linalg.norm(many.disparities - euclidean(many.embedding), axis=(-2, -1))
    misfit = residual / np.linalg.norm(euclidean(many.embedding), axis=(-2, -1))
    np.testing.assert_allclose(misfit, many.stress, rtol=1e-4)
    with pytest.raises(ValueError, match="key: expected one for 19 random starts, got none"):
        mds.smacof_dims(tables, numbers, num_starts=20)
    with pytest.raises(ValueError, match="num_starts: expected an integer"):
        mds.smacof_dims(tables, numbers, key=key, num_starts=True)


def test_best_of_random_starts_is_that_of_metamds(usage, stackloss, x64):
    expected = usage("searched")["stackloss"]
    key = jax.random.key(1)
    found = until_repeated(stackloss, 3, key=key, starts_per_round=10)
    assert found.best.stress <= expected["stress1"] * (1 + 1e-5)
    same = mds.compare_configurations(found.best.embedding, np.array(expected["configuration"]))
    assert same.disparity < 1e-6
    # The classical start, the first, ends elsewhere.
    ten, start = (np.stack(10 * [x]) for x in (stackloss, mds.classical(stackloss, 3)))
    assert np.all(mds.smacof(ten, 3, init=start).stress > 1.1 * found.best.stress)
    assert 2 <= found.times_met < found.num_starts
    assert found.num_starts % 10 == 0
    for unit in (1e-200, 1e200):  # whose squares are out of range
        other = until_repeated(unit * stackloss, 3, key=key, starts_per_round=10)
        assert other.times_met == found.times_met
    again = until_repeated(stackloss, 3, key=key, starts_per_round=10)
    np.testing.assert_array_equal(again.best.embedding, found.best.embedding)


def test_finds_less_stress_than_r_smacof_published(gruijter, x64):
    """De Leeuw (2025), "Yet another smacof": 0.0446034 from the classical start, 0.0444297."""
    classical = mds.smacof(gruijter, 2, transform="ratio")
    found = until_repeated(gruijter, 2, transform="ratio", key=jax.random.key(0))
    np.testing.assert_allclose(classical.stress**2, 0.0446034, atol=5e-8)
    np.testing.assert_allclose(found.best.stress**2, 0.0444297, atol=5e-8)


def test_rounds_count_and_end(stackloss, monkeypatch):
    # A start a round, each of which ends elsewhere: rounds are used up.
    rng, calls = np.random.default_rng(0), []

    def never_the_same(dissimilarities, num_dims, *, init, **_):
        calls.append(np.asarray(init))
        n = dissimilarities.shape[-1]
        shape = dissimilarities.shape[:-2]
        return mds.MDSResult(rng.standard_normal((*shape, n, num_dims)),
                             np.full(shape, 1 / len(calls)), np.asarray(dissimilarities),
                             np.ones(shape, np.int32), np.zeros(shape, np.int32))

    monkeypatch.setattr("deepmds_jax.mds.several.smacof", never_the_same)
    options = {"key": jax.random.key(0), "starts_per_round": 1, "max_rounds": 3}
    found = until_repeated(stackloss, 2, **options)
    assert (found.times_met, found.num_starts, found.best.stress) == (1, 3, np.float32(1 / 3))
    assert np.abs(calls[1] - calls[2]).max() > 0.1

    monkeypatch.setattr("deepmds_jax.mds.several.PERFECT", 0.9)
    found = until_repeated(stackloss, 2, **options)
    assert (found.times_met, found.num_starts) == (1, 1)  # as good as it gets
    monkeypatch.undo()

    def always_the_same(*arguments, **options):
        result = never_the_same(*arguments, **options)
        return result._replace(embedding=np.broadcast_to(calls[0], result.embedding.shape))

    calls.clear()
    monkeypatch.setattr("deepmds_jax.mds.several.smacof", always_the_same)
    found = until_repeated(np.stack([stackloss, stackloss]), 2, **options)
    assert found.times_met.tolist() == [2, 2]
    assert found.num_starts.tolist() == [2, 2]


def test_bad_problems_and_arguments(stackloss):
    key = jax.random.key(0)
    options = {"key": key, "starts_per_round": 2, "max_rounds": 2, "max_iters": 50}
    bad = np.stack([stackloss, np.zeros_like(stackloss)])
    found = until_repeated(bad, 2, **options)
    assert found.best.status[1] == mds.Status.INVALID
    assert np.isnan(found.best.embedding[1]).all()
    assert np.isfinite(found.best.embedding[0]).all()
    with pytest.raises(ValueError, match="only zeros"):
        mds.smacof_until_repeated(bad[1], 2, **options | {"starts_per_round": 4})
    with pytest.raises(ValueError, match="starts_per_round: expected an integer >= 1, got 0"):
        mds.smacof_until_repeated(stackloss, 2, key=key, starts_per_round=0)
    with pytest.raises(ValueError, match=r"key: expected a key like jax.random.key\(0\), got 0"):
        mds.smacof_until_repeated(stackloss, 2, key=0)
    nothing = dims(np.zeros((0, 7, 7)), (1, 2), key=key, num_starts=3)
    assert nothing.embedding.shape == (0, 2, 7, 2) and nothing.stress.shape == (0, 2)
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(lambda d: mds.smacof_until_repeated(d, 2, key=key))(stackloss)


def test_what_these_functions_give_may_be_given_as_its_default(stackloss):
    # Of the shapes and transform of the ten roads above, whose programs serve here, too.
    few, key = stackloss[:10, :10], jax.random.key(0)
    options = {"progress": False, "num_starts": 1, "max_iters": 5, "transform": "ratio"}
    some = {"starts_per_round": 4, "max_rounds": 1}
    mds.smacof_dims(np.stack([few, few]), (1, 2), init=None, key=None, **options)
    mds.smacof_until_repeated(few, 2, key=key, **some, **options)
    mds.permutation_test(few, key, 2, num_permutations=4, **options)
    mds.bootstrap(np.random.default_rng(0).normal(size=(6, 10)), _apart, key, 2,
                  num_replicates=4, **options)
    for other in ({"progress": True}, {"init": "random"}, {"num_dims": 3}):
        with pytest.raises(ValueError, match=f"^{next(iter(other))}: expected none, for smacof_d"):
            mds.smacof_dims(stackloss, (1, 2), **other)


def _apart(data):
    return mds.distances(data.T)
