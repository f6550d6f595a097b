"""bin/reconstruct --video, with a stand-in for the detector, and with MediaPipe itself."""

import contextlib
import pathlib

import numpy as np
import pytest
from PIL import Image

import deepmds_jax as dm
from deepmds_jax.cli import reconstruct
from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.data.photos.detection import Detector
from deepmds_jax.data.photos.films import open_film, read_frames, write_film
from deepmds_jax.evaluation import reconstructed_films
from deepmds_jax.geometry import project, rotation_from_angles

pytest.importorskip("av", reason="PyAV is not installed")

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
FRAMES = 30  # lifted in batches of 32, in one program
SECONDS = np.arange(FRAMES) / 25
ANGLES = {"yaw": 25 * np.sin(2 * np.pi * SECONDS / 2), "pitch": 8 * np.cos(2 * np.pi * SECONDS / 3),
          "roll": 15 * np.sin(2 * np.pi * SECONDS / 2.4)}


def number_of(pixels):
    """The number that `numbered` has painted."""
    bits = pixels[8:16, : 8 * 16].reshape(8, 8, 16, 3).mean(axis=(0, 2, 3)) > 128
    return int(np.packbits(bits).item())


def numbered(number):
    """A picture with its number as eight black or white squares, which survive any codec."""
    picture = np.full((240, 320, 3), 128, np.uint8)
    bits = np.unpackbits(np.uint8(number))
    picture[:24, : 8 * 16] = 255 * np.repeat(bits, 16)[:, None]
    return picture


@pytest.fixture(scope="module")
def turning():
    """(F, 51, 2) landmarks of the mean face as it turns, 60 pixels to a size of the face."""
    mean = np.asarray(dm.load_pretrained("flame51").reference)
    rotation = rotation_from_angles(*(ANGLES[key] for key in ("yaw", "pitch", "roll")))
    x2d = project(np.tile(mean, (FRAMES, 1, 1)), rotation, np.zeros(FRAMES))
    return 60 * np.asarray(x2d, np.float64)


@pytest.fixture
def clip(tmp_path, monkeypatch, turning):
    """A film, and a detector that knows what is in it.

    One face all the time, but lost from frame 10 to 12; another, turned the other way, from 8 on.
    """
    with write_film(tmp_path / "clip.mp4", 25) as add:
        for i in range(FRAMES):
            add(numbered(i))

    def detect(pixels):
        number = number_of(pixels)
        faces = [turning[number] + [90, 120]] * (number not in (10, 11, 12))
        faces += [turning[FRAMES - 1 - number] + [230, 120]] * (number >= 8)
        return np.array(faces).reshape(-1, 51, 2)

    monkeypatch.setattr(reconstruct, "open_detector", lambda model: contextlib.nullcontext(
        Detector("stand-in", detect, lambda face, topology: face, "")))
    return tmp_path / "clip.mp4"


def test_faces_of_a_film_are_followed_and_their_angles_come_back(clip, tmp_path, call):
    done = call("reconstruct", f"--video={clip}", "--out=o/f.npz,o/f.mp4", "--picture=o/f.png")
    assert done.status == 0, done.stderr
    assert ("30 frames at 25 per second; faces followed: 2, over 52 frames in all, lost in 3 of "
            "them") in done.stdout
    assert "clip#0@0 " in done.stdout and "clip#1@29" in done.stdout
    found = np.load(tmp_path / "o/f.npz")
    np.testing.assert_array_equal(found["person"], 30 * [0] + 22 * [1])
    np.testing.assert_array_equal(found["frame"], [*range(30), *range(8, 30)])
    assert list(found["names"][[0, 51]]) == ["clip#0@0", "clip#1@29"]
    np.testing.assert_allclose(found["seconds"], found["frame"] / 25, atol=1e-3)
    lost = (found["person"] == 0) & np.isin(found["frame"], (10, 11, 12))
    np.testing.assert_array_equal(found["converged"], ~lost)
    shown = np.where(found["person"] == 0, found["frame"], FRAMES - 1 - found["frame"])
    for key, truth in ANGLES.items():
        assert np.abs(found[key] - truth[shown]).max() < 3, key  # also where the face was lost

    film = open_film(tmp_path / "o/f.mp4")
    frames = list(read_frames(film))
    assert film.frame_rate == 25 and len(frames) == FRAMES
    assert frames[0].pixels.shape[1] > frames[0].pixels.shape[0] * 320 / 240 + 100
    with Image.open(tmp_path / "o/f.png") as picture:
        assert picture.size[1] > 1500


def test_a_stopped_film_leaves_nothing_behind(clip, tmp_path, call, monkeypatch):
    (tmp_path / "f.mp4").write_bytes(b"before")
    before = sorted(tmp_path.iterdir())
    frames = iter(range(5))

    def annotate(pixels, *_):
        if next(frames) == 4:
            raise KeyboardInterrupt
        return pixels

    monkeypatch.setattr(reconstructed_films, "annotate", annotate)
    done = call("reconstruct", f"--video={clip}", "--out=f.mp4")
    assert done.status == 130 and "interrupted" in done.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "f.mp4").read_bytes() == b"before"


def test_bad_films_and_flags_are_told_in_a_line(clip, tmp_path, refuse, monkeypatch):
    (tmp_path / "text.mp4").write_text("no film")
    for arguments, message in (
        (["--video=none.mp4"], "video: no such film: none.mp4"),
        (["--video=0"], "video: no such film: 0"),
        (["--video=text.mp4"], "text.mp4: no film, or damaged"),
        (["--video=clip.mp4", "--out=clip.mp4"], "out: clip.mp4 would replace clip.mp4"),
        (["--video=clip.mp4", "--out=text.mp4/f.npz"], "out: cannot write to text.mp4"),
        (["--video=clip.mp4", "--out=f.gif"], "f.gif: unknown shape format"),
        (["--video=clip.mp4", "--fps=25"], "video: a film needs no landmark files"),
        (["--video=clip.mp4", "--weights=bfm72_none"], "bfm72_none"),
        (["--image=x.png", "--out=f.mp4"], "out: films are written of films, give --video=FILM"),
    ):
        assert message in refuse("reconstruct", *arguments)
    nobody = Detector("stand-in", lambda pixels: np.empty((0, 51, 2)), lambda face, _: face, "")
    monkeypatch.setattr(
        reconstruct, "open_detector", lambda model: contextlib.nullcontext(nobody))
    assert "video: clip.mp4: no face in 30 frames" in refuse("reconstruct", "--video=clip.mp4")


def test_a_photograph_turned_in_the_plane_with_mediapipe_itself(tmp_path, shared, succeed):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    model = shared / "data/face_landmarker/face_landmarker.task"
    if not model.is_file():
        pytest.skip(f"no {model}")
    photograph = Image.open(EXAMPLES / "hopper.jpg")
    with write_film(tmp_path / "clip.mp4", 25) as add:
        for degrees in ANGLES["roll"]:
            add(np.asarray(photograph.rotate(-degrees, Image.Resampling.BICUBIC)))
    succeed("reconstruct", "--video=clip.mp4", f"--face_model={model}", "--out=f.npz,f.mkv")
    found = np.load(tmp_path / "f.npz")
    assert found["converged"].all() and list(found["names"][:2]) == ["clip@0", "clip@1"]
    across = np.diff(read_landmarks(EXAMPLES / "hopper.json")["hopper"].points[[36, 45]], axis=0)[0]
    own = np.rad2deg(np.arctan2(across[1], across[0]))  # of the eyes placed by hand
    assert np.abs(found["roll"] - ANGLES["roll"] - own).max() < 3
    for key in ("yaw", "pitch"):  # of the photograph itself they are not known
        assert np.ptp(found[key]) < 3
