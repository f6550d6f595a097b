"""bin/check on good and damaged folders."""

import numpy as np
import pytest
import scipy.io
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("image00002", "image00004"):
        scipy.io.savemat(tmp_path / f"{name}.mat", {
            "pt3d_68": rng.uniform(50, 400, (3, 68)), "Pose_Para": np.full((1, 7), 0.001),
        })
        Image.new("RGB", (450, 450)).save(tmp_path / f"{name}.jpg")
    return tmp_path


def test_a_good_folder_has_status_0(folder, call):
    done = call("check", "--dataset=aflw2000", f"--data_dir={folder}")
    assert done.status == 0, done.stderr
    assert "AFLW2000-3D" in done.stdout
    assert "licence: For academic research" in done.stdout
    assert "cbsr.ia.ac.cn" in done.stdout
    assert "nothing is missing or damaged" in done.stdout


def test_each_problem_is_a_line_and_the_status_1(folder, call):
    (folder / "image00002.jpg").unlink()
    whole = (folder / "image00004.mat").read_bytes()
    (folder / "image00004.mat").write_bytes(whole[:300])
    done = call("check", "--dataset=aflw2000", f"--data_dir={folder}")
    assert done.status == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert len(lines) == 2
    assert "no " in lines[0]
    assert "image00002.jpg" in lines[0]
    assert "image00004.mat: expected a MATLAB file" in lines[1]
    assert done.stderr.strip().endswith("2 problems, see above")


def test_a_file_that_serves_two_topologies_is_told_once(tmp_path, call):
    done = call("check", "--dataset=ict", f"--data_dir={tmp_path}")
    assert done.status == 1
    assert "vertex_indices.json" in done.stdout
    assert done.stdout.count("problem: ") == 1  # the same for both topologies


def test_a_dataset_without_files_says_so(call):
    done = call("check", "--dataset=synthetic")
    assert done.status == 0
    assert "needs no files" in done.stdout


@pytest.mark.parametrize(("arguments", "message"), [
    (["--dataset=lfw"], "error: dataset: expected one of"),
    (["--dataset=bfm", "--data_dir=nowhere"], "error: data_dir: no folder nowhere"),
])
def test_wrong_flags_are_one_line(arguments, message, refuse):
    assert message in refuse("check", *arguments)


def test_shapes_are_checked_by_the_topology_that_is_asked_for(tmp_path, call):
    np.save(tmp_path / "faces.npy", np.random.default_rng(0).normal(size=(6, 51, 3)))
    asked = ("check", "--dataset=shapes", f"--data_dir={tmp_path}")
    assert call(*asked).status == 0
    assert call(*asked, "--topology=flame51").status == 0
    done = call(*asked, "--topology=ibug68")
    assert done.status == 1
    assert "problem: " in done.stdout
    assert "51 landmarks, expected 68 of topology ibug68" in done.stdout


def test_a_mix_is_checked_part_by_part(tmp_path, call):
    done = call("check", "--dataset=ict_makehuman", f"--data_dir={tmp_path}")
    assert done.status == 1
    assert f"data_dir: no folder {tmp_path / 'ict'}" in done.stderr
    for name in ("ict", "makehuman"):
        (tmp_path / name).mkdir()
    done = call("check", "--dataset=ict_makehuman", f"--data_dir={tmp_path}")
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert "vertex_indices.json" in problems[0]
    assert any("base.obj" in line for line in problems)
    assert done.stderr.strip().endswith(f"{len(problems)} problems, see above")
