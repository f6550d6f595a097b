"""Training of Deep-MDS as published, with few synthetic faces and few steps."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest
import tensorboardX

from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.sources import synthetic
from deepmds_jax.methods import deep_mds
from deepmds_jax.methods.deep_mds import stages
from deepmds_jax.training.run import train
from deepmds_jax.training.trainable import Run

NUM_FACES = 160
TRAINING = deep_mds.Training(autoencoder_epochs=30, dissimilarity_epochs=2)
RUN = Run(deep_mds.Config("flame51"), TRAINING, num_train=NUM_FACES)


@pytest.fixture(scope="module")
def dataset():
    spec = specs.load_spec("synthetic")
    return Dataset(spec, synthetic.load("flame51"), pathlib.Path("nowhere"))


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """The parameters, and the curves of a whole run."""
    curves = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboardX.SummaryWriter, "add_scalar",
                      lambda self, tag, value, step: curves.setdefault(tag, []).append(value))
        params = train(deep_mds, RUN, dataset, tmp_path_factory.mktemp("finished"))
    return params, curves


def test_both_losses_fall(finished):
    autoencoder, dissimilarity = (finished[1][f"{stage}/loss"] for stage in deep_mds.STAGES)
    assert len(autoencoder) == 30  # a look per epoch of 10 steps
    assert autoencoder[-1] < 0.25 * autoencoder[0]
    assert dissimilarity[-1] < 0.8 * dissimilarity[0]


def test_the_reference_is_the_mean_face_of_unit_size(finished, dataset):
    reference = np.asarray(finished[0].reference)
    assert np.mean(np.sum(np.square(reference), axis=1)) == pytest.approx(1, rel=1e-5)
    mean = np.asarray(dataset.mean - np.mean(dataset.mean, axis=0))
    np.testing.assert_allclose(reference * np.linalg.norm(mean) / np.sqrt(51), mean, atol=1e-3)


def test_pairs_are_those_of_one_face_or_shuffled_over_all(finished, dataset):
    params, _ = finished
    faces = dataset.draw(jax.random.key(1), NUM_FACES)
    faces = jax.tree.map(lambda x: np.array(x[:12]), faces)
    # Faces of twelve shapes, which their distances tell apart: narrow to broad, and all flat.
    faces.points[..., 1:] *= 0.1 / (1 + np.arange(12.0)[:, None, None])
    rows, key = np.array([3]), jax.random.key(2)

    def batch(pairs):
        stage = stages.dissimilarity_stage(faces, params, 1e-3, pairs)
        features, targets = jax.jit(stage.minibatch)(stage.data, rows, key)
        assert features.shape == (51 * 51, 6)
        assert targets.shape == (51 * 51,)
        points = np.asarray(stage.data[1])
        apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
        return np.asarray(targets), apart

    targets, apart = batch("face")
    np.testing.assert_allclose(np.sort(targets), np.sort(apart[3].ravel()), atol=1e-6)
    targets, apart = batch("shuffled")
    nearest = np.abs(targets[:, None] - apart[apart > 0][None]).min(axis=1)
    assert np.all((targets == 0) | (nearest < 1e-6))  # each is a distance of some face
    counts = [np.isclose(targets[:, None], np.unique(a)[None, 1:], atol=1e-7).any(1).sum()
              for a in apart]
    assert min(counts) > 51 * 51 / 12 / 2  # and every face has its share


def test_pairs_are_of_two_kinds_and_the_identity_of_landmarks_needs_whole_faces(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"pairs: expected one of .*, got 'all'"):
        dataclasses.replace(TRAINING, pairs="all")
    training = dataclasses.replace(TRAINING, pairs="shuffled")
    run = Run(deep_mds.Config("flame51", features="identity"), training, num_train=NUM_FACES)
    with pytest.raises(ValueError, match="pairs: features=identity takes all pairs of a face"):
        train(deep_mds, run, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_loss_falls_for_both_kinds_of_minibatch(finished, dataset):
    faces = dataset.draw(jax.random.key(1), NUM_FACES)
    faces = jax.tree.map(lambda x: np.asarray(x)[:120], faces)
    curves = []
    for pairs in stages.PAIRS:
        first, second = deep_mds.dissimilarity_epochs(
            finished[0], faces, pairs, faces, key=jax.random.key(2), num_epochs=2)
        curves.append(first.losses)
        assert first.losses.shape == (120,)
        assert first.losses[-20:].mean() < 0.8 * first.losses[:20].mean()
        assert 0 < second.error < 0.1 > first.error > 0  # of distances that reach 1
        assert 0 < first.seconds < second.seconds
    assert not np.array_equal(*curves)
