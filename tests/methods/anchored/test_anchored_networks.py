"""The networks of the anchored system: what their answers may and may not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.data import specs
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import sample_faces
from deepmds_jax.geometry import standardize
from deepmds_jax.methods import anchored
from deepmds_jax.methods.anchored.encoder import ShapeEncoder
from deepmds_jax.methods.anchored.pairs import PairNetwork, around, square

N = 51
EVERYTHING = np.ones((8, N), np.float32)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def random_like(tree, seed, scale):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: np.asarray(x + scale * rng.normal(size=x.shape), x.dtype), tree)


@pytest.fixture(scope="module")
def faces():
    views = specs.load_spec("ict_robust").views
    return sample_faces(jax.random.key(0), synthetic.load("flame51"), views, 8)


@pytest.fixture(scope="module")
def x2d(faces):
    return np.asarray(jax.jit(standardize)(faces.x2d))


@pytest.fixture(scope="module")
def networks(untrained):
    """Both with parameters that are all random, none of them 0."""
    return random_like(untrained.encoder, 0, 0.02), random_like(untrained.pairs, 1, 0.1)


@pytest.fixture(scope="module")
def propose(networks):
    @jax.jit
    @jax.default_matmul_precision("highest")
    def both(networks, x2d, visible):
        proposal = ShapeEncoder(N).apply(networks[0], x2d, visible)
        return proposal, PairNetwork(N).apply(networks[1], proposal, visible)

    return lambda x2d, visible, encoder=networks[0]: jax.device_get(
        both((encoder, networks[1]), x2d, visible))


@pytest.mark.parametrize(("topology", "encoder", "pair_network"), [
    ("flame51", 19_907, 2_407), ("ibug68", 22_610, 2_645), ("bfm72", 23_246, 2_701),
])
def test_both_networks_keep_the_papers_budget(topology, encoder, pair_network):
    config = anchored.Config(topology)
    params = jax.eval_shape(lambda: anchored.init(config, jax.random.key(0)))
    assert (size(params.encoder), size(params.pairs)) == (encoder, pair_network)
    assert encoder + pair_network == anchored.as_method(params).num_params <= 27_505
    mean = params.encoder["params"]["mean"]
    assert mean.shape == (topologies.get(topology).num_landmarks, 3)


def test_turning_scaling_and_shifting_change_the_roll_alone(propose, x2d):
    plain, plain_pairs = propose(x2d, EVERYTHING)
    assert np.std(plain.shape - plain.shape[:1]) > 1e-3  # it looks at the faces
    for degrees, scale, shift in [(180, 1, 0), (37, 2.5, 1.5), (-100, 0.3, -2)]:
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        turn = np.array([[c, -s], [s, c]], np.float32)
        moved = (scale * x2d @ turn.T + shift).astype(np.float32)
        other, other_pairs = propose(moved, EVERYTHING)
        for name in ("shape", "points", "rotation", "perspective", "context", "observed",
                     "residual"):
            np.testing.assert_allclose(getattr(other, name), getattr(plain, name), atol=1e-4,
                                       err_msg=name)
        # A point turned by `turn` is turned back by the roll.
        np.testing.assert_allclose(other.roll @ turn, plain.roll, atol=1e-4)
        for a, b in zip(other_pairs, plain_pairs, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_the_view_is_a_rotation_and_what_is_seen_fits_together(propose, x2d):
    proposal, _ = propose(x2d, EVERYTHING)
    for turn in (proposal.rotation, proposal.roll):
        eye = np.broadcast_to(np.eye(turn.shape[-1]), turn.shape)
        np.testing.assert_allclose(turn @ turn.swapaxes(1, 2), eye, atol=1e-4)
        np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-4)
    np.testing.assert_allclose(
        proposal.points, np.einsum("bij,bnj->bni", proposal.rotation, proposal.shape), atol=1e-5
    )
    # By definition of perspective, z away: points and observed, both seen by the camera, differ by
    # the residual.
    shrink = 1 + proposal.perspective[:, None, None] * proposal.points[..., 2:]
    seen, shown = proposal.points[..., :2] / shrink, proposal.observed / shrink
    np.testing.assert_allclose(shown - seen, proposal.residual, atol=1e-5)
    # And what is shown is the image, upright and in the unit of the mean shape.
    upright = np.einsum("bij,bnj->bni", proposal.roll, x2d)
    a, b = ((x - x.mean(axis=1, keepdims=True)).reshape(8, -1) for x in (shown, upright))
    cosine = np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_the_two_sides_of_a_turned_face_show_its_depth(networks, propose):
    mean = np.asarray(networks[0]["params"]["mean"])
    mean = (mean + (mean * [-1, 1, 1])[list(topologies.get("flame51").mirror)]) / 2
    deep = mean.copy()
    deep[:10, 2] -= 0.1  # the brows come forward
    yaw = np.deg2rad(40)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    x2d = np.tile((deep @ turn.T)[:, :2].astype(np.float32), (8, 1, 1))  # as many as `propose` has

    def find_depths(reach):
        none = jax.tree.map(np.zeros_like, networks[0]["params"])
        given = {"mean": mean, "lengths": np.log([0.3, 0.05]), "reach": np.tile(reach, (5, 1))}
        given = {k: np.asarray(v, np.float32) for k, v in given.items()}
        proposal, _ = propose(x2d, EVERYTHING, {"params": {**none, **given}})
        changes = (proposal.shape[0] - mean)[:, 2]
        return changes[:10].mean() - changes[10:].mean()

    own, mirrored = find_depths([0.4, 0, 0, 0]), find_depths([0.2, 0.2, 0, 0])
    assert mirrored < 1.3 * own < -0.02


def test_where_missing_landmarks_are_does_not_matter(propose, x2d):
    rng = np.random.default_rng(0)
    visible = (rng.random((8, N)) < 0.6).astype(np.float32)
    elsewhere = np.where(visible[..., None] > 0, x2d, 30 * rng.normal(size=(8, N, 2)))
    plain, plain_pairs = propose(x2d, visible)
    other, other_pairs = propose(elsewhere.astype(np.float32), visible)
    for name in plain._fields:
        a, b = getattr(plain, name), getattr(other, name)
        if name == "observed":
            a, b = a * visible[..., None], b * visible[..., None]
        np.testing.assert_allclose(a, b, atol=1e-4, err_msg=name)
    for a, b in zip(plain_pairs, other_pairs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(plain.residual[visible == 0], 0)
    everything, _ = propose(x2d, EVERYTHING)
    assert np.abs(everything.shape - plain.shape).max() > 1e-3  # but that they are missing does


def test_faces_of_a_batch_do_not_mix(propose, x2d):
    broken = x2d.copy()
    broken[3] = np.nan
    for a, b in zip(propose(x2d, EVERYTHING)[0], propose(broken, EVERYTHING)[0], strict=True):
        good = np.array([0, 1, 2, 4, 5, 6, 7])
        np.testing.assert_allclose(a[good], b[good], atol=1e-5)
        assert np.isnan(b[3]).all()


def test_estimates_of_pairs(propose, x2d):
    proposal, estimate = propose(x2d, EVERYTHING)
    assert estimate.distances.shape == estimate.std.shape == (8, N, N)
    assert estimate.landmark_std.shape == (8, N, 3)
    assert estimate.observed_std.shape == (8, N)
    assert estimate.trust.shape == (4,)
    for std in (estimate.std, estimate.landmark_std, estimate.observed_std):
        assert (np.asarray(std) > 0).all()
    for matrix, diagonal in ((estimate.distances, 0), (estimate.std, 1)):
        np.testing.assert_allclose(matrix, np.swapaxes(matrix, 1, 2), rtol=1e-6)
        np.testing.assert_array_equal(np.diagonal(matrix, axis1=1, axis2=2), diagonal)
    # The network corrects the proposal's distances, each by a factor near 1.
    points = proposal.points
    apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    far = apart > 0.1
    ratio = estimate.distances[far] / apart[far]
    assert 0.2 < ratio.min() < ratio.max() < 5
    assert np.std(np.log(ratio)) > 1e-3


def test_the_pair_network_does_not_see_the_order_of_a_pair(networks, propose, x2d):
    """Landmarks 3 and 40 change places, in the proposal and in what is learnt of them."""
    proposal, plain = propose(x2d, EVERYTHING)
    order = np.arange(N)
    order[[3, 40]] = order[[40, 3]]
    exchanged = proposal._replace(**{
        name: getattr(proposal, name)[:, order] for name in ("points", "residual")})
    own = networks[1]["params"]
    variables = {"params": {**own, **{k: own[k][order] for k in ("identity", "landmarks")}}}

    apply = jax.jit(jax.default_matmul_precision("highest")(PairNetwork(N).apply))
    other = apply(variables, exchanged, EVERYTHING)
    np.testing.assert_allclose(
        plain.distances[:, order][:, :, order], other.distances, atol=1e-5)


@pytest.mark.parametrize("num_landmarks", [5, 6])
def test_pairs_around_a_circle_are_all_pairs(num_landmarks):
    values = np.random.default_rng(0).normal(size=(3, num_landmarks, 2)).astype(np.float32)

    def differences(values):
        one, other = around(values)
        assert other.shape == (2, 3, num_landmarks // 2, num_landmarks)
        return square(jnp.abs(one - other))

    found = np.asarray(jax.jit(differences)(values))
    expected = np.abs(values[:, :, None] - values[:, None]).transpose(3, 0, 1, 2)
    off_diagonal = ~np.eye(num_landmarks, dtype=bool)
    np.testing.assert_array_equal(found[..., off_diagonal], expected[..., off_diagonal])


def test_gradients_are_finite_and_reach_every_parameter(networks, x2d):
    visible = EVERYTHING.copy()
    visible[:, 10:15] = 0

    def total(variables):
        proposal = ShapeEncoder(N).apply(variables[0], x2d, visible)
        estimate = PairNetwork(N).apply(variables[1], proposal, visible)
        return sum(jnp.mean(x**2) for x in jax.tree.leaves((proposal, estimate)))

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(total))(networks)):
        assert np.isfinite(leaf).all(), path
        assert (np.abs(leaf).max(axis=-1) > 0).mean() > 0.9, path
