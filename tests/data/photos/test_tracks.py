"""Faces followed through films, with a stand-in for the detector."""

import pathlib

import numpy as np
import pytest

from deepmds_jax.data.photos import tracks
from deepmds_jax.data.photos.detection import Detector
from deepmds_jax.data.photos.films import Film, Frame
from deepmds_jax.data.photos.tracks import Tracker, find_tracks


def face(x, y=50.0, size=40.0):
    """Landmarks of a face around a point."""
    grid = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
    return [x, y] + size / 2 * grid


def test_faces_that_move_keep_their_tracks():
    """Two go to the right and pass a third that stays, one above the other."""
    tracker = Tracker(patience=5)
    for frame in range(30):
        tracker.add(frame, [face(50 + 8 * frame), face(100 + 8 * frame), face(200, y=120)])
    assert [track.frames for track in tracker.tracks] == 3 * [list(range(30))]
    assert [track.x2d[-1][4].tolist() for track in tracker.tracks] == [
        [282, 50], [332, 50], [200, 120]]


def test_a_lost_face_goes_on_in_its_track_and_one_that_returns_late_does_not():
    tracker = Tracker(patience=4)
    for frame in range(30):
        there = [face(50)] * (frame % 10 < 6) + [face(200)] * (frame not in range(10, 15))
        tracker.add(frame, there)
    first, second, late = tracker.tracks
    assert first.frames == [frame for frame in range(30) if frame % 10 < 6]  # 4 lost, twice
    assert second.frames == list(range(10)) and late.frames == list(range(15, 30))  # 5 lost
    whole = first.filled()
    assert whole.shape == (26, 9, 2)
    np.testing.assert_array_equal(np.ptp(whole, axis=(1, 2)) > 0, np.isin(range(26), first.frames))
    np.testing.assert_array_equal(whole[12], face(50))


def test_the_nearest_of_two_overlapping_faces_is_taken():
    tracker = Tracker(patience=5)
    tracker.add(0, [face(50), face(70)])
    tracker.add(1, [face(56), face(76)])
    tracker.add(2, [face(76)])
    assert [track.frames for track in tracker.tracks] == [[0, 1], [0, 1, 2]]


def film_of(monkeypatch, *faces):
    """A film of the faces of each frame, and a detector that finds them; None fails."""
    film = Film(pathlib.Path("clip.mp4"), 25.0, len(faces))
    monkeypatch.setattr(tracks, "read_frames", lambda film: (
        Frame(i / 25, np.array([[[i]]])) for i in range(len(faces))))

    def detect(pixels):
        found = faces[pixels.item()]
        if found is None:
            raise ValueError("failed")
        return found

    return film, Detector("stand-in", detect, lambda found, topology: found, "")


def test_faces_of_a_film_are_found_and_short_ones_told(monkeypatch):
    faces = [[face(50)] + [face(200)] * (i in (7, 8)) for i in range(20)]
    faces[3] = None
    film, detector = film_of(monkeypatch, *faces)
    film.damage = "it ends after 1.00 of 2.00 s"
    (track,), seconds, told = find_tracks(film, detector, "flame51")
    assert track.frames == [i for i in range(20) if i != 3]
    np.testing.assert_allclose(seconds, np.arange(20) / 25)
    assert told == ["clip.mp4: it ends after 1.00 of 2.00 s",
                    "clip.mp4: stand-in failed in 1 frames",
                    "clip.mp4: a face seen in 2 frames only, at 0.28 s"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_film_of_a_moment_or_without_faces(monkeypatch, number):
    film, detector = film_of(monkeypatch, number * [face(50)], [])
    found, seconds, told = find_tracks(film, detector, "flame51")
    assert len(found) == number and len(seconds) == 2 and not told
