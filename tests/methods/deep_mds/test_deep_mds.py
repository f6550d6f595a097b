"""Deep-MDS as published: its networks, their features, the authors' weights, and the method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import bound

from deepmds_jax import reconstruct
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import Faces, Uniform, ViewGroup, sample_faces
from deepmds_jax.methods import deep_mds
from deepmds_jax.methods.deep_mds.networks import (
    Autoencoder,
    DissimilarityNetwork,
    pair_features,
)


def shapes_of(topology, **options):
    """The parameters of a configuration, as shapes: nothing is compiled."""
    config = deep_mds.Config(topology, **options)
    return jax.eval_shape(lambda: deep_mds.init(config, jax.random.key(0)))


def sizes(variables):
    return {name: sum(leaf.size for leaf in jax.tree.leaves(tree))
            for name, tree in variables.items()}


@pytest.mark.parametrize(("topology", "trainable"), [("bfm72", 24_880), ("flame51", 19_378)])
def test_autoencoder_has_the_published_size(topology, trainable):
    assert sizes(shapes_of(topology).autoencoder)["params"] == trainable


def test_dissimilarity_network_has_the_published_size():
    variables = shapes_of("bfm72", features="release").dissimilarity
    assert sizes(variables) == {"params": 2423, "batch_stats": 202}


@pytest.mark.parametrize(("features", "num_params"), [("release", 27_505), ("paper", 27_525)])
def test_method_has_the_published_size(features, num_params):
    assert deep_mds.as_method(shapes_of("bfm72", features=features)).num_params == num_params


def test_paper_features_by_hand():
    features = np.asarray(pair_features(np.array([[0.25, 0.5], [0.75, 0.25]], np.float32)))
    assert features.shape == (2, 2, 6)
    expected = [0.5, 0.25, 0.1875, 0.125, np.exp(-0.5), np.exp(-0.25)]
    np.testing.assert_allclose(features[0, 1], expected, rtol=1e-6)
    np.testing.assert_array_equal(features[0, 1], features[1, 0])


def test_release_features_by_hand():
    points = np.array([[0.0, 0.5], [0.3, 0.1]], np.float32)
    features = np.asarray(pair_features(points, "release"))
    expected = [0, 0.05, np.exp(-0.3), np.exp(-0.4), 0.5]
    np.testing.assert_allclose(features[0, 1], expected, rtol=1e-6)


def test_release_features_have_a_gradient_where_points_coincide():
    gradient = jax.jit(jax.grad(lambda p: pair_features(p, "release").sum()))
    assert np.isfinite(gradient(np.ones((2, 2), np.float32))).all()


def test_unknown_features_raise():
    with pytest.raises(ValueError, match=r"kind: expected one of .*, got 'polar'"):
        pair_features(np.zeros((2, 2)), "polar")
    with pytest.raises(ValueError, match=r"features: expected one of .*, got 'polar'"):
        deep_mds.Config("bfm72", features="polar")


def test_splines_are_of_scaling_alone():
    with pytest.raises(ValueError, match=r"transform: expected one of \['ordinal', 'interval', "
                                         r"'ratio'\], got 'spline'"):
        deep_mds.Config("bfm72", transform="spline")


@pytest.mark.parametrize("topology", ["bfm72", "flame51"])
def test_released_networks_agree_with_keras(shared, topology):
    oracle = np.load(shared / "oracles" / "authors_networks" / f"{topology}.npz")
    params = deep_mds.load_released(shared / "data" / "authors_release", topology)
    assert params.config == deep_mds.Config(topology, features="release", y_up=True)
    num_landmarks = oracle["x2d"].shape[1]
    # Within reconstruct, y points down: the features must still be those of y up.
    down = np.stack([oracle["frontal"][..., 0], 1 - oracle["frontal"][..., 1]], axis=-1)

    @jax.jit
    def networks(params, x2d, frontal, down):
        features = pair_features(frontal, "release")
        return (Autoencoder(num_landmarks).apply(params.autoencoder, x2d),
                DissimilarityNetwork().apply(params.dissimilarity, features),
                deep_mds.dissimilarities(params, down))

    frontal, distances, estimated = networks(params, oracle["x2d"], oracle["frontal"], down)
    np.testing.assert_allclose(frontal, oracle["frontal_raw"], atol=1e-5)
    np.testing.assert_allclose(distances, oracle["dissimilarity_raw"], atol=1e-5)
    raw = np.abs(oracle["dissimilarity_raw"]) * (1 - np.eye(num_landmarks))
    np.testing.assert_allclose(estimated, raw, atol=1e-5)


def test_method_is_reconstruct_with_released_weights(shared):
    params = deep_mds.load_released(shared / "data" / "authors_release", "flame51")
    views = (ViewGroup(1.0, yaw=Uniform(-30.0, 30.0)),)
    x2d = sample_faces(jax.random.key(0), synthetic.load("flame51"), views, 2).x2d
    points = jax.jit(lambda x: deep_mds.as_method(params).predict(Faces(x, None)))(x2d)
    expected = jax.jit(lambda x: reconstruct(params, x))(x2d)
    np.testing.assert_allclose(points, expected, rtol=0, atol=bound(0, 1e-2))
    points = np.asarray(points)
    # The nose tip is nearer to the viewer than the outer corners of the eyes.
    assert (points[:, 13, 2] < points[:, [19, 28], 2].min(axis=1) - 0.3).all()


def test_authors_weights_are_for_two_topologies():
    with pytest.raises(ValueError, match=r"topology: .*\['bfm72', 'flame51'\], got 'ibug68'"):
        deep_mds.load_released("nowhere", "ibug68")


def test_identity_makes_the_network_know_which_landmarks_it_looks_at():
    params = shapes_of("flame51", features="identity")
    assert params.dissimilarity["params"]["identity"].shape == (51, 4)
    same = np.zeros((1, 51, 51, 6), np.float32)
    network = DissimilarityNetwork(51)
    variables = jax.jit(network.init)(jax.random.key(0), same)
    out = np.asarray(jax.jit(network.apply)(variables, jnp.asarray(same)))[0]
    np.testing.assert_allclose(out, out.T, atol=1e-5)  # still the same for (i, j) and (j, i)
    assert np.std(out[np.triu_indices(51, 1)]) > 1e-3
