"""bin/eval: methods, the report, and the paper's tables."""

import json

import pytest


def test_scores_are_means_and_deviations_by_pose_and_tested_and_reported(tmp_path, succeed):
    text = succeed("eval", "--methods=mean_shape,posed_mean", "--num_faces=20", "--report=page")
    assert "10 random samples of 2 of 20 test faces" in text
    assert "least NME: posed mean with " in text
    results = tmp_path / "results"
    rows = json.loads((results / "synthetic_ibug68_all.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["mean shape", "posed mean"]
    assert rows[0]["MSE"] > rows[0]["MSE sd"] > 0
    assert rows[0]["NME"] > rows[1]["NME"]
    poses = json.loads((results / "synthetic_ibug68_all_by_pose.json").read_text())["rows"]
    assert sum(row["faces"] for row in poses if row["view"].startswith(("ortho", "persp"))) == 40
    tests = json.loads((results / "synthetic_ibug68_all_significance.json").read_text())["rows"]
    assert tests[0]["p exact"] >= 2 / 2**10
    for suffix in ("csv", "md", "tex"):
        assert (results / f"synthetic_ibug68_all.{suffix}").exists()
    assert "posed mean" in (tmp_path / "page" / "index.html").read_text()


def test_a_method_that_knows_the_test_faces_says_so(tmp_path, succeed):
    """By default all know the mean and the modes of the weights' training faces, and no more."""
    errors = []
    for reference in ((), ("--reference=synthetic",)):
        succeed("eval", "--methods=mean_shape,gaussian", "--num_faces=20", "--metric=nme",
                *reference)
        content = json.loads((tmp_path / "results" / "synthetic_ibug68_nme.json").read_text())
        ending = ", knows the test faces" if reference else ""
        assert [row["method"] for row in content["rows"]] == [
            f"mean shape{ending}", f"Gaussian{ending}"]
        errors.append([row["NME"] for row in content["rows"]])
    (mean, gaussian), (own_mean, own_gaussian) = errors
    assert own_gaussian < 0.7 * own_mean and own_gaussian < gaussian < mean and own_mean < mean


def test_one_metric_is_told_alone(tmp_path, succeed):
    succeed("eval", "--methods=mean_shape", "--num_faces=20", "--metric=nme")
    content = json.loads((tmp_path / "results" / "synthetic_ibug68_nme.json").read_text())
    assert list(content["rows"][0]) == [
        "method", "NME", "NME sd", "right-handed", "right-handed sd", "not finite"]
    assert len(list((tmp_path / "results").glob("*.json"))) == 1


def test_a_method_that_cannot_run_is_left_out_and_told_at_the_end(tmp_path, succeed):
    text = succeed("eval", "--methods=mean_shape,zhao=nowhere,mediapipe", "--num_faces=20",
                   "--metric=mse")
    told = text.partition("left out:")[2]
    assert "zhao: nowhere: no such file" in told
    assert "mediapipe: expected mediapipe=PATH" in told
    content = json.loads((tmp_path / "results" / "synthetic_ibug68_mse.json").read_text())
    assert [row["method"] for row in content["rows"]] == ["mean shape"]
    assert len(content["left_out"]) == 2


def test_a_table_is_reproduced_and_what_is_left_out_is_told(tmp_path, succeed):
    text = succeed("eval", "--reproduce=table1", "--methods=mean_shape,zhao=nowhere",
                   "--num_faces=20")
    assert "stand in" in text
    told = text.partition("left out:")[2]
    assert "zhao" in told
    assert "nowhere" in told
    assert "01_MorphableModel.mat" in told or "landmarks_me_72.mat" in told
    assert "1.4" in (tmp_path / "results" / "table1.md").read_text()


@pytest.mark.parametrize(("arguments", "message"), [
    (("--methods=zhao=nowhere",), "nowhere"),
    (("--methods=hourglass",), "hourglass"),
    (("--dataset=bfm", "--weights=flame51"), "bfm"),
    (("--data_dir=.",), "--dataset"),
    (("--reproduce=table1", "--metric=mse"), "metric: no flag of --reproduce"),
    (("--reproduce=table1", "--methods=zhao=nowhere"), "no method can be run"),
    (("--reproduce=table1", "--dataset=ict"), "whose files --data_dir holds"),
    (("--metric=params", "--report=page"), "report"),
    (("--methods=",), "no method can be run: none was asked for"),
    (("--out=/dev/null",), "out: cannot write to /dev/null: /dev/null is no folder"),
    (("--report=/dev/null/x", "--reproduce=all"), "/dev/null is no folder"),
])
def test_bad_input_is_told_in_a_line_and_leaves_nothing(refuse, arguments, message):
    assert message in refuse("eval", *arguments)
