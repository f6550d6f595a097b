"""Files of dissimilarities, and of coordinates."""

import numpy as np
import pytest

from deepmds_jax.data.formats.dissimilarity_files import (
    check_dissimilarities,
    check_symmetric,
    check_triangles,
    read_matrix,
    write_coordinates,
)
from deepmds_jax.data.formats.square_tables import LabelledMatrix

PAIRS = np.array([1.0, 2, 3, 4, 5, 6])
MATRIX = np.array([[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0.0]])


@pytest.mark.parametrize("array", [MATRIX, PAIRS, MATRIX.astype(int), PAIRS.astype(np.float32)])
def test_arrays(tmp_path, array):
    np.save(tmp_path / "m.npy", array)
    np.savez(tmp_path / "m.npz", labels=list("wxyz"), anything=array)
    for name, labels in (("m.npy", list("1234")), ("m.npz", list("wxyz"))):
        found = read_matrix(tmp_path / name)
        assert found.labels == labels
        assert found.values.dtype == np.float64
        np.testing.assert_array_equal(found.values, MATRIX)


def test_texts_in_other_encodings(tmp_path):
    (tmp_path / "m.txt").write_text("ä b\n0 1\n1 0\n", encoding="utf-16")
    assert read_matrix(tmp_path / "m.txt").labels == ["ä", "b"]


@pytest.mark.parametrize("name", ["m.phy", "m.dist"])
def test_texts_of_phylip_and_mothur(tmp_path, name):
    (tmp_path / name).write_text("3\nA\t0\nB\t1\t0\nC\t2\t4\t0\n")
    found = read_matrix(tmp_path / name)
    assert found.labels == ["A", "B", "C"]
    np.testing.assert_array_equal(found.values, MATRIX[:3, :3])


@pytest.mark.parametrize(("name", "content", "message"), [
    ("m.xlsx", b"", "m.xlsx: unknown format, expected .csv"),
    ("m.csv", b"0,1\n1,x\n", "m.csv: line 2, column 2: 'x', expected a number"),
    ("m.csv", "a;b\nß;0\n".encode("latin-1"), "m.csv: line 2: no UTF-8, expected a text saved in"),
    ("m.csv", b"\xff\xfe\x00", "m.csv: no UTF-16, expected"),
    ("m.csv", b'0,1\n1,"x\n\x1b"\n', r"m.csv: line 2, column 2: 'x\\n\\x1b', expected a number"),
    ("m.npy", b"", "m.npy: "),
    ("m.npy", np.ones(5), r"a vector of 5 numbers, expected n \(n - 1\) / 2"),
    ("m.npy", np.ones((2, 3)), r"an array of shape \(2, 3\), expected \(n, n\)"),
    ("m.npy", np.array(["a"]), "m.npy: an array of <U1, expected real numbers"),
    ("m.npy", np.array([None]), "m.npy: .*pickle"),
    ("m.npz", {"a": MATRIX, "labels": np.array([*"abcd"], dtype=object)},
     r"m.npz: labels: Python objects, .*; expected an array of texts: np.array\(labels, dtype=str"),
    ("m.npz", {"a": MATRIX, "b": MATRIX}, r"m.npz: 2 arrays \(a, b\), expected one, and labels"),
    ("m.npz", {"a": MATRIX, "names": ["a", "b", "c", "a"]}, "3 different labels, expected 4"),
])
def test_bad_files_are_told_in_a_line(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(ValueError, match=message) as caught:
        read_matrix(path)
    assert "\n" not in str(caught.value)


def spoiled(**entries):
    values = MATRIX.copy()
    for place, value in entries.items():
        values[int(place[1]), int(place[2])] = value
    return LabelledMatrix(["a", "b\x1b", "c", "d"], values)


def test_what_can_be_no_dissimilarities_is_named_by_row_and_column():
    for fine in (spoiled(), spoiled(_01=1 + 1e-5, _22=1e-5, _23=np.nan), spoiled(_00=np.nan)):
        check_symmetric(fine)
        check_dissimilarities(fine)
    with pytest.raises(ValueError, match="row 'a', column 'd' is -inf, expected finite numbers"):
        check_symmetric(spoiled(_03=-np.inf, _30=np.inf))
    with pytest.raises(ValueError, match=r"is 1e\+308, but row 'c', column 'a' is -1e\+308"):
        check_symmetric(spoiled(_02=1e308, _20=-1e308))  # whose difference overflows
    with pytest.raises(ValueError, match=r"row 'b\\x1b', column 'd' is 7, but row 'd', column "
                                         r"'b\\x1b' is 5, expected the same; --mean"):
        check_symmetric(spoiled(_13=7))
    for matrix, message in (
        (spoiled(_22=1), "row 'c', column 'c' is 1, expected 0 on the diagonal"),
        (spoiled(_12=-2, _21=-2), r"row 'b\\x1b', column 'c' is -2, expected none < 0"),
        (spoiled(_12=np.inf), r"row 'b\\x1b', column 'c' is inf"),
        (LabelledMatrix(list("abcd"), 7 - MATRIX), "largest values are on the diagonal: for simi"),
        (LabelledMatrix(list("abcd"), np.full((4, 4), 1.0)), "give --similarities=WAY"),
    ):
        with pytest.raises(ValueError, match=message):
            check_dissimilarities(matrix)


def test_what_the_file_calls_similarities_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("from,to,Similarity\x1b\na,b,1\na,c,2\nb,c,3\n")
    np.savez(tmp_path / "m.npz", correlation=PAIRS)
    for name, called in (("m.csv", r"Similarity\\x1b"), ("m.npz", "correlation")):
        with pytest.raises(ValueError, match=f"^the values are called '{called}', which may mean "
                                             "similarities: for these give --similarities=WAY, el"):
            check_dissimilarities(read_matrix(tmp_path / name))
    np.savez(tmp_path / "m.npz", distance=PAIRS)
    check_dissimilarities(read_matrix(tmp_path / "m.npz"))


@pytest.mark.parametrize(("keep", "where"), [(np.tril, "above"), (np.triu, "below")])
def test_a_triangle_of_zeros_is_told(keep, where):
    values = np.ones((4, 4)) - np.eye(4)
    matrix = LabelledMatrix(list("abcd"), keep(values))
    for check in (check_triangles, check_symmetric):
        with pytest.raises(ValueError, match=f"all numbers {where} the diagonal are 0: for a tri"):
            check(matrix)
    for fine in (values, np.zeros((4, 4)), np.where(keep(values), values, np.nan)):
        check_triangles(LabelledMatrix(list("abcd"), fine))


def test_coordinates_are_written_with_safe_names(tmp_path):
    path = tmp_path / "new" / "map.csv"
    write_coordinates(path, ["a,b", "=1+1", "x\x1b"], np.array([[1, 2], [3, 4], [5, 6.5]]),
                      np.array([0.5, 0.25, 0.25]))
    assert path.read_text().splitlines() == [
        "name,x1,x2,stress_share", '"a,b",1,2,0.5', "'=1+1,3,4,0.25", "x\\x1b,5,6.5,0.25"]
    write_coordinates(tmp_path / "map.tsv", ["a"], np.ones((1, 1)), np.ones(1))
    assert (tmp_path / "map.tsv").read_text() == "name\tx1\tstress_share\na\t1\t1\n"
    with pytest.raises(ValueError, match=r"map\.txt: unknown format, expected \.csv or"):
        write_coordinates(tmp_path / "map.txt", ["a"], np.ones((1, 1)), np.ones(1))
