import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from deepmds_jax.data.formats import child
from deepmds_jax.data.formats.landmark_files import read_all_landmarks
from deepmds_jax.data.formats.matlab import load_mat, read_mat

POINTS = np.arange(136.0).reshape(2, 68)


@pytest.fixture
def crashing(tmp_path):
    """A file of landmarks with one byte changed: the kind of its numbers."""
    path = tmp_path / "bad.mat"
    scipy.io.savemat(path, {"pt2d": POINTS})
    content = bytearray(path.read_bytes())
    content[176] = 0
    path.write_bytes(content)
    return path


def test_the_byte_ends_a_process_that_reads_by_itself(crashing):
    code = "import scipy.io, sys; scipy.io.loadmat(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, crashing], capture_output=True)
    if done.returncode >= 0:
        pytest.skip("this SciPy reads the file")
    assert done.returncode == -signal.SIGSEGV


def test_a_file_that_ends_its_reader_is_one_line_and_the_others_are_read(crashing):
    scipy.io.savemat(crashing.with_name("a.mat"), {"pt2d": POINTS})
    scipy.io.savemat(crashing.with_name("z.mat"), {"pt2d": POINTS + 1})
    read = read_all_landmarks([crashing.parent])
    assert list(read.faces) == ["a", "z"]
    np.testing.assert_array_equal(read.faces["z"].points, POINTS.T)  # MATLAB counts from 1
    assert len(read.left_out) == 1
    assert str(crashing) in read.left_out[0] and "\n" not in read.left_out[0]


def test_one_process_reads_all_files(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"x": POINTS})
    load_mat(tmp_path / "a.mat")
    first = child._CHILD._process
    load_mat(tmp_path / "a.mat")
    assert child._CHILD._process is first


def test_what_is_not_numbers_comes_as_text(tmp_path, monkeypatch):
    texts = np.array([["first", 2]], object)
    scipy.io.savemat(tmp_path / "a.mat", {
        "cell": texts, "chars": np.array(["ab", "cd"]), "struct": {"field": POINTS},
        "truth": np.array([True]), "sparse": scipy.sparse.eye(3, format="csc")})
    monkeypatch.chdir(tmp_path)
    found = load_mat(tmp_path.joinpath("a.mat").relative_to(tmp_path))
    assert found["cell"].tolist() == [["first", "2"]]
    assert found["chars"].tolist() == ["ab", "cd"]
    assert found["truth"].tolist() == [[1]]
    assert found["struct"].dtype.kind == found["sparse"].dtype.kind == "U"
    assert list(load_mat(tmp_path / "a.mat", ["truth", "lacking"])) == ["truth"]


@pytest.mark.parametrize(("names", "message"), [
    (["x", "y"], "y"), (["text"], "holds no numbers")])
def test_variables_that_are_not_there_or_no_numbers(tmp_path, names, message):
    scipy.io.savemat(tmp_path / "a.mat", {"x": POINTS, "text": "abc"})
    with pytest.raises(ValueError, match=f"a.mat: expected a MATLAB file with .*: .*{message}"):
        read_mat(tmp_path / "a.mat", names)
    with pytest.raises(FileNotFoundError, match=r"no .*b\.mat"):
        read_mat(tmp_path / "b.mat", names)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_reads_by_a_process_of_its_own(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"x": POINTS})
    load_mat(tmp_path / "a.mat")
    assert child._CHILD._process is not None
    code = ("import os, pathlib, sys; from deepmds_jax.data.formats import matlab\n"
            "path = pathlib.Path(sys.argv[1]); matlab.load_mat(path)\n"
            "if os.fork() == 0: os._exit(matlab.load_mat(path)['x'].shape != (2, 68))\n"
            "status = os.wait()[1]; matlab.load_mat(path); sys.exit(status)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.mat"], env=environment)
    assert done.returncode == 0
