"""Words among numbers, and damaged archives: told with the place, nothing lost, no other error."""

import warnings
import zipfile

import numpy as np
import pytest

from deepmds_jax.data.formats import meshes
from deepmds_jax.data.formats.dissimilarity_files import read_matrix
from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.data.formats.square_tables import parse_square

# Name of the file, and its content with a place for the x of the last landmark.
TEXTS = {
    "pts": ("a.pts", "n_points: 3\n{{\n1 2\n4 3\n{} 6\n}}\n"),
    "txt": ("a.txt", "1 2\n4 3\n{} 6\n"),
    "txt, commas": ("a.txt", "1, 2\n4, 3\n{}, 6\n"),
    "txt, a face in each line": ("a.txt", "1 2 4 3 {} 6\n"),
    "tps": ("a.tps", "LM=3\n1 2\n4 3\n{} 6\n"),
    "fcsv": ("a.fcsv", "# CoordinateSystem = LPS\n# columns = x,y,z\n1,2,0\n4,3,0\n{},6,0\n"),
    "csv": ("a.csv", "x,y\n1,2\n4,3\n{},6\n"),
    "csv, no header": ("a.csv", "1,2\n4,3\n{},6\n"),
    "csv, wide": ("a.csv", "x0,y0,x1,y1,x2,y2\n1,2,4,3,{},6\n"),
    "csv, numbered": ("a.csv", "landmark,x,y\n0,1,2\n1,4,3\n2,{},6\n"),
    "csv, confidence, no header": ("a.csv", "1,2,0.9\n4,3,0.8\n{},6,0.7\n"),
    "tsv": ("a.tsv", "x\ty\n1\t2\n4\t3\n{}\t6\n"),
    "xml": ("a.xml", "<dataset><images><image file='a.jpg'><box><part name='0' x='1' y='2'/>"
                     "<part name='1' x='4' y='3'/><part name='2' x='{}' y='6'/></box></image>"
                     "</images></dataset>"),
}


def write(folder, name, content):
    (folder / name).write_text(content)
    return folder / name


@pytest.mark.parametrize("case", TEXTS)
def test_what_is_no_number_is_refused(case, tmp_path):
    name, text = TEXTS[case]
    for word in ("12_5", "#REF!", "#DIV/0!", "#NAME?", "####", "x"):
        path = write(tmp_path, name, text.format(word))
        with pytest.raises(ValueError, match=f"'{word}.*, expected ") as refusal:
            read_landmarks(path)
        assert str(refusal.value).startswith(f"{path}: ") and "\n" not in str(refusal.value)


@pytest.mark.parametrize("case", TEXTS)
def test_what_says_that_there_is_no_number_hides_the_landmark(case, tmp_path):
    name, text = TEXTS[case]
    for word in ("#N/A", "#n/a", "#NA", "nan"):
        (face,) = read_landmarks(write(tmp_path, name, text.format(word))).values()
        assert face.visible.tolist() == [True, True, False]
    (face,) = read_landmarks(write(tmp_path, name, text.format("5"))).values()
    assert face.visible.all()


@pytest.mark.parametrize("line", ["# of a tool", "#N/A marks what is lacking", "//", "#", "##### 5",
                                  "  # 3 points", "#120 80"])
def test_comments(line, tmp_path):
    """A line that begins with # or //; but an error of a spreadsheet before others is a number."""
    content = f"1 2\n{line}\n4 3 # the second\n5 6 // and the third\n"
    if line.startswith(("#N/A", "#####")):
        with pytest.raises(ValueError, match=r"landmark 1: '#.*', expected"):
            read_landmarks(write(tmp_path, "a.txt", content))
        return
    (face,) = read_landmarks(write(tmp_path, "a.txt", content)).values()
    np.testing.assert_array_equal(face.points, [[1, 2], [4, 3], [5, 6]])


def test_lines_of_faces_have_their_number_and_no_comments_at_their_ends(tmp_path):
    path = write(tmp_path, "a.txt", "# two\n\n1 2 3 4 5 6\n// then\n1 2 3 4 # 6\n")
    (face,) = read_landmarks(path).values()
    assert face.visible.all()
    path = write(tmp_path, "a.txt", "# one\n\n1 2 3 4 # 6\n")
    with pytest.raises(ValueError, match=r"a\.txt: line 3: '#', expected a number"):
        read_landmarks(path)
    with pytest.raises(ValueError, match="no points"):
        read_landmarks(write(tmp_path, "a.txt", "0\n"))


@pytest.mark.parametrize("word", ["x", "#N/A", "", "1_2", "2.5"])
@pytest.mark.parametrize("header", ["landmark,x,y\n", ""])
def test_a_numbered_landmark_without_a_number_is_told(header, word, tmp_path):
    """Else it would be lost, or all would keep the order of the rows, which is another."""
    path = write(tmp_path, "a.csv", f"{header}3,1,2\n2,4,3\n{word},5,6\n0,7,8\n")
    where = f"line {4 if header else 3}"
    message = f"{where}: no number of a landmark, expected one as in other rows"
    if word == "2.5" and not header:  # then they are no numbers of landmarks, but x, y and depth
        (face,) = read_landmarks(path).values()
        np.testing.assert_array_equal(face.points, [[3, 1], [2, 4], [2.5, 5], [0, 7]])
        return
    with pytest.raises(ValueError, match=message):
        read_landmarks(path)


def test_tables_of_dissimilarities():
    assert np.isnan(parse_square("0 1 #N/A\n1 0 3\n#N/A 3 0\n").values[0, 2])
    for word in ("1_2", "#REF!", "#"):
        with pytest.raises(ValueError, match=rf"line 3, column 2: '{word}', expected a number"):
            parse_square(f"0 1 2\n1 0 3\n2 {word} 0\n")


def test_vertices_of_obj_files(tmp_path):
    path = write(tmp_path, "a.obj", "v 0 0 0\nv 1_0 0 0\n")
    with pytest.raises(ValueError, match=r"a\.obj: .*underscore"):
        meshes.parse_vertices(path, meshes.read_vertex_lines(path), [0, 1])


def damaged_archives(folder):
    """Files that fail in zipfile, in zlib, by a checksum, and in NumPy's header."""
    square = np.abs(np.subtract.outer(np.arange(40.0), np.arange(40.0)))
    for name, save in (("packed", np.savez_compressed), ("plain", np.savez)):
        save(folder / f"{name}.npz", landmarks=square[:, :2], points=square)
        content = (folder / f"{name}.npz").read_bytes()
        middle = content.index(b".npy") + 60
        for kind, changed in (
            ("cut", content[:-30]), ("empty", b""), ("head", b"PK" + bytes(8) + content[10:]),
            ("inside", content[:middle] + b"\xff" * 24 + content[middle + 24:]),
        ):
            path = folder / f"{name}_{kind}.npz"
            path.write_bytes(changed)
            yield path


@pytest.mark.parametrize("read", [read_landmarks, read_matrix])
def test_damaged_archives_are_one_line(read, tmp_path):
    kinds = set()
    for path in damaged_archives(tmp_path):
        try:
            with path.open("rb") as stream, np.load(stream) as file:
                dict(file)
        except Exception as error:
            kinds.add(type(error))
        with pytest.raises(ValueError, match=f"^{path}: [^\n]+$") as refusal:
            read(path)
        assert type(refusal.value) is ValueError
    assert {zipfile.BadZipFile, EOFError} <= kinds and len(kinds) > 2


@pytest.mark.parametrize("values", [[[0, np.inf], [np.inf, 0]], [[0, np.inf], [-np.inf, 0]]])
def test_infinity_is_named_without_a_warning(values, tmp_path):
    np.save(tmp_path / "d.npy", values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"d\.npy: row '1', column '2' is inf, expected fin"):
            read_matrix(tmp_path / "d.npy")
