"""Training of the anchored variant, with few synthetic faces and few steps."""

import dataclasses
import pathlib
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorboardX

from deepmds_jax.data import augmentation, specs
from deepmds_jax.data.augmentation import Augmentation, augmented_faces, deformation_basis
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.sources import synthetic
from deepmds_jax.geometry import centre, procrustes, standardize
from deepmds_jax.methods import anchored
from deepmds_jax.methods.anchored import stages
from deepmds_jax.methods.saved import load_checkpoint, load_params, read_metadata
from deepmds_jax.training.run import train
from deepmds_jax.training.trainable import Run

SPEC = dataclasses.replace(
    specs.load_spec("synthetic"), variant="anchored", noise=0.005,
    augmentation=Augmentation(deformation=0.5, noise=0.02, missing=0.3, contour=0.1),
)
TRAINING = anchored.Training(autoencoder_epochs=20, dissimilarity_epochs=4, learning_rate=5e-3)
RUN = Run(anchored.Config("flame51"), TRAINING, num_train=128)


@pytest.fixture(scope="module", autouse=True)
def quicker_start_and_end():
    """One program deforms shapes, one finds modes, rather than one for each operation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "_modes", jax.jit(stages._modes, static_argnames="num_modes"))
        patch.setattr(augmentation, "deform",
                      jax.jit(augmentation.deform, static_argnames=("mirror", "max_amount")))
        patch.setattr(stages, "CALIBRATION_FACES", 512)
        patch.setattr(stages, "ENCODER_FACES", 128)
        # Which faces are hard, the deviations learn in some hundred steps.
        patch.setattr(stages, "JOINT_FACES", 2)
        yield


@pytest.fixture(scope="module")
def dataset():
    return Dataset(SPEC, synthetic.load("flame51"), pathlib.Path("nowhere"))


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """The folder, the parameters, and the curve of a whole run."""
    workdir, curve = tmp_path_factory.mktemp("finished"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboardX.SummaryWriter, "add_scalar",
                      lambda self, tag, value, step: curve.setdefault(tag, []).append(value))
        return workdir, train(anchored, RUN, dataset, workdir), curve


def test_both_losses_fall(finished):
    curve = finished[2]
    assert {tag: len(losses) for tag, losses in curve.items()} == {
        "encoder/loss": 20, "joint/loss": 4}  # a look per epoch
    assert curve["encoder/loss"][-1] < 0.9 * curve["encoder/loss"][0]
    assert curve["joint/loss"][-1] < curve["joint/loss"][0]


def test_weights_and_description_are_written(finished, dataset):
    workdir, params, _ = finished
    loaded = load_params(workdir / "weights.safetensors")
    assert loaded.config == params.config == RUN.config
    chex.assert_trees_all_equal(loaded, params)
    metadata = read_metadata(workdir / "weights.safetensors")
    assert (metadata["variant"], metadata["end_to_end"]) == ("anchored", "True")
    # The encoder started at the mean face of unit size, which stays the reference.
    np.testing.assert_allclose(params.reference, standardize(dataset.mean), atol=1e-6)
    moved = np.abs(params.encoder["params"]["mean"] - params.reference)
    assert 0 < moved.max() < 0.2


def test_the_checkpoint_has_the_networks_but_for_the_calibration(finished):
    workdir, params, _ = finished
    loaded, run = load_checkpoint(workdir)
    assert loaded.config == params.config
    assert (run["dataset"], run["variant"]) == ("synthetic", "anchored")
    chex.assert_trees_all_equal(loaded.encoder, params.encoder)
    chex.assert_trees_all_equal(loaded.reference, params.reference)
    ours, theirs = (dict(p.pairs["params"]) for p in (loaded, params))
    for name in ("landmarks", "trust"):
        assert np.abs(ours.pop(name) - theirs.pop(name)).max() > 1e-3
    turns = [pairs.pop("turn") for pairs in (ours, theirs)]
    assert np.abs(turns[0]["bias"] - turns[1]["bias"]).max() > 1e-3
    chex.assert_trees_all_equal(*(turn["kernel"] for turn in turns))
    chex.assert_trees_all_equal(loaded.modes, params.modes)
    chex.assert_trees_all_equal(ours, theirs)


def test_a_run_interrupted_in_both_stages_ends_at_the_same_numbers(finished, dataset, tmp_path):
    for looks, last in ((3, ("encoder/loss", 4)), (18, ("joint/loss", 192))):
        seen = []

        def interrupt(self, tag, value, step, looks=looks, seen=seen):
            seen.append((tag, step))
            if len(seen) == looks:
                signal.raise_signal(signal.SIGTERM)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensorboardX.SummaryWriter, "add_scalar", interrupt)
            with pytest.raises(KeyboardInterrupt):
                train(anchored, RUN, dataset, tmp_path)
        assert seen[-1] == last
        assert not (tmp_path / "weights.safetensors").exists()
    chex.assert_trees_all_equal(train(anchored, RUN, dataset, tmp_path), finished[1])


def test_another_run_is_refused_in_its_folder(finished, dataset):
    run = dataclasses.replace(RUN, training=dataclasses.replace(TRAINING, end_to_end=False))
    with pytest.raises(ValueError, match="end_to_end=True, this one has end_to_end=False"):
        train(anchored, run, dataset, finished[0])


def test_too_few_faces_for_a_minibatch(dataset, tmp_path):
    with pytest.raises(ValueError, match="num_train: a minibatch takes 128 faces, got 50"):
        train(anchored, dataclasses.replace(RUN, num_train=50), dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def joint_variables(params):
    return {"params": {"encoder": params.encoder["params"], "pairs": params.pairs["params"]}}


@pytest.fixture(scope="module")
def joint_stages(dataset):
    """The stage that learns through stress majorization and the one that does not, by whether."""
    points = dataset.draw_shapes(jax.random.key(1), RUN.num_train)
    return {end_to_end: stages.joint_stage(
        SPEC, "flame51", dataset.mean, points, 1e-3, 1, end_to_end) for end_to_end in (True, False)}


@pytest.fixture(scope="module")
def minibatch(joint_stages):
    """Inputs and truth, the same in both stages."""
    stage = joint_stages[True]
    return jax.jit(stage.minibatch)(stage.data, np.arange(32), jax.random.key(2))


@pytest.mark.parametrize("end_to_end", [True, False])
def test_what_comes_back_through_stress_majorization(
    finished, joint_stages, minibatch, end_to_end
):
    """Trust is what stress majorization alone uses; all else has a loss of its own besides."""
    stage = joint_stages[end_to_end]

    @jax.jit
    @jax.grad
    def gradient(variables, inputs, truth):
        return stage.loss(stage.apply(variables, inputs, [])[0], truth)

    found = gradient(joint_variables(finished[1]), *minibatch)["params"]
    trust = np.abs(found["pairs"].pop("trust"))
    assert (trust > 1e-6).all() if end_to_end else (trust == 0).all()
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path
    # How sure the image is has no loss but these two: either way it learns.
    assert (np.abs(found["pairs"]["landmarks"][:, 3]) > 0).all()


@pytest.fixture(scope="module")
def lift(dataset):
    """Lifts fresh faces under the views and the augmentation of the spec, given variables.

    Returns the solution and the (F, N, 3) errors per axis of the camera frame, in sizes of a face.
    """
    points = dataset.draw_shapes(jax.random.key(5), 512)
    basis = deformation_basis(np.asarray(dataset.mean))
    draw = jax.jit(lambda key, points: augmented_faces(
        key, points, SPEC.views, SPEC.noise, SPEC.augmentation, "flame51", basis))
    faces = draw(jax.random.key(6), points)

    @jax.jit
    def solve(variables, x2d, visible, points):
        networks = ({"params": variables["params"][k]} for k in ("encoder", "pairs"))
        found = anchored.solve(*networks, centre(x2d), visible.astype(jnp.float32))
        result, truth = standardize(found.embedded.embedding), standardize(points)
        return found, jnp.abs(procrustes(truth, result)(truth) - result)

    return lambda variables: solve(variables, faces.x2d, faces.visible, faces.points)


def coverage(found, errors):
    """Share of the errors within one and within two deviations, per axis of the camera frame."""
    std = np.asarray(found.estimate.landmark_std)
    return [np.mean(errors < k * std, axis=(0, 1)) for k in (1, 2)]


def test_trained_deviations_cover_as_they_say(finished, lift):
    one, two = coverage(*lift(joint_variables(finished[1])))
    np.testing.assert_allclose(one, 0.683, atol=0.03)
    np.testing.assert_allclose(two, 0.954, atol=0.04)


def test_calibration_changes_the_deviations_alone(finished, dataset, lift):
    variables = joint_variables(finished[1])
    pairs = dict(variables["params"]["pairs"])
    # As sure of x as no one is, less so of z, and what the anchors weigh all the same.
    wrong = np.log(np.array([5, 1, 0.3, 1], np.float32))
    pairs["landmarks"], pairs["trust"] = pairs["landmarks"] + wrong, pairs["trust"] - 2 * wrong
    skewed = {"params": {**variables["params"], "pairs": pairs}}
    before, errors = lift(skewed)
    (x, _, z), _ = coverage(before, errors)
    assert x < 0.3 < 0.9 < z
    points = dataset.draw_shapes(jax.random.key(7), 512)
    mended = stages.calibrated(skewed, SPEC, "flame51", dataset.mean, points, jax.random.key(8))
    after, errors = lift(mended)
    np.testing.assert_allclose(coverage(after, errors)[0], 0.683, atol=0.03)
    np.testing.assert_allclose(after.embedded.embedding, before.embedded.embedding, atol=2e-4)
    np.testing.assert_array_equal(after.estimate.distances, before.estimate.distances)
    np.testing.assert_array_equal(after.estimate.observed_std, before.estimate.observed_std)


def test_networks_see_the_landmarks_alone_where_jaw_lines_come_behind_them():
    mean = synthetic.load("ibug68").mean
    lines = np.asarray(mean)[:17, None] + np.array([[0, 0, -10], [0, 0, -20]])
    points = jnp.concatenate([mean, jnp.asarray(lines.reshape(-1, 3), jnp.float32)])
    points = jnp.broadcast_to(points, (256, *points.shape))
    spec = dataclasses.replace(SPEC, augmentation=Augmentation(outline=1.0))
    stage = stages.encoder_stage(spec, "ibug68", mean, points, 1e-3, 1)
    joint = stages.joint_stage(spec, "ibug68", mean, points, 1e-3, 1)
    variables = stages.init(anchored.Config("ibug68"), jax.random.key(0))

    @jax.jit
    def losses(encoder, both):
        inputs, truth = stage.minibatch(stage.data, jnp.arange(16), jax.random.key(1))
        first = stage.loss(stage.apply(encoder, inputs, [])[0], truth)
        second = joint.loss(joint.apply(both, inputs, [])[0], truth)
        return inputs, truth.points, first, second

    encoder = {**variables.encoder["params"], "mean": standardize(mean)}
    both = {"params": {"encoder": encoder, "pairs": variables.pairs["params"]}}
    (x2d, visible), true, first, second = losses({"params": encoder}, both)
    assert (x2d.shape, visible.shape, true.shape) == ((16, 68, 2), (16, 68), (16, 68, 3))
    assert np.isfinite([first, second]).all()


def test_matrices_of_networks_that_are_trained_on_go_equally_far_in_all_directions():
    """Along directions that the gradient hardly knows, too; all else goes as Adam takes it."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 6)))[0] for n in (20, 8))
    slopes = left * [1, 0.5, 0.2, 0.1, 0.1, 0.05] @ right.T
    params = {"layer": {"kernel": slopes, "bias": np.ones(8)}, "modes": slopes}
    gradients = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    optimizer = stages._muon(lambda step: 0.01)
    changes, _ = optimizer.update(gradients, optimizer.init(gradients), gradients)
    along = -np.diag(left.T @ np.asarray(changes["layer"]["kernel"]) @ right)
    assert np.all(np.abs(along - 0.09) < 0.04)
    np.testing.assert_allclose(changes["layer"]["bias"], -0.01, rtol=1e-3)
    np.testing.assert_allclose(changes["modes"], -0.01 * np.sign(slopes), rtol=1e-3)
