"""A small Basel Face Model, coefficients and landmarks as the tools write them."""

import logging

import numpy as np
import pytest
import scipy.io
from PIL import Image

from deepmds_jax.data.sources import bfm, celeba

NUM_MODES = 199
FACES = ("000001", "000002", "000003")


def five_of(landmarks):
    """CelebA's points, from iBUG's numbers: eye centres, nose tip, mouth corners; 68 points."""
    eyes = [landmarks[[36, 39]].mean(0), landmarks[[42, 45]].mean(0)]
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])


def write_list(folder, rows, count=None):
    """list_landmarks_align_celeba.txt as CelebA has it."""
    header = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y"
    lines = [str(count or len(rows)), f"{header} rightmouth_x rightmouth_y"]
    for name, five in rows.items():
        numbers = "  ".join(f"{round(x):3d}" for x in five.ravel())
        lines.append(f"{name}.jpg {numbers}")
    (folder / "list_landmarks_align_celeba.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=NUM_MODES) for name in FACES}


@pytest.fixture
def landmarks(points=68):
    rng = np.random.default_rng(1)
    return {name: rng.uniform(20, 160, (points, 2)) for name in FACES}


@pytest.fixture
def folder(tmp_path, monkeypatch, truth, landmarks):
    rng = np.random.default_rng(2)
    num_vertices = 300
    monkeypatch.setattr(bfm, "NUM_VERTICES", num_vertices)
    for sub in ("bfm", "coefficients", "landmarks", "images"):
        (tmp_path / sub).mkdir()
    scipy.io.savemat(tmp_path / "bfm" / "01_MorphableModel.mat", {
        "shapeMU": rng.normal(size=(3 * num_vertices, 1)).astype(np.float32) * 1e5,
        "shapePC": rng.normal(size=(3 * num_vertices, NUM_MODES)).astype(np.float32),
        "shapeEV": rng.uniform(100, 2000, (NUM_MODES, 1)).astype(np.float32),
    })
    for count, name, field in ((72, "landmarks_me_72.mat", "landmarks"),
                               (68, "landmarks_68.mat", "landmarks_68")):
        vertices = rng.permutation(num_vertices)[None, :count] + 1
        scipy.io.savemat(tmp_path / "bfm" / name, {field: vertices.astype(np.uint16)})
    np.save(tmp_path / "coefficients" / "000001.npy", truth["000001"])
    np.savez(tmp_path / "coefficients" / "000002.npz", alpha=truth["000002"][None], pose=np.eye(3))
    scipy.io.savemat(tmp_path / "coefficients" / "000003.mat", {"alpha": truth["000003"][:, None]})
    for name in FACES:
        np.save(tmp_path / "landmarks" / f"{name}.npy", landmarks[name])
        pixels = rng.integers(0, 255, (218, 178, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.jpg")
    return tmp_path


def shape_of(folder, coefficients, topology="ibug68"):
    """mean + sum of coefficients times modes, from the file, mm, our frame."""
    content = scipy.io.loadmat(folder / "bfm" / "01_MorphableModel.mat")
    name, field = {
        "bfm72": ("landmarks_me_72.mat", "landmarks"),
        "ibug68": ("landmarks_68.mat", "landmarks_68"),
    }[topology]
    vertices = scipy.io.loadmat(folder / "bfm" / name)[field].ravel().astype(int) - 1
    modes = content["shapePC"].astype(float) * content["shapeEV"].ravel()
    shape = content["shapeMU"].ravel() + modes[:, : len(coefficients)] @ coefficients
    return shape.reshape(-1, 3)[vertices] * [1e-3, -1e-3, -1e-3]


def test_truth_is_the_fitted_face_and_image_points_those_of_the_file(folder, truth, landmarks):
    faces = celeba.load("ibug68", folder)
    assert faces.names == FACES
    assert faces.images == tuple(folder / "images" / f"{name}.jpg" for name in FACES)
    expected = [shape_of(folder, truth[name]) for name in FACES]
    np.testing.assert_allclose(faces.points, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(faces.x2d, [landmarks[name] for name in FACES], rtol=1e-6)
    assert (faces.topology, faces.unit) == ("ibug68", "mm")


def test_the_inner_51_of_68(folder, truth, landmarks):
    faces = celeba.load("flame51", folder)
    np.testing.assert_allclose(np.asarray(faces.x2d)[1], landmarks["000002"][17:], rtol=1e-6)
    expected = shape_of(folder, truth["000002"])[17:]
    np.testing.assert_allclose(np.asarray(faces.points)[1], expected, rtol=1e-4, atol=1e-3)


def test_the_papers_72(folder, truth):
    rng = np.random.default_rng(3)
    for name in FACES:
        np.save(folder / "landmarks" / f"{name}.npy", rng.uniform(20, 160, (72, 2)))
    faces = celeba.load("bfm72", folder)
    expected = shape_of(folder, truth["000003"], "bfm72")
    np.testing.assert_allclose(np.asarray(faces.points)[2], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("field", "length"), [("id", 80), ("coeff", 257)])
def test_what_deep3dfacerecon_writes(folder, field, length):
    numbers = np.random.default_rng(4).normal(size=(1, length)).astype(np.float32)
    scipy.io.savemat(folder / "coefficients" / "000003.mat", {
        field: numbers, "exp": np.ones((1, 64)), "angle": np.ones((1, 3)),
    })
    faces = celeba.load("ibug68", folder)
    expected = shape_of(folder, numbers[0, :80])
    np.testing.assert_allclose(np.asarray(faces.points)[2], expected, rtol=1e-4, atol=1e-3)


def test_landmarks_of_another_face_are_recognised_by_celebas_five_points(folder, landmarks, caplog):
    rows = {name: five_of(landmarks[name]) for name in FACES}
    write_list(folder, rows)
    assert celeba.load("ibug68", folder).names == FACES
    assert celeba.load("flame51", folder).names == FACES
    rows["000002"] = rows["000002"] + 0.8 * np.linalg.norm(rows["000002"][0] - rows["000002"][1])
    write_list(folder, rows)
    with caplog.at_level(logging.WARNING, "absl"):
        assert celeba.load("ibug68", folder).names == ("000001", "000003")
    assert "000002.npy" in caplog.records[0].getMessage()
    assert "another face?" in caplog.records[0].getMessage()


def cut(path, keep=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def save(path, array):
    path.unlink(missing_ok=True)
    np.save(path, array)


DAMAGE = {
    "coefficients cut off": (
        lambda d: cut(d / "coefficients" / "000002.npz"), "000002.npz: expected a file of numbers"),
    "too many coefficients": (
        lambda d: np.savez(d / "coefficients" / "000002.npz", alpha=np.ones(228)),
        "expected 1 to 199 finite coefficients, got 228"),
    "a coefficient that is not finite": (
        lambda d: np.savez(d / "coefficients" / "000002.npz", alpha=np.full(199, np.nan)),
        "got 199, 199 not finite"),
    "other fields": (
        lambda d: np.savez(d / "coefficients" / "000002.npz", tex=np.ones(199)),
        "expected one of the fields ['alpha', 'id', 'coeff']"),
    "objects, which are pickled": (
        lambda d: np.savez(d / "coefficients" / "000002.npz", alpha=np.array([{}], object)),
        "000002.npz: expected a file of numbers"),
    "no landmarks": (
        lambda d: (d / "landmarks" / "000002.npy").unlink(), "000002.* (no face detected?)"),
    "five landmarks": (
        lambda d: save(d / "landmarks" / "000002.npy", np.full((5, 2), 9)),
        "expected one face of 68 landmarks, got [5]"),
    "two faces": (
        lambda d: save(d / "landmarks" / "000002.npy", np.full((2, 68, 2), 9)),
        "expected one face of 68 landmarks, got [68, 68]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_face_is_left_out_with_a_warning(damage, folder, caplog):
    make, reason = DAMAGE[damage]
    make(folder)
    with caplog.at_level(logging.WARNING, "absl"):
        assert celeba.load("ibug68", folder).names == ("000001", "000003")
    first, last = (record.getMessage() for record in caplog.records)
    assert reason in first
    assert "left out 1 of 3 faces: 000002" in last


def test_check_names_every_problem(folder):
    (folder / "bfm" / "landmarks_me_72.mat").unlink()
    assert celeba.check(folder) == []  # the landmark files have 68 points
    cut(folder / "images" / "000001.jpg")
    cut(folder / "coefficients" / "000002.npz")
    (folder / "images" / "000003.jpg").unlink()
    (folder / "bfm" / "landmarks_68.mat").unlink()
    model, *others = celeba.check(folder)
    assert "landmarks_68.mat" in model
    for line, part in zip(others, (
        "000001.jpg: not a whole picture", "000002.npz: expected", f"no {folder}",
    ), strict=True):
        assert part in line


def test_damaged_lists_and_missing_folders_are_named(folder, landmarks):
    write_list(folder, {name: five_of(landmarks[name]) for name in FACES}, count=202599)
    with pytest.raises(ValueError, match="3 rows where the first line says 202599"):
        celeba.load("ibug68", folder)
    (folder / "list_landmarks_celeba.txt").write_text("")
    with pytest.raises(ValueError, match=r"expected the one list_landmarks_\*\.txt"):
        celeba.load("ibug68", folder)
    for path in (folder / "coefficients").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="coefficients"):
        celeba.load("ibug68", folder)


def test_five_points_of_real_landmarks_lie_in_anatomical_order(shared):
    for path in sorted((shared / "data" / "celeba_hq_samples").glob("*_lmks.npy")):
        right_eye, left_eye, nose, right_corner, left_corner = celeba._five_of(
            np.load(path), "flame51")
        # The subject's right is on the image's left.
        assert right_eye[0] < nose[0] < left_eye[0]
        assert right_corner[0] < left_corner[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_corner[1], left_corner[1])


def test_other_topology_raises(folder):
    with pytest.raises(ValueError, match="'mediapipe468'"):
        celeba.load("mediapipe468", folder)
