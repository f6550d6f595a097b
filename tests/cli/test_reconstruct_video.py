"""bin/reconstruct --fps."""


import numpy as np
import pytest
from PIL import Image

import deepmds_jax as dm
from deepmds_jax.data.sources import synthetic
from deepmds_jax.geometry import project, rotation_from_angles

FRAMES = 40  # as in test_trackers: what is compiled serves both


@pytest.fixture(scope="module")
def weights(untrained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    dm.save_params(path, untrained, {})
    return path


def test_frames_of_a_file_are_lifted_in_time(weights, tmp_path, succeed):
    yaw = np.linspace(-20, 20, FRAMES)
    faces = np.tile(synthetic.load("flame51").mean, (FRAMES, 1, 1))
    x2d = np.array(project(faces, rotation_from_angles(yaw, 0, 0), np.zeros(FRAMES))) + 300
    x2d[5] = 0
    np.save(tmp_path / "v.npy", x2d)
    text = succeed("reconstruct", "v.npy", "--fps=10", f"--weights={weights}", "--out=v.npz",
                   "--picture=v.png")
    assert "40 frames of one face, 1 without a face" in text
    found = np.load(tmp_path / "v.npz")
    np.testing.assert_allclose(found["seconds"], np.arange(FRAMES) / 10)
    np.testing.assert_array_equal(found["frame"], np.arange(FRAMES))
    np.testing.assert_allclose(found["yaw"], yaw, atol=6)
    np.testing.assert_array_equal(found["converged"], np.arange(FRAMES) != 5)
    off = np.abs(found["image_points"][..., :2] - x2d).mean((1, 2))
    assert (np.delete(off, 5) < 6).all()  # mm; the eyes are 90 apart
    with Image.open(tmp_path / "v.png") as picture:
        assert picture.size[1] > 1500


def test_frames_that_are_no_face_are_told(weights, tmp_path, call, refuse):
    x2d = np.array(project(np.tile(synthetic.load("flame51").mean, (FRAMES, 1, 1)), np.eye(3),
                           np.zeros(FRAMES)))
    mirrored = x2d * [-1, 1]
    np.save(tmp_path / "v.npy", mirrored)
    message = refuse("reconstruct", "v.npy", "--fps=10", f"--weights={weights}")
    assert message.startswith("error: fps: no frame shows a face; v#0: these are not the landmarks")
    assert message.endswith("mirrored? (the first of 40 such frames)\n")
    np.save(tmp_path / "v.npy", np.concatenate([x2d[:-4], mirrored[-4:]]))
    done = call("reconstruct", "v.npy", "--fps=10", f"--weights={weights}")
    assert done.status == 0 and "4 without a face" in done.stdout
    assert done.stderr.startswith("v#36: these are not the landmarks of a face")
    assert done.stderr.endswith("mirrored? (the first of 4 such frames)\n")


def test_bad_video_is_told_in_a_line(weights, tmp_path, refuse):
    np.save(tmp_path / "v.npy", np.zeros((FRAMES, 51, 2)))
    np.save(tmp_path / "short.npy", np.zeros((2, 7, 2)))
    for arguments, message in (
        (["v.npy", "--fps=0"], "fps: expected a number above 0"),
        (["--fps=25"], "and landmark files, got 25 and 0 files"),
        (["v.npy", "short.npy", "--fps=25"], "fps: every frame is needed: short#0: 7 landmarks"),
        (["v.npy", "--fps=25"], "fps: no frame shows a face"),
    ):
        assert message in refuse("reconstruct", *arguments, f"--weights={weights}", "--out=v.npz")
