import numpy as np
import pytest
from PIL import Image

from deepmds_jax.data.photos.cut_out import cut_out


@pytest.fixture
def photographs(tmp_path):
    """Red to the left of column 20, green from there on; blue in the last 10 of 40 rows."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :20, 0], pixels[:, 20:, 1], pixels[30:, :, 2] = 255, 255, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return [tmp_path / "a.png"] * 2


def test_a_square_around_the_landmarks_is_cut_out_and_black_beyond_the_photograph(photographs):
    x2d = np.zeros((2, 3, 2), np.float32)
    x2d[0] = [[11.5, 15], [27.5, 15], [20, 20]]  # 16 wide, about column 19.5: 24 are shown
    x2d[1] = [[-8.5, 15], [7.5, 15], [0, 20]]  # about the left edge
    first, second = cut_out(photographs, x2d)
    assert first.shape == (96, 96, 3)
    np.testing.assert_allclose(first[48, [10, 40, 56, 86]], [[1, 0, 0]] * 2 + [[0, 1, 0]] * 2,
                               atol=1e-6)
    np.testing.assert_allclose(second[48, [10, 40, 56, 86]], [[0, 0, 0]] * 2 + [[1, 0, 0]] * 2,
                               atol=1e-6)
    assert first[-1, 0, 2] == first[0, 0, 2] == 0  # rows 5.5 to 29.5


def test_a_face_without_a_photograph_is_named(photographs):
    with pytest.raises(ValueError, match="face 1: no photograph"):
        cut_out([photographs[0], None], np.random.default_rng(0).uniform(5, 30, (2, 3, 2)))
