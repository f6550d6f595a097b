import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from deepmds_jax.data import specs
from deepmds_jax.data.augmentation import Augmentation
from deepmds_jax.data.datasets import Dataset, open_dataset
from deepmds_jax.data.recorded import Recordings, ShapeSet
from deepmds_jax.data.sources import ict_jaw
from deepmds_jax.data.views import ViewGroup, seen_with_depth


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """ICT's arrays with a coarse egg in place of the face: 2 identity modes, 1 expression."""
    folder = tmp_path_factory.mktemp("ict")
    patch = pytest.MonkeyPatch()
    mesh = trimesh.creation.uv_sphere(count=[16, 16])
    points = mesh.vertices * (7, 10, 8)
    vertices = np.random.default_rng(0).permutation(len(points))[:68]
    identity = np.stack([points * (0.1, 0, 0), points * (0, 0, 0.1)])
    expression = points[None] * (0, 0.2, 0)
    arrays = {"mean": points, "identity": identity, "expression": expression}
    # A triangle is a quad whose last corner is its first but one again.
    quads = mesh.faces[:, [0, 1, 2, 2]]
    np.savez(folder / "ict_face_dense.npz", quads=quads, landmark_vertices=vertices, **arrays)
    np.savez(folder / "ict68.npz", **{k: x[..., vertices, :] for k, x in arrays.items()})
    patch.setattr(ict_jaw, "LINES", np.stack([vertices[:17], vertices[17:34], vertices[34:51]], 1))
    yield folder
    patch.undo()


def ict(folder, topology="ibug68", **changes):
    spec = specs.load_spec("ict_expression")
    perspective = spec.views[0]._replace(share=1.0)
    spec = dataclasses.replace(spec, views=(perspective,), **changes)
    return open_dataset(spec, topology, folder)


def in_numpy(faces):
    return jax.tree.map(np.asarray, faces)


def test_noise_visibility_and_images_are_added_to_the_same_faces(folder):
    key = jax.random.key(4)
    plain = in_numpy(ict(folder).draw(key, 12))
    assert plain.visible is None
    assert plain.images is None
    whole = in_numpy(ict(folder, noise=0.02, occlusion=True).draw(key, 12, images=True))
    for name in ("points", "identity", "expression"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(plain, name))
    np.testing.assert_array_equal(whole.view.yaw, plain.view.yaw)
    radius = np.sqrt(np.square(plain.points - plain.points.mean(1, keepdims=True)).sum(2).mean(1))
    errors = (whole.x2d - plain.x2d) / radius[:, None, None]
    assert errors.std() == pytest.approx(0.02, rel=0.1)  # of 1632 draws: four standard errors
    assert (whole.visible.shape, whole.visible.dtype) == ((12, 68), bool)
    assert 0.3 < whole.visible.mean() < 0.7  # of an egg about one half
    assert (whole.images.shape, whole.images.dtype) == ((12, 96, 96, 3), np.float32)
    assert whole.images.std((1, 2, 3)).min() > 0.01
    only = in_numpy(ict(folder).draw(key, 12, images=True))
    np.testing.assert_array_equal(only.images, whole.images)
    np.testing.assert_array_equal(only.x2d, plain.x2d)
    other = in_numpy(ict(folder).draw(jax.random.key(5), 12, images=True))
    assert np.abs(other.images - only.images).max() > 0.1


def test_dense_and_landmark_model_are_one_face(folder):
    dataset = ict(folder)
    faces = in_numpy(dataset.draw(jax.random.key(0), 12))
    shape = in_numpy(dataset.dense.shape)
    surface = (shape.mean + np.einsum("fk,knd->fnd", faces.identity, shape.identity)
               + np.einsum("fe,end->fnd", faces.expression, shape.expression))
    np.testing.assert_allclose(surface[:, dataset.dense.landmarks], faces.points, atol=1e-4)
    assert dataset.dense is dataset.dense  # read once


def test_source_without_a_surface_says_so():
    spec = dataclasses.replace(specs.load_spec("synthetic"), occlusion=True)
    dataset = open_dataset(spec, "ibug68", None)
    with pytest.raises(ValueError, match=r"synthetic.*model of the whole face"):
        dataset.draw(jax.random.key(0), 2)


def test_missing_surface_says_what_and_from_where(folder, tmp_path):
    (tmp_path / "ict68.npz").write_bytes((folder / "ict68.npz").read_bytes())
    dataset = ict(tmp_path, "flame51")
    assert dataset.draw(jax.random.key(0), 12).images is None  # the landmarks suffice for this
    with pytest.raises(ValueError, match=r"vertex_indices\.json.*ICT-FaceKit"):
        dataset.draw(jax.random.key(0), 12, images=True)
    with pytest.raises(ValueError, match=r"ict_face_dense\.npz.*ICT-FaceKit"):
        ict(tmp_path)


def test_outline_moves_the_jaw_of_the_image_alone(folder):
    key = jax.random.key(2)
    plain, half, whole = (in_numpy(ict(folder, outline=x).draw(key, 12)) for x in (0.0, 0.5, 1.0))
    for faces in (half, whole):
        np.testing.assert_array_equal(faces.points, plain.points)
        np.testing.assert_array_equal(faces.x2d[:, 17:], plain.x2d[:, 17:])
    np.testing.assert_allclose(2 * (half.x2d - plain.x2d), whole.x2d - plain.x2d, atol=1e-4)
    moved = np.linalg.norm(whole.x2d - plain.x2d, axis=2)[:, :17] > 0.1
    assert 0.2 < moved.mean() < 0.9  # of lines laid at random
    # Each goes to one of the points of its line, with the same coefficients.
    lines = ict(folder).source.jaw_lines.points(plain.identity, plain.expression)
    seen = np.asarray(seen_with_depth(lines.reshape(12, -1, 3), plain.points, plain.view))
    apart = np.linalg.norm(seen[..., :2].reshape(12, 17, 2, 2) - whole.x2d[:, :17, None], axis=-1)
    assert apart.min(-1)[moved].max() < 1e-3


def test_training_shapes_bring_their_jaw_lines(folder):
    key = jax.random.key(3)
    dataset = ict(folder, augmentation=Augmentation(outline=1.0, calm=1.0))
    points = np.asarray(dataset.draw_shapes(key, 5, jaw_lines=True))
    assert points.shape == (5, 68 + 17 * 2, 3)
    np.testing.assert_allclose(points[:, :68], dataset.draw_shapes(key, 5), atol=1e-5)
    # Line by line they are the landmarks 17-33 and 34-50 again, of the same faces.
    lines = points[:, 68:].reshape(5, 17, 2, 3)
    np.testing.assert_allclose(lines, np.stack([points[:, 17:34], points[:, 34:51]], 2), atol=1e-5)
    assert ict(folder).draw_shapes(key, 5, jaw_lines=True).shape == (5, 68, 3)


@pytest.mark.parametrize("changes", [{"outline": 1.0},
                                     {"augmentation": Augmentation(outline=1.0)}])
def test_outline_needs_to_know_where_the_contour_runs(changes, folder):
    spec = dataclasses.replace(specs.load_spec("synthetic"), **changes)
    with pytest.raises(ValueError, match=r"synthetic: its spec has an outline.*'synthetic'"):
        open_dataset(spec, "ibug68", None)
    open_dataset(spec, "flame51", None)  # no jaw


@pytest.fixture
def scans():
    points = jnp.asarray(np.random.default_rng(0).normal(size=(9, 68, 3)).astype(np.float32))
    is_test = np.arange(9) >= 6
    return ShapeSet(points, is_test, [f"scan{i}" for i in range(9)], "ibug68", "mm")


def test_scans_of_the_two_parts_do_not_mix(scans):
    spec = dataclasses.replace(specs.load_spec("synthetic"), noise=0.01, views=(ViewGroup(1.0),))
    dataset = Dataset(spec, scans, None)
    points = np.asarray(scans.points)
    for test, rows in ((False, range(6)), (True, range(6, 9))):
        faces = dataset.draw(jax.random.key(0), 100, test=test)
        assert set(np.asarray(faces.row).tolist()) == set(rows)
        np.testing.assert_array_equal(faces.points, points[faces.row])
    np.testing.assert_allclose(dataset.mean, points[:6].mean(0), atol=1e-6)
    with pytest.raises(ValueError, match="recorded"):
        dataset.draw(jax.random.key(0), 12, images=True)


def test_photographs_are_drawn_once_each_and_left_as_they_are(scans):
    x2d = np.asarray(scans.points)[..., :2] * 100
    photos = Recordings(jnp.asarray(x2d), scans.points, scans.names, [None] * 9, "ibug68", "mm")
    dataset = Dataset(dataclasses.replace(specs.load_spec("synthetic"), views=()), photos, None)
    faces = dataset.draw(jax.random.key(1), 50, test=True)
    assert sorted(np.asarray(faces.row).tolist()) == list(range(9))
    np.testing.assert_array_equal(faces.x2d, x2d[faces.row])
    assert faces.view is None
    with pytest.raises(ValueError, match="no mean face"):
        _ = dataset.mean
    with pytest.raises(ValueError, match="dataset synthetic: face 0: no photograph"):
        dataset.draw(jax.random.key(1), 50, images=True)


def test_shapes_without_views_are_refused():
    spec = dataclasses.replace(specs.load_spec("synthetic"), views=())
    with pytest.raises(ValueError, match=r"synthetic.*no \[\[views\]\]"):
        open_dataset(spec, "ibug68", None)
