"""Photographs as they are read from files: depths, transparency, EXIF, damage, folders."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from deepmds_jax.data.photos.reading import list_photographs, read_photograph

EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "examples"
RAMP = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (40, 1))  # (40, 50), darker on the left


@pytest.mark.parametrize(("name", "pixels"), [
    ("8.png", RAMP),
    ("16.png", RAMP.astype(np.uint16) * 257),
    ("16.tif", RAMP.astype(np.uint16) * 257),
    ("32.tif", RAMP.astype(np.int32) * 257),
    ("float.tif", RAMP / np.float32(255)),
    ("float255.tif", RAMP.astype(np.float32)),
    ("float65535.tif", RAMP.astype(np.float32) * 257),
    ("colour.png", np.dstack([RAMP] * 3)),
])
def test_every_depth_gives_the_same_photograph(tmp_path, name, pixels):
    Image.fromarray(pixels).save(tmp_path / name)
    read = read_photograph(tmp_path / name)
    assert (read.dtype, read.shape) == (np.uint8, (40, 50, 3))
    np.testing.assert_array_equal(read, np.dstack([RAMP] * 3))


def test_transparent_is_white(tmp_path):
    pixels = np.zeros((10, 10, 4), np.uint8)
    pixels[:, 5:] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    read = read_photograph(tmp_path / "a.png")
    assert (read[:, :5] == 255).all() and (read[:, 5:] == (10, 20, 30)).all()
    Image.fromarray(pixels[..., 2:]).save(tmp_path / "grey.png")
    assert (read_photograph(tmp_path / "grey.png")[:, :5] == 255).all()


def test_photograph_is_turned_as_its_exif_data_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the viewer turns it by 90 degrees clockwise
    for pixels in (RAMP, RAMP.astype(np.uint16) * 257):
        Image.fromarray(np.rot90(pixels)).save(tmp_path / "a.png", exif=exif)
        np.testing.assert_array_equal(read_photograph(tmp_path / "a.png")[..., 0], RAMP)


def test_what_cannot_be_read_is_named_in_one_line(tmp_path):
    (tmp_path / "cut.jpg").write_bytes((EXAMPLES / "collins.jpg").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tif")
    for name, reason in (("cut.jpg", "truncated"), ("text.png", "cannot identify"),
                         ("nan.tif", "not finite"), ("none.png", "No such file")):
        with pytest.raises(ValueError, match=rf"{name}: cannot be read: .*{reason}") as error:
            read_photograph(tmp_path / name)
        assert "\n" not in str(error.value)


def test_photographs_of_a_folder(tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.png", "a.json"):
        (tmp_path / name).touch()
    assert [path.name for path in list_photographs(tmp_path)] == ["a.png", "b.JPG"]
    (tmp_path / "frames").mkdir()
    for name in ("frame10.png", "frame2.png"):
        (tmp_path / "frames" / name).touch()
    assert [path.name for path in list_photographs(tmp_path / "frames")] == [
        "frame2.png", "frame10.png"]
    assert list_photographs(tmp_path / "a.json") == [tmp_path / "a.json"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no photographs"):
        list_photographs(tmp_path / "empty")
    with pytest.raises(ValueError, match="no such file or folder"):
        list_photographs(tmp_path / "none")
