import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmds_jax import load_released, load_released_zhao
from deepmds_jax.lifting import dissimilarities
from deepmds_jax.models import Autoencoder, DissimilarityNetwork, ZhaoNetwork, pair_features
from deepmds_jax.models.zhao import zhao_normalize


def sizes(network, example):
    variables = jax.eval_shape(network.init, jax.random.key(0), example)
    return {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in
            variables.items()}


@pytest.mark.parametrize(("num_landmarks", "trainable"), [(72, 24_880), (51, 19_378)])
def test_autoencoder_has_the_published_size(num_landmarks, trainable):
    example = jnp.zeros((1, num_landmarks, 2))
    assert sizes(Autoencoder(num_landmarks), example)["params"] == trainable


def test_dissimilarity_network_has_the_published_size():
    assert sizes(DissimilarityNetwork(), jnp.zeros((1, 5))) == {"params": 2423, "batch_stats": 202}


def test_zhao_network_has_the_published_size():
    assert sizes(ZhaoNetwork(72), jnp.zeros((1, 72, 2))) == {"params": 114_840}


def test_paper_features_by_hand():
    features = np.asarray(pair_features(jnp.array([[0.25, 0.5], [0.75, 0.25]])))
    assert features.shape == (2, 2, 6)
    expected = [0.5, 0.25, 0.1875, 0.125, np.exp(-0.5), np.exp(-0.25)]
    np.testing.assert_allclose(features[0, 1], expected, rtol=1e-6)
    np.testing.assert_array_equal(features[0, 1], features[1, 0])


def test_release_features_by_hand():
    features = np.asarray(pair_features(jnp.array([[0.0, 0.5], [0.3, 0.1]]), "release"))
    expected = [0, 0.05, np.exp(-0.3), np.exp(-0.4), 0.5]
    np.testing.assert_allclose(features[0, 1], expected, rtol=1e-6)


def test_release_features_have_a_gradient_where_points_coincide():
    gradient = jax.grad(lambda p: pair_features(p, "release").sum())(jnp.ones((2, 2)))
    assert np.isfinite(gradient).all()


def test_unknown_features_raise():
    with pytest.raises(ValueError, match="'polar'"):
        pair_features(jnp.zeros((2, 2)), "polar")


@pytest.mark.parametrize("topology", ["bfm72", "flame51"])
def test_released_networks_agree_with_keras(shared, topology):
    oracle = np.load(shared / "oracles" / "authors_networks" / f"{topology}.npz")
    folder = shared / "data" / "authors_release"
    params = load_released(folder, topology)
    num_landmarks = oracle["x2d"].shape[1]

    frontal = Autoencoder(num_landmarks).apply(params.autoencoder, oracle["x2d"])
    np.testing.assert_allclose(frontal, oracle["frontal_raw"], atol=1e-5)
    features = pair_features(jnp.asarray(oracle["frontal"]), "release")
    distances = DissimilarityNetwork().apply(params.dissimilarity, features)
    np.testing.assert_allclose(distances, oracle["dissimilarity_raw"], atol=1e-5)
    # Within reconstruct, y points down: the features must still be those of y up.
    raw = np.abs(oracle["dissimilarity_raw"]) * (1 - np.eye(num_landmarks))
    down = np.stack([oracle["frontal"][..., 0], 1 - oracle["frontal"][..., 1]], axis=-1)
    np.testing.assert_allclose(dissimilarities(params, jnp.asarray(down)), raw, atol=1e-5)
    zhao = load_released_zhao(folder, topology)
    np.testing.assert_allclose(zhao_normalize(oracle["x2d"]), oracle["zhao_input"], atol=1e-5)
    depth = ZhaoNetwork(num_landmarks).apply(zhao, oracle["zhao_input"])
    np.testing.assert_allclose(depth, oracle["zhao_depth"], atol=1e-5)
