"""bin/reconstruct on landmarks as trackers and detectors write them, with true answers."""

import json

import numpy as np
import pytest
from PIL import Image

import deepmds_jax as dm
from deepmds_jax import faces_by_name
from deepmds_jax.data.formats.faces import make_face
from deepmds_jax.data.sources import synthetic
from deepmds_jax.geometry import project, rotation_from_angles

N = 51
FPS = 25


@pytest.fixture(scope="module")
def weights(untrained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    dm.save_params(path, untrained, {})
    return path


@pytest.fixture(scope="module")
def turned():
    """(24, N, 2) landmarks of yaws -20 to 20 degrees, in pixels."""
    faces = np.tile(synthetic.load("flame51").mean, (24, 1, 1))
    angles = rotation_from_angles(np.linspace(-20, 20, 24), 0, 0)
    return np.array(project(faces, angles, np.zeros(24)), np.float64) + 300


def openface(path, frames):
    header = ["frame", "face_id", "timestamp", "confidence", "success",
              *[f"x_{i}" for i in range(N)], *[f"y_{i}" for i in range(N)]]
    rows = [[*first, *points.T.ravel()] for *first, points in frames]
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]))


def test_two_tracks_with_lost_frames_and_a_gap(weights, turned, tmp_path, succeed):
    """Cases 1 to 3: each face has its own yaw, nothing of lost frames, and its true times."""
    numbers = [*range(1, 13), *range(29, 41)]
    frames = [(n, who, (n - 1) / FPS, 0.98, 1, turned[i] if who else turned[-1 - i])
              for i, n in enumerate(numbers) for who in (0, 1)]
    for lost in (10, 12):  # of the face 0: frames 6 and 7 with numbers of nothing
        frames[lost] = (*frames[lost][:3], 0.03, 0, turned[0] * [-1, 1])
    openface(tmp_path / "v.csv", frames)
    text = succeed("reconstruct", "v.csv", f"--fps={FPS}", f"--weights={weights}",
                   "--out=v.npz", "--picture=v.png")
    assert "48 frames of 2 faces, each smoothed by itself, 2 without a face" in text
    assert "the picture shows v face 0, one of 2 faces" in text
    found = np.load(tmp_path / "v.npz")
    yaw = np.linspace(-20, 20, 24)
    for who, expected in (("v face 0", -yaw), ("v face 1", yaw)):
        own = np.char.startswith(found["names"], who)
        assert own.sum() == 24
        np.testing.assert_allclose(found["yaw"][own], expected, atol=6)
        np.testing.assert_allclose(found["seconds"][own], (np.array(numbers) - 1) / FPS)
        np.testing.assert_array_equal(found["frame"][own], numbers)
        lost = ~found["converged"][own]
        assert list(np.flatnonzero(lost)) == ([5, 6] if who.endswith("0") else [])
    assert not found["visible"][~found["converged"]].any()


def test_hidden_landmarks_of_stills(weights, turned, tmp_path, call):
    """Cases 4 and 11: marks, NaN and null change the pose little, and are counted."""
    frontal = turned[12]
    marked, missing = frontal.copy(), frontal.copy()
    marked[25:31] = -1
    missing[[3, 40]] = np.nan
    faces = {"whole": frontal, "marked": marked, "missing": missing,
             "nothing": np.full_like(frontal, np.nan)}
    text = json.dumps({name: points.tolist() for name, points in faces.items()})
    (tmp_path / "faces.json").write_text(text.replace("NaN", "null"))
    done = call("reconstruct", "faces.json", f"--weights={weights}", "--out=o.npz,o.json",
                "--picture=o.png")
    assert "6 landmarks at (0, 0), (-1, -1) or negative places taken as hidden" in done.stderr
    assert "nothing: 0 of 51 landmarks are visible, expected at least 6" in done.stderr
    assert "hidden" in done.stdout.splitlines()[0]
    found = np.load(tmp_path / "o.npz")
    assert list(found["names"]) == ["whole", "marked", "missing"]
    assert list((~found["visible"]).sum(1)) == [0, 6, 2]
    for angle in ("yaw", "pitch", "roll"):
        np.testing.assert_allclose(found[angle], found[angle][0], atol=6)
    off = np.abs(found["image_points"][..., :2] - frontal).mean((1, 2))
    assert (off < 6).all()  # mm; the eyes are 90 apart
    written = json.loads((tmp_path / "o.json").read_text())["faces"]["missing"]
    assert written["x2d"][3] == [None, None] and written["visible"][3] is False
    # What was written is read again, hidden landmarks included.
    for file in ("o.json", "o.npz"):
        again = call("reconstruct", file, f"--weights={weights}", "--out=again.npz")
        assert again.status == 0, again.stderr
        second = np.load(tmp_path / "again.npz")
        np.testing.assert_array_equal(second["visible"], found["visible"])
        np.testing.assert_allclose(second["yaw"], found["yaw"], atol=1e-3)


def test_parts_of_the_picture_by_flag_and_by_photograph(weights, turned, tmp_path, call, succeed):
    """Case 6: the same shape as from pixels."""
    width, height = 1920, 1080
    np.save(tmp_path / "pixels.npy", turned[20])
    np.save(tmp_path / "parts.npy", turned[20] / [width, height])
    Image.new("RGB", (width, height)).save(tmp_path / "parts.jpg")
    arguments = f"--weights={weights}", "--out=o.npz"
    done = call("reconstruct", "parts.npy", *arguments)
    assert "all landmarks lie within [0, 1]" in done.stderr and "--image_size" in done.stderr
    succeed("reconstruct", "pixels.npy", *arguments)
    expected = np.load(tmp_path / "o.npz")
    for flag in (f"--image_size={width},{height}", "--image=parts.jpg"):
        succeed("reconstruct", "parts.npy", flag, *arguments)
        found = np.load(tmp_path / "o.npz")
        np.testing.assert_allclose(found["points"], expected["points"], atol=1e-3)
        np.testing.assert_allclose(found["x2d"], expected["x2d"])


def test_landmarks_that_we_wrote_are_read_by_their_number(weights, turned, tmp_path, succeed):
    """Case 9: the column `landmark` counts, not the order of the rows."""
    lines = [f"a,{i},{x},{y}" for i, (x, y) in enumerate(turned[4])]
    (tmp_path / "a.csv").write_text("\n".join(["face,landmark,x,y", *lines[::-1]]))
    succeed("reconstruct", "a.csv", f"--weights={weights}", "--out=o.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "o.npz")["x2d"][0], turned[4])


def test_frames_without_times_that_are_left_out_are_refused(weights, turned, tmp_path, refuse):
    rows = [list(turned[0].ravel()), ["x"], list(turned[1].ravel())]
    (tmp_path / "v.csv").write_text("\n".join(",".join(map(str, row)) for row in [
        [f"{a}{i}" for i in range(N) for a in "xy"], *rows]))
    errors = refuse("reconstruct", "v.csv", "--fps=25", f"--weights={weights}")
    assert "fps: every frame is needed: v.csv: line 3: 1 cells, expected 102" in errors


def openpose(path, people):
    keypoints = [np.column_stack([points, np.full(N, 0.9)]).ravel().tolist() for points in people]
    path.write_text(json.dumps({"people": [{"face_keypoints_2d": each} for each in keypoints]}))


def test_faces_of_one_picture_are_no_frames(weights, turned, tmp_path, refuse, succeed):
    """A file for each frame, as OpenPose writes them, with two people in each."""
    for i in range(3):
        openpose(tmp_path / f"clip_{i:03}_keypoints.json", [turned[i], turned[-1 - i] + 90])
    arguments = ("reconstruct", *[f"clip_{i:03}_keypoints.json" for i in range(3)],
                 f"--weights={weights}")
    assert ("fps: two frames of one face at 0 s with 25 frames per second in clip_000_keypoints: "
            "clip_000_keypoints#0") in refuse(*arguments, "--fps=25")
    assert "6 faces" in succeed(*arguments)  # stills
    assert set(np.load(tmp_path / "out/faces.npz")["names"][:2]) == {
        "clip_000_keypoints#0", "clip_000_keypoints#1"}


def test_frames_that_are_missing_among_files_are_told(weights, turned, tmp_path, call):
    for i in (8, 9, 10, 14):
        openpose(tmp_path / f"clip_{i}.json", turned[i : i + 1])
    names = [f"clip_{i}.json" for i in (8, 9, 10, 14)]
    done = call("reconstruct", *names, "--fps=25", f"--weights={weights}")
    assert done.status == 0 and done.stderr == (
        "warning: frames without times are taken one after the other, but clip_14 follows clip_10; "
        "columns frame or timestamp would tell the gap\n")
    assert not call("reconstruct", *names[:3], "--fps=25", f"--weights={weights}").stderr
    thirds = {"ms_000": 0, "ms_033": 1, "ms_067": 2, "ms_100": 3}  # of a tenth of a second
    assert faces_by_name.jumps({name: make_face(turned[i]) for name, i in thirds.items()}) == []


def test_films_of_no_landmarks_say_why(tmp_path, weights, refuse):
    np.save(tmp_path / "v.npy", np.zeros((3, 2, N, 2)))
    assert "v.npy: 'v' has shape (3, 2, 51, 2), expected (N, 2)" in refuse(
        "reconstruct", "v.npy", "--fps=25", f"--weights={weights}")


@pytest.mark.parametrize(("times", "message"), [
    ([1, 1, 2], "fps: two frames of one face at 0 s with 25 frames per second"),
    ([0, 4000, 8000], "fps: the times of frames are 160 apart, expected seconds"),
])
def test_times_that_do_not_fit(weights, turned, tmp_path, refuse, times, message):
    openface(tmp_path / "v.csv", [
        (n, 0, (n / FPS), 1, 1, turned[i]) for i, n in enumerate(times)])
    text = (tmp_path / "v.csv").read_text().replace("timestamp", "unused")
    (tmp_path / "v.csv").write_text(text)
    assert message in refuse("reconstruct", "v.csv", f"--fps={FPS}", f"--weights={weights}")


@pytest.mark.parametrize(("arguments", "message"), [
    (("a.json", "--out=a.json"), "out: a.json would replace a.json, expected another file"),
    (("sub/../a.json", "--out=b.npz,a.json"), "out: a.json would replace sub/../a.json"),
    (("a.json", "--out=b.npz,b.npz"), "out: b.npz would replace --out=b.npz"),
    (("a.json", "--image=a.png", "--out=a.npz"), "picture: a.png would replace a.png"),
    (("a.json", "--out="), "out: expected one or more files, got none"),
    (("a.json", "--out=b.npz,"), "out: expected one or more files, got none"),
    (("a.png",), "a.png: expected landmark files here, photographs by --image=FILE"),
    (("photographs",), "photographs: expected landmark files here, photographs by --image=FILE"),
    (("a.json", "clip.MP4"), "clip.MP4: expected landmark files here, films by --video=FILE"),
    (("a.json", "--image_size=640"), "image_size: expected WIDTH,HEIGHT in pixels, got 640"),
    (("a.json", "--image_size=0,x"), "image_size: expected WIDTH,HEIGHT in pixels, got 0,x"),
])
def test_files_that_are_no_landmarks_and_outputs_that_are_inputs(
    turned, tmp_path, refuse, arguments, message
):
    """Cases 10 and 13: refused before anything is done."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.json").write_text(json.dumps(turned[0].tolist()))
    (tmp_path / "photographs").mkdir()
    for photograph in ("a.png", "photographs/a.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / photograph)
    assert message in refuse("reconstruct", *arguments)


def test_adapt_does_not_replace_its_input(tmp_path, refuse, weights):
    (tmp_path / "a.json").write_text("[]")
    message = refuse("adapt", "a.json", f"--weights={weights}", f"--out={weights}")
    assert f"out: {weights} would replace {weights}, expected another file" in message
