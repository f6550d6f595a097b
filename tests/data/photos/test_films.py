"""Films that are written here and read again."""

import numpy as np
import pytest

from deepmds_jax.data.photos.films import check_format, open_film, read_frames, write_film

av = pytest.importorskip("av", reason="PyAV is not installed")

RATE = 30000 / 1001


def shades(number, height=48, width=64):
    """Pictures that tell each other apart, left darker than right."""
    for i in range(number):
        yield np.full((height, width, 3), 8 * i % 200, np.uint8) + np.linspace(
            0, 40, width).astype(np.uint8)[:, None]


def write(path, number=24, **size):
    with write_film(path, RATE) as add:
        for picture in shades(number, **size):
            add(picture)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_come_back_with_their_times(tmp_path, suffix):
    film = open_film(write(tmp_path / "new" / f"a{suffix}"))
    assert film.frame_rate == pytest.approx(RATE, rel=1e-4)
    assert abs(film.num_frames - 24) <= 1
    frames = list(read_frames(film))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(24) / RATE, atol=1e-3)
    for frame, picture in zip(frames, shades(24), strict=True):
        assert frame.pixels.dtype == np.uint8
        assert np.abs(frame.pixels.astype(int) - picture).mean() < 4
    assert not film.damage


def test_an_odd_row_and_column_are_cut_off(tmp_path):
    frames = read_frames(open_film(write(tmp_path / "a.mp4", 3, height=49, width=65)))
    assert [frame.pixels.shape for frame in frames] == 3 * [(48, 64, 3)]


def test_frames_are_upright_and_their_pixels_square(tmp_path):
    """As phones and old cameras write them."""
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write such films")
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        stream.set_display_rotation(90)  # counter-clockwise
        for picture in shades(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    for frame in read_frames(open_film(tmp_path / "a.mp4")):
        assert frame.pixels.shape == (128, 48, 3)
        assert frame.pixels[:9].mean() > frame.pixels[-9:].mean() + 20  # the right is now above


def test_a_film_that_is_cut_off_gives_what_it_has_and_says_so(tmp_path):
    content = write(tmp_path / "a.mkv", 120).read_bytes()
    (tmp_path / "b.mkv").write_bytes(content[: len(content) * 3 // 5])
    film = open_film(tmp_path / "b.mkv")
    assert 10 < len(list(read_frames(film))) < 110
    assert "it ends after" in film.damage and "of 4.0" in film.damage


def test_what_is_no_film_is_told_in_a_line(tmp_path):
    content = write(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "empty.mp4").touch()
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    for name, reason in (("cut.mp4", "no film, or damaged"), ("text.mp4", "no film, or damaged"),
                         ("empty.mp4", "no film, or damaged"), ("sound.mp4", "it has no pictures"),
                         ("none.mp4", "no such film"), ("0", "no such film")):
        with pytest.raises(ValueError, match=rf"^video: .*{reason}") as told:
            open_film(tmp_path / name)
        assert name in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(ValueError, match=r"a\.gif: unknown film format, expected \.mp4"):
        check_format("a.gif")


def test_an_interruption_leaves_nothing_half_written(tmp_path):
    path = write(tmp_path / "a.mp4", 3)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), write_film(path, 25) as add:
        add(next(shades(1)))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before
