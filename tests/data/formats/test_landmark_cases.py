"""What people's landmark files say, case by case, and what is read."""

import json
import random

import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.data.formats import schemes
from deepmds_jax.data.formats.faces import hide_marks, make_face, natural_key, tell_apart
from deepmds_jax.data.formats.landmark_files import (
    list_landmark_files,
    read_all_landmarks,
    read_landmarks,
)
from deepmds_jax.data.photos.mesh_landmarks import FLAME51_POINTS, to_landmarks

N = 68
FACE = np.round(np.random.default_rng(0).uniform(100, 300, (N, 2)), 2)
NAN = float("nan")


def write(path, content, encoding="utf-8"):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding=encoding)
    return path


def rows(*lines, delimiter=","):
    return "\n".join(delimiter.join(map(str, line)) for line in lines) + "\n"


def openface(frames):
    """OpenFace's layout: (frame, face_id, timestamp, confidence, success, points) of each row."""
    header = ["frame", " face_id", " timestamp", " confidence", " success",
              *[f" x_{i}" for i in range(N)], *[f" y_{i}" for i in range(N)],
              *[f" X_{i}" for i in range(N)]]
    return rows(header, *[[*first, *points.T.ravel(), *range(N)] for *first, points in frames])


def without(*indices, points=FACE):
    points = points.copy()
    points[list(indices)] = NAN
    return points


def same(face, points):
    np.testing.assert_allclose(face.points, points, atol=1e-9)
    np.testing.assert_array_equal(face.visible, np.isfinite(points).all(-1))


def nulls(points):
    return [[None if np.isnan(x) else x for x in point] for point in points.tolist()]


def xy(points):
    return [{"x": x, "y": y} for x, y in points.tolist()]


def imglib(points, head="", image="img/a.jpg"):
    parts = "".join(f"<part name='{i:02}' x='{x}' y='{y}'/>" for i, (x, y) in
                    sorted(enumerate(points), key=lambda item: str(item[0])))
    return (f"<?xml version='1.0'?>{head}<?xml-stylesheet type='text/xsl' href='i.xsl'?><dataset>"
            f"<images><image file='{image}'><box top='1' left='2' width='3' height='4'>{parts}"
            "</box></image></images></dataset>")


def pts(points, header="version: 1\nn_points: 68\n", more=()):
    lines = [" ".join(map(str, [*(point + 1), *extra]))
             for point, extra in zip(points, more or [()] * len(points), strict=True)]
    return header + "{\n" + "\n".join(lines) + "\n}\n"


def numbered_pts(start, step=1):
    lines = [[i, *(point + 1)] for i, point in enumerate(FACE, start)][::step]
    return "n_points: 68\n{\n" + rows(*lines, delimiter=" ") + "}\n"


def tps(points, more=""):
    return rows([f"LM={len(points)}"], *[[x, y] for x, y in points], delimiter=" ") + more


def semicolons(points, delimiter=";"):
    cells = [[str(x).replace(".", ",") for x in point] for point in points]
    return rows(["x", "y"], *cells, delimiter=delimiter)


def fcsv(points, system="LPS", sign=1):
    return (f"# Markups fiducial file version = 4.13\n# CoordinateSystem = {system}\n"
            "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
            + rows(*[[i, sign * x, sign * y, 0, 0, 0, 0, 1, 1, 1, 0, f"F-{i}", "", ""]
                     for i, (x, y) in enumerate(points)]))


def markups(points, system="LPS", sign=1):
    position = [{"label": f"F-{i}", "position": [sign * x, sign * y, 7.5]}
                for i, (x, y) in enumerate(points)]
    position[3] = {"label": "F-3", "position": [0, 0, 0], "positionStatus": "undefined"}
    return {"markups": [{"type": "Fiducial", "coordinateSystem": system,
                         "controlPoints": position}]}


def dlib_parts(points):
    """As face_recognition's `face_landmarks` cuts dlib's 68 (its api.py)."""
    p = points.tolist()
    return {"chin": p[0:17], "left_eyebrow": p[17:22], "right_eyebrow": p[22:27],
            "nose_bridge": p[27:31], "nose_tip": p[31:36], "left_eye": p[36:42],
            "right_eye": p[42:48], "top_lip": [*p[48:55], p[64], p[63], p[62], p[61], p[60]],
            "bottom_lip": [*p[54:60], p[48], p[60], p[67], p[66], p[65], p[64]]}


YX = FACE[:, ::-1]
LINES = [[i, *point] for i, point in enumerate(FACE)]
WIDE = [f"{a}{i}" for i in range(N) for a in "xy"]
CONFIDENT = np.where(np.arange(N) == 5, 0.1, 0.9)
# name of the file -> content, of the face FACE; landmarks that must come out hidden.
ONE_FACE = {
    "csv: occluded": ("a.csv", rows(["x", "y", "occluded"], *[
        [*point, int(i == 5)] for i, point in enumerate(FACE)]), [5]),
    "csv: occluded, wide": ("a.csv", rows([*WIDE, *(f"occlusion_{i}" for i in range(N))], [
        *FACE.ravel(), *(i == 5 for i in range(N))]), [5]),
    "csv: hidden, in words": ("a.csv", rows(["x", "y", "hidden"], *[
        [*point, i == 5] for i, point in enumerate(FACE)]), [5]),
    "csv: valid": ("a.csv", rows(["x", "y", "valid"], *[
        [*point, int(i != 5)] for i, point in enumerate(FACE)]), [5]),
    "csv: conf": ("a.csv", rows(["x", "y", "conf"], *[
        [*point, c] for point, c in zip(FACE, CONFIDENT, strict=True)]), [5]),
    "csv: prob in wide rows": ("a.csv", rows(
        [*WIDE, *[f"prob_{i}" for i in range(N)]], [*FACE.ravel(), *CONFIDENT]), [5]),
    "csv: occ in wide rows": ("a.csv", rows(
        [*WIDE, *[f"occ{i}" for i in range(N)]], [*FACE.ravel(), *(CONFIDENT < 0.5)]), [5]),
    "json: points with conf": ("a.json", [
        {**point, "conf": c} for point, c in zip(xy(FACE), CONFIDENT, strict=True)], [5]),
    "json: numbered points": ("a.json", [
        {"id": i, **point} for i, point in enumerate(xy(FACE))][::-1], []),
    "json: numbered points, from 1": ("a.json", [
        {"index": i, **point} for i, point in enumerate(xy(FACE), 1)][::-1], []),
    "json: numbers that are none of landmarks": ("a.json", [
        {"id": 7 - i, **point} for i, point in enumerate(xy(FACE))], []),
    "csv: likelihood": ("a.csv", rows(["x", "y", "likelihood"], *[
        [*point, 0.01 if i == 5 else 0.99] for i, point in enumerate(FACE)]), [5]),
    "json: points by number": ("a.json", {
        str(i): point for i, point in reversed([*enumerate(FACE.tolist(), 1)])}, []),
    "json: points by number, one missing": ("a.json", {"ada": {
        f"P{i}": point for i, point in enumerate(FACE.tolist()) if i != 5}}, [5]),
    "json: points by names of a topology": ("a.json", {"landmarks": dict(reversed([*zip(
        topologies.get("ibug68").landmarks, xy(FACE), strict=True)]))}, []),
    "json: parts of face_recognition": ("a.json", [dlib_parts(FACE)], []),
    "csv: index": ("a.csv", rows(["index", "x", "y"], *[
        [i, *point] for i, point in enumerate(FACE)][::-1]), []),
    "csv: landmark, behind a word": ("a.csv", rows(["landmark", "x", "y"], *[
        [f"P{i}", *point] for i, point in enumerate(FACE)][::-1]), []),
    "csv: landmark, by name": ("a.csv", rows(["landmark", "x", "y"], *[
        [name, *point] for name, point in zip(topologies.get("ibug68").landmarks, FACE, strict=True)
    ][::-1]), []),
    "json: points by name": ("a.json", [
        {"landmark": name, **point} for name, point in
        zip(topologies.get("ibug68").landmarks, xy(FACE), strict=True)][::-1], []),
    "csv: in words, yes and no": ("a.csv", rows(["x", "y", "visible"], *[
        [*point, "No" if i == 5 else "yes"] for i, point in enumerate(FACE)]), [5]),
    "csv: in letters, T and F": ("a.csv", rows([*WIDE, *(f"v{i}" for i in range(N))], [
        *FACE.ravel(), *("F" if i == 5 else "T" for i in range(N))]), [5]),
    "csv: point, from 1": ("a.csv", rows(["point", "x", "y"], *[
        [i + 1, *point] for i, point in enumerate(FACE)][::-1]), []),
    "csv: columns that are only numbered": ("a.csv", rows(range(2 * N), FACE.ravel()), []),
    "csv: columns and rows that are only numbered": ("a.csv", rows(
        ["", *range(2 * N)], [0, *FACE.ravel()]), []),
    "csv: x and y that are only numbered, behind numbers of rows": ("a.csv", rows(
        ["", 0, 1], *LINES), []),
    "csv: columns that are only numbered, from 1, behind a name": ("a.csv", rows(
        ["image", *range(1, 2 * N + 1)], ["a.jpg", *FACE.ravel()]), []),
    "json: occluded": ("a.json", {"landmarks": FACE.tolist(),
                                  "occluded": [i == 5 for i in range(N)]}, [5]),
    "json: occluded points": ("a.json", [
        {**point, "occluded": i == 5} for i, point in enumerate(xy(FACE))], [5]),
    "json: null point": ("a.json", [*nulls(FACE)[:5], None, *nulls(FACE)[6:]], [5]),
    "json: null coordinates": ("a.json", nulls(without(5)), [5]),
    "json: NaN": ("a.json", json.dumps(without(5).tolist()), [5]),
    "json: visible": ("a.json", {"landmarks": FACE.tolist(),
                                 "visible": [i != 5 for i in range(N)]}, [5]),
    "json: confidence": ("a.json", {"landmarks": FACE.tolist(),
                                    "confidence": CONFIDENT.tolist()}, [5]),
    "json: MMPose": ("a.json", [{"keypoints": FACE.tolist(), "bbox": [[1, 2, 3, 4]],
                                 "keypoint_scores": CONFIDENT.tolist()}], [5]),
    "json: COCO's flat x, y, v": ("a.json", {"annotations": [{"face_kpts": [
        value for i, point in enumerate(FACE.tolist())
        for value in [*point, 0 if i == 5 else 2]]}]}, [5]),
    "json: COCO-WholeBody's body beside the face": ("a.json", {"annotations": [{
        "keypoints": [1, 2, 2] * 17, "face_kpts": np.insert(FACE, 2, 2, axis=1).ravel().tolist()}]},
        []),
    "json: dlib's x and y": ("a.json", xy(FACE), []),
    "json: dlib's parts": ("a.json", [{"rect": {"left": 1, "top": 2, "right": 3, "bottom": 4},
                                       "parts": xy(FACE)}], []),
    "json: numbers beside a face by name": ("a.json", {
        "version": 2, "ada": FACE.tolist(), "score": 0.9}, []),
    "json: face-alignment's (N, 3)": (
        "a.json", np.column_stack([FACE, FACE[:, 0] - 200]).tolist(), []),
    "json: LJSON 2": ("a.ljson", {"version": 2, "labels": [], "landmarks": {
        "points": nulls(without(5)[:, ::-1]), "connectivity": []}}, [5]),
    "json: LJSON 3": ("a.json", {"version": 3, "groups": {"LJSON": {
        "labels": [], "landmarks": {"points": YX.tolist()}}}}, []),
    "json: LJSON 1": ("a.json", {"version": 1, "groups": [
        {"label": "chin", "landmarks": [{"point": point} for point in YX[:17].tolist()]},
        {"label": "rest", "landmarks": [{"point": point} for point in YX[17:].tolist()]}]}, []),
    "Slicer, LPS": ("a.mrk.json", markups(FACE), [3]),
    "Slicer, RAS": ("a.mrk.json", markups(FACE, "RAS", -1), [3]),
    "fcsv, LPS": ("a.fcsv", fcsv(FACE), []),
    "fcsv, RAS by number": ("a.fcsv", fcsv(FACE, 0, -1), []),
    "csv: empty cell": ("a.csv", rows(["x", "y"], *FACE[:5], [FACE[5, 0], ""], *FACE[6:]), [5]),
    "csv: -1, -1": ("a.csv", rows(["x", "y"], *FACE[:5], [-1, -1], *FACE[6:]), [5]),
    "csv: 0, 0": ("a.csv", rows(["x", "y"], *FACE[:5], [0, 0], *FACE[6:]), [5]),
    "csv: another negative pair": ("a.csv", rows(["x", "y"], *FACE[:5], [-9, -5], *FACE[6:]), [5]),
    "csv: visible": ("a.csv", rows(["x", "y", "visible"], *[
        [*point, int(i != 5)] for i, point in enumerate(FACE)]), [5]),
    "csv: visible, in words": ("a.csv", rows(["x", "y", "visible"], *[
        [*point, i != 5] for i, point in enumerate(FACE)]), [5]),
    "csv: visible in wide rows": ("a.csv", rows(
        [*WIDE, *[f"v{i}" for i in range(N)]], [*FACE.ravel(), *(CONFIDENT > 0.5)]), [5]),
    "csv: confidence": ("a.csv", rows(["x", "y", "confidence"], *[
        [*point, c] for point, c in zip(FACE, CONFIDENT, strict=True)]), [5]),
    "csv: confidence in wide rows": ("a.csv", rows(
        [*WIDE, *[f"c{i}" for i in range(N)]], [*FACE.ravel(), *CONFIDENT]), [5]),
    "csv: a box beside wide rows": ("a.csv", rows(["x", "y", *WIDE], [1, 2, *FACE.ravel()]), []),
    "csv: landmark from 0, in any order": (
        "a.csv", rows(["landmark", "x", "y"], *LINES[::-1]), []),
    "csv: landmark from 1": (
        "a.csv", rows(["landmark", "x", "y"], *[[i + 1, x, y] for i, x, y in LINES[::-1]]), []),
    "csv: a landmark missing": (
        "a.csv", rows(["landmark", "x", "y"], *LINES[:5], *LINES[6:]), [5]),
    "csv: row of empty cells": (
        "a.csv", rows(["x", "y"], *FACE[:5], ["", ""], *FACE[6:], ["", ""]), [5]),
    "csv: no header, numbered from 3": (
        "a.csv", rows(*LINES[3:]), [0, 1, 2]),
    "csv: landmarks by name keep their order": (
        "a.csv", rows(["landmark", "x", "y"], *[[f"l{i % 3}", x, y] for i, x, y in LINES]), []),
    "csv: no header, with a depth": (
        "a.csv", rows(*[[x, y, x - 150] for x, y in FACE]), []),
    "csv: no header, with a confidence": (
        "a.csv", rows(*[[*point, c] for point, c in zip(FACE, CONFIDENT, strict=True)]), [5]),
    "csv: no header, numbered, in any order": ("a.csv", rows(*LINES[::-1]), []),
    "csv: header behind #": ("a.csv", "# x,y\n" + rows(*FACE), []),
    "csv: commas below a line of only a tab": ("a.csv", "\t\n" + rows(["x", "y"], *FACE), []),
    "csv: semicolons and decimal commas": ("a.csv", semicolons(FACE), []),
    "csv: Excel's sep=": ("a.csv", "sep=;\r\n" + semicolons(FACE), []),
    "csv: tabs and decimal commas": ("a.tsv", semicolons(FACE, "\t"), []),
    "csv: tabs, decimal points": ("a.tsv", rows(["x", "y"], *FACE, delimiter="\t"), []),
    "csv: marks in quotes": (
        "a.csv", rows(['"landmark; or\tits ""name"""', "x", "y"], *LINES), []),
    "tsv: all in quotes": ("a.tsv", '"x"\t"y"\n' + rows(*FACE, delimiter="\t"), []),
    "pts: space before the colon": ("a.pts", pts(FACE, "n_points : 68\n"), []),
    "pts: confidence": ("a.pts", pts(FACE, more=[[c] for c in CONFIDENT]), [5]),
    "pts: numbered": ("a.pts", numbered_pts(0), []),
    "pts: numbered from 1, in any order": ("a.pts", numbered_pts(1, -1), []),
    "pts: comments": ("a.pts", "# from a tool\n" + pts(FACE).replace("{", "{ // points"), []),
    "txt: x,y": ("a.txt", rows(*FACE), []),
    "txt: x,y x,y ...": ("a.txt", rows([f"{x},{y}" for x, y in FACE], delimiter=" "), []),
    "txt: x y": ("a.txt", rows(*FACE, delimiter=" "), []),
    "txt: numbered": ("a.txt", rows(*LINES, delimiter=" "), []),
    "txt: numbered from 1, in any order": (
        "a.txt", rows(*[[i + 1, x, y] for i, x, y in LINES[::-1]], delimiter="\t"), []),
    "txt: confidence": ("a.txt", rows(*[
        [*point, c] for point, c in zip(FACE, CONFIDENT, strict=True)], delimiter=" "), [5]),
    "txt: count first": ("a.txt", "68\n" + rows(*FACE, delimiter="\t"), []),
    "txt: one line": ("a.txt", rows(FACE.ravel(), delimiter=" "), []),
    "xml: imglib": ("i.xml", imglib(FACE), []),
    "tps: y upward": ("a.tps", tps(FACE * [1, -1] + [0, 500], "ID=0\nSCALE=0.1\nCURVES=1\n"
                                   "POINTS=2\n1 2\n3 4\n"), []),
}  # fmt: skip


@pytest.mark.parametrize("case", ONE_FACE)
def test_one_face(case, tmp_path):
    file, content, hidden = ONE_FACE[case]
    found = read_landmarks(write(tmp_path / file, content))
    face = next(iter(found.values()))
    assert len(found) == 1
    np.testing.assert_array_equal(np.flatnonzero(~face.visible), hidden)
    expected = FACE - [0, 500 if file.endswith("tps") else 0]
    np.testing.assert_allclose(face.points[face.visible], expected[face.visible], atol=1e-9)


def test_what_stands_beside_dlibs_parts_needs_no_line(tmp_path):
    content = [{"rect": {"left": 1, "top": 2}, "parts": xy(FACE + i)} for i in range(2)]
    found = read_all_landmarks([write(tmp_path / "a.json", content)])
    assert list(found.faces) == ["a#0", "a#1"] and found.warnings == found.left_out == []
    same(found.faces["a#1"], FACE + 1)
    found = read_all_landmarks([write(tmp_path / "a.json", {"n": 1, "ada": FACE.tolist()})])
    assert list(found.faces) == ["ada"] and found.left_out == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-16-le with mark"])
def test_texts_in_unicode_of_any_kind(encoding, tmp_path):
    mark = "\ufeff" if "mark" in encoding else ""
    path = write(tmp_path / "a.pts", mark + pts(FACE), encoding.split()[0])
    same(read_landmarks(path)["a"], FACE)


def test_arrays_with_nan_and_visible(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([FACE, without(3), np.full((N, 2), NAN)]))
    first, second, third = read_landmarks(tmp_path / "a.npy").values()
    same(first, FACE)
    same(second, without(3))
    assert not third.visible.any()
    visible = np.arange(N) != 7
    np.savez(tmp_path / "b.npz", points=np.stack([FACE, FACE]), visible=[visible, ~visible],
             success=[True, False], seconds=[0.0, 1.5])
    first, second = read_landmarks(tmp_path / "b.npz").values()
    np.testing.assert_array_equal(first.visible, visible)
    assert not second.visible.any()
    assert (second.seconds, second.track) == (1.5, "b")


def test_third_numbers_are_depth_or_a_confidence_and_that_is_told(tmp_path):
    np.save(tmp_path / "c.npy", np.column_stack([FACE, CONFIDENT]))
    np.save(tmp_path / "z.npy", np.column_stack([FACE, FACE[:, 0] - 150]))
    np.save(tmp_path / "zero.npy", np.column_stack([FACE, 0 * CONFIDENT]))
    found = read_all_landmarks([tmp_path / f"{name}.npy" for name in ("c", "z", "zero")])
    assert [int((~face.visible).sum()) for face in found.faces.values()] == [1, 0, 0]
    np.testing.assert_array_equal(found.faces["z"].depth, FACE[:, 0] - 150)
    assert len(found.warnings) == 1 and "are taken as their confidence" in found.warnings[0]


@pytest.mark.parametrize("field", ["landmarks", "kpts"])
@pytest.mark.parametrize("key", [
    "visible", "is_visible", "vis", "v", "hidden", "missing", "occ", "scores", "c"])
def test_what_was_seen_has_one_set_of_names_in_all_files(key, field, tmp_path):
    seen = np.random.default_rng(1).random((3, N)) > 0.5
    written = (~seen if key in ("hidden", "missing", "occ") else seen).astype(float)
    np.savez(tmp_path / "a.npz", **{field: [FACE] * 3, key: written})
    write(tmp_path / "b.json", {field: [FACE.tolist()] * 3, key: written.tolist()})
    for name in ("a.npz", "b.json"):
        found = read_all_landmarks([tmp_path / name])
        assert found.warnings == found.left_out == [] and len(found.faces) == 3
        for face, expected in zip(found.faces.values(), seen, strict=True):
            np.testing.assert_array_equal(face.visible, expected)


def test_what_was_seen_of_transposed_faces_is_refused(tmp_path):
    seen = np.random.default_rng(1).random((3, N)) > 0.5
    np.savez(tmp_path / "a.npz", landmarks=[FACE] * 3, visible=seen.T)
    with pytest.raises(ValueError, match=r"visible has shape \(68, 3\), expected \(3,\) or"):
        read_landmarks(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", landmarks=[FACE] * 3, visible=seen[..., None])
    assert [list(face.visible) for face in read_landmarks(tmp_path / "a.npz").values()] == [
        list(each) for each in seen]


@pytest.mark.parametrize("field", ["landmarks", "kpts"])
def test_what_is_not_used_beside_an_array_is_told(field, tmp_path):
    mask = np.ones((3, N))
    np.savez(tmp_path / "a.npz", **{field: [FACE] * 3, "mask": mask})
    write(tmp_path / "b.json", {field: [FACE.tolist()] * 3, "mask": mask.tolist(), "bbox": [1, 2]})
    write(tmp_path / "c.json", [{**point, "name": "p", "mask": 1} for point in xy(FACE)])
    write(tmp_path / "d.json", {"points": [FACE.tolist()] * 3, "timestamps": [0, 4, 5]})
    for name, line in (("a.npz", "arrays not used: mask"), ("b.json", "keys not used: mask"),
                       ("c.json", "keys not used: mask"), ("d.json", "keys not used: timestamps")):
        found = read_all_landmarks([tmp_path / name])
        assert found.warnings == [f"warning: {tmp_path / name}: {line}"]
        assert len(found.faces) == (1 if name == "c.json" else 3)


def test_names_beside_an_array_of_any_name_are_those_of_its_faces(tmp_path):
    np.savez(tmp_path / "a.npz", kpts=[FACE, FACE + 1], names=["p", "q"], time=[0.5, 1])
    found = read_landmarks(tmp_path / "a.npz")
    assert {name: face.seconds for name, face in found.items()} == {"p": 0.5, "q": 1}
    for field in ("kpts", "landmarks"):  # as programs in C write them
        np.savez(tmp_path / "a.npz", **{field: [FACE, FACE + 1]}, names=[b"p", b"\xc3\xa4"])
        assert list(read_landmarks(tmp_path / "a.npz")) == ["p", "ä"]


@pytest.mark.parametrize("names", ["abcv", ["whole", "missing", "hidden"]])
def test_faces_may_be_called_as_what_was_seen(names, tmp_path):
    np.savez(tmp_path / "b.npz", **dict.fromkeys(names, FACE))
    write(tmp_path / "c.json", dict.fromkeys(names, xy(FACE)))
    write(tmp_path / "d.json", {name: {"landmarks": FACE.tolist()} for name in names})
    for file in ("b.npz", "c.json", "d.json"):
        found = read_all_landmarks([tmp_path / file])
        assert list(found.faces) == [*names] and found.left_out == found.warnings == []


@pytest.mark.parametrize(("header", "line"), [
    (["lm", "x", "y", "certainty"], "columns not used: lm, certainty"),
    (["", "x", "y", "a\x1bb"], r"columns not used: a\x1bb"),
    (["landmark", "x", "y", "name"], None),
])
def test_columns_that_are_not_used_are_told(header, line, tmp_path):
    lines = [[i, *point, 1] for i, point in enumerate(FACE)]
    found = read_all_landmarks([write(tmp_path / "a.csv", rows(header, *lines))])
    assert found.warnings == ([f"warning: {tmp_path / 'a.csv'}: {line}"] if line else [])


@pytest.mark.parametrize("column", ["landmark_index", "lm_id", "pt"])
def test_columns_of_the_numbers_of_landmarks(column, tmp_path):
    lines = [[i, *point] for i, point in enumerate(FACE)][::-1]
    found = read_all_landmarks([write(tmp_path / "a.csv", rows([column, "x", "y"], *lines))])
    same(found.faces["a"], FACE)
    assert found.warnings == []


@pytest.mark.parametrize(("column", "names"), [
    ("no", range(N)), ("id", range(1, N + 1)), ("", range(N)),
    ("name", topologies.get("ibug68").landmarks), ("label", [f"P{i:02}" for i in range(N)]),
])
def test_another_order_than_that_of_the_rows_is_refused(column, names, tmp_path):
    line = f"'{column}' has the numbers of landmarks in another order than the .*: call it landmark"
    lines = [[f, name, *point] for f in "pq" for name, point in zip(names, FACE, strict=True)]
    path = tmp_path / "a.csv"
    for table in (rows([column, "x", "y"], *[row[1:] for row in lines[N - 1::-1]]),
                  rows(["face", column, "x", "y"], *lines[:N], *lines[:N - 1:-1])):
        with pytest.raises(ValueError, match=line):
            read_landmarks(write(path, table))
    in_order = read_landmarks(write(path, rows(["face", column, "x", "y"], *lines)))
    for face in in_order.values():
        same(face, FACE)
    points = [{column: name, **point} for name, point in zip(names, xy(FACE), strict=True)]
    same(read_landmarks(write(tmp_path / "a.json", points))["a"], FACE)
    if column != "id":
        with pytest.raises(ValueError, match=line):
            read_landmarks(write(tmp_path / "a.json", points[::-1]))


@pytest.mark.parametrize("column", ["img", "subject", "name", "id"])
def test_columns_that_part_faces(column, tmp_path):
    lines = [[f"f{k}", i + 1, *(FACE[i] + k)] for k in range(3) for i in range(N)]
    path = write(tmp_path / "a.csv", rows([column, "landmark", "x", "y"], *lines))
    found = read_all_landmarks([path])
    assert list(found.faces) == ["f0", "f1", "f2"] and found.warnings == []
    same(found.faces["f2"], FACE + 2)


@pytest.mark.parametrize("names", [
    [f"l{i}" for i in range(N)], ["eye" if i < 12 else "jaw" for i in range(N)],
], ids=["names", "parts"])
def test_names_of_landmarks_are_none_of_faces(names, tmp_path):
    lines = [[names[i], i + 1, *FACE[i]] for _ in range(2) for i in range(N)]
    with pytest.raises(ValueError, match=r"a\.csv: line 2 and on: landmark 1 comes twice; name the "
                                         "face in a column face, image, file or frame$"):
        read_landmarks(write(tmp_path / "a.csv", rows(["name", "landmark", "x", "y"], *lines)))


def test_numbers_of_rows_called_id_are_told(tmp_path):
    lines = [[k, k // N, k % N, *FACE[k % N]] for k in range(2 * N)]
    path = write(tmp_path / "a.csv", rows(["id", "face", "landmark", "x", "y"], *lines))
    found = read_all_landmarks([path])
    assert list(found.faces) == ["a#0", "a#1"]
    assert found.warnings == [f"warning: {path}: columns not used: id"]


def test_wide_columns_that_are_not_used_are_told_but_for_those_of_openface(tmp_path):
    header = [*WIDE, "age", "confidence", *(f"c{i}" for i in range(40)), *(f"X{i}" for i in "01")]
    text = rows(header, [*FACE.ravel(), 30, 0.9, *[0.1] * 40, 5, 5])
    found = read_all_landmarks([write(tmp_path / "a.csv", text)])
    same(found.faces["a"], FACE)  # 40 of 68 landmarks have a confidence
    assert [line.split("csv: ")[1] for line in found.warnings] == [
        "columns not used: age, c0, c1 and 40 more"]
    frames = openface([(1, 0, 0, 1, 1, FACE)])
    for text in (frames, frames.replace("success", "gaze_0_x"), frames.replace("X_", "AU")):
        assert read_all_landmarks([write(tmp_path / "b.csv", text)]).warnings == []


def test_percents_are_no_confidences(tmp_path):
    percents = (100 * CONFIDENT).tolist()
    path = write(tmp_path / "a.json", [{"keypoints": FACE.tolist(), "keypoint_scores": percents}])
    with pytest.raises(ValueError, match=r"a\.json: .*confidence: expected from 0 to 1, got 90"):
        read_landmarks(path)
    np.savez(tmp_path / "b.npz", points=[FACE, FACE], confidence=[CONFIDENT, percents])
    found = read_all_landmarks([tmp_path / "b.npz"])
    assert len(found.faces) == 1
    assert "b.npz: confidence: expected from 0 to 1, got 90" in found.left_out[0]


def test_percents_of_faces_are_no_confidences(tmp_path):
    text = rows(["confidence", *WIDE], *[[c, *FACE.ravel()] for c in (95, 0.9, 10)])
    found = read_all_landmarks([write(tmp_path / "a.csv", text)])
    assert list(found.faces) == ["a#1"]
    assert [line.split("csv: ")[1] for line in found.left_out] == [
        "line 2: confidence: expected from 0 to 1, got 95",
        "line 4: confidence: expected from 0 to 1, got 10"]
    coco = {"keypoints": [v for point in FACE.tolist() for v in (*point, 0.9)], "score": 10}
    for content in ({"landmarks": FACE.tolist(), "confidence": 95}, [coco]):
        with pytest.raises(ValueError, match="confidence: expected from 0 to 1, got "):
            read_landmarks(write(tmp_path / "a.json", content))


PEAKS = np.where(np.arange(N) == 30, 1.03, CONFIDENT)  # of a heat map


@pytest.mark.parametrize(("peak", "hidden"), [(1.03, [5]), (95, None)])
def test_third_numbers_are_a_confidence_where_the_file_says_so(peak, hidden, tmp_path):
    numbers = np.column_stack([FACE, np.where(np.arange(N) == 30, peak, CONFIDENT)])
    for content in ({"people": [{"face_keypoints_2d": numbers.ravel().tolist()}]},
                    {"annotations": [{"face_kpts": numbers.ravel().tolist()}]},
                    [{"keypoints": numbers.ravel().tolist(), "score": 0.9}]):
        path = write(tmp_path / "a.json", content)
        if hidden is None:
            with pytest.raises(ValueError, match="confidence: expected from 0 to 1, got 95"):
                read_landmarks(path)
        else:
            found = read_all_landmarks([path])
            np.testing.assert_array_equal(np.flatnonzero(~found.faces["a"].visible), hidden)
            assert found.warnings == []


@pytest.mark.parametrize("kind", ["02", "03", ".3e", ".1f", ""])
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_before_points_however_they_are_written(kind, first, tmp_path):
    lines = [[format(float(i) if kind[:1] == "." else i, kind), *point]
             for i, point in enumerate(FACE, first)][::-1]
    same(read_landmarks(write(tmp_path / "a.txt", rows(*lines, delimiter=" ")))["a"], FACE)
    text = "n_points: 68\n{\n" + rows(*lines, delimiter=" ") + "}\n"
    same(read_landmarks(write(tmp_path / "a.pts", text))["a"], FACE - 1)
    whole = "".join(f"{number} {round(x)},{round(y)}\n" for number, x, y in lines)
    same(read_landmarks(write(tmp_path / "a.txt", whole))["a"], np.round(FACE))
    text = rows(*lines[:5:-1], *lines[4::-1], delimiter=" ")
    line = f"67 landmarks numbered from {first} to {67 + first}, expected all of them"
    with pytest.raises(ValueError, match=line):
        read_landmarks(write(tmp_path / "a.txt", text))


NUMBERS_OF_LANDMARKS = ["{}.0", "lm {}", "pt-{}", "pt_{}.0", "#{}", "[{}]", "({})", "{}.000e+00",
                        "Landmark #{}"]


@pytest.mark.parametrize("text", NUMBERS_OF_LANDMARKS)
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_landmarks_however_they_are_written(text, first, tmp_path):
    names = [text.format(i) if "e" not in text or "L" in text else f"{i:.3e}"
             for i in range(first, N + first)]
    table = [[name, *point] for name, point in zip(names, FACE, strict=True)]
    path = tmp_path / "a.csv"
    same(read_landmarks(write(path, rows(["landmark", "x", "y"], *table[::-1])))["a"], FACE)
    for lines in (table, table[::-1]):
        part = [line for line in lines if line[0] != names[5]]
        same(read_landmarks(write(path, rows(["landmark", "x", "y"], *part)))["a"], without(5))
    damaged = [["?", *line[1:]] if line[0] == names[5] else line for line in table[::-1]]
    with pytest.raises(ValueError, match="line 64: no number of a landmark"):
        read_landmarks(write(path, rows(["landmark", "x", "y"], *damaged)))
    with pytest.raises(ValueError, match="column 'label' has the numbers of landmarks in another"):
        read_landmarks(write(path, rows(["label", "x", "y"], *table[::-1])))
    points = [{"id": name, "x": x, "y": y} for name, x, y in table]
    same(read_landmarks(write(tmp_path / "b.json", points[::-1]))["b"], FACE)
    by_name = {name: point for name, *point in table[::-1]}
    same(read_landmarks(write(tmp_path / "b.json", by_name))["b"], FACE)


@pytest.mark.parametrize("names", [
    [f"{i:02}" for i in range(1, N + 1)], [f"p{i}" for i in range(N)],
    [f"lm {i}" for i in range(1, N + 1)], topologies.get("ibug68").landmarks])
def test_parts_of_dlib_in_any_order(names, tmp_path):
    def box(name, start, points, skip=()):
        parts = [f"<part name='{names[i]}' x='{x}' y='{y}'/>"
                 for i, (x, y) in enumerate(points) if i not in skip][::start]
        return f"<image file='{name}.jpg'><box>{''.join(parts)}</box></image>"

    text = f"<images>{box('p', -1, FACE)}{box('q', 1, FACE + 1)}{box('r', -1, FACE, [5])}</images>"
    faces = read_landmarks(write(tmp_path / "a.xml", text))
    same(faces["p"], FACE)
    same(faces["q"], FACE + 1)
    same(faces["r"], without(5))


def test_parts_of_dlib_under_other_names_keep_one_order(tmp_path):
    parts = [f"<part name='{name}' x='5' y='6'/>" for name in ("nose", "eye", "ear")]
    boxes = "".join(f"<box>{''.join(each)}</box>" for each in (parts, parts[::-1], parts))
    found = read_all_landmarks([write(tmp_path / "a.xml", f"<image file='p'>{boxes}</image>")])
    assert list(found.faces) == ["p#0", "p#2"]
    assert "box 1 of 'p': parts in another order than in the first box" in found.left_out[0]


@pytest.mark.parametrize("names", [("landmarks_2d", "landmarks_3d"), ("kpts", "world3D")])
def test_faces_in_space_beside_those_of_the_picture_are_told(names, tmp_path):
    arrays = dict(zip(names, [FACE, np.column_stack([FACE, FACE[:, 0]])], strict=True))
    np.savez(tmp_path / "a.npz", **arrays)
    write(tmp_path / "b.json", {name: array.tolist() for name, array in arrays.items()})
    found = read_all_landmarks([tmp_path])
    assert list(found.faces) == ["a", names[0]]
    for face in found.faces.values():
        same(face, FACE)
    assert found.warnings == [
        f"warning: {tmp_path / file}: not used beside landmarks in 2D: {names[1]}"
        for file in ("a.npz", "b.json")]
    np.savez(tmp_path / "a.npz", **{names[1]: arrays[names[1]]})
    same(read_landmarks(tmp_path / "a.npz")["a"], FACE)


def labelme(groups, label=str):
    shapes = [{"label": label(i), "points": [point], "group_id": group, "shape_type": "point",
               "flags": {"occluded": i == 5}}
              for group, points in groups.items() for i, point in enumerate(points.tolist())]
    box = {"label": "face", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"}
    return {"version": "5.0", "flags": {}, "shapes": [box, *shapes[::-1]],
            "imagePath": "..\\img\\p.jpg", "imageData": None, "imageHeight": 400, "imageWidth": 400}


def test_points_of_labelme(tmp_path):
    path = tmp_path / "a.json"
    for label in (str, "p{}".format, lambda i: i + 1):
        content = labelme({None: FACE}, label)
        found = read_all_landmarks([write(path, content)])
        np.testing.assert_array_equal(found.faces["p"].points, FACE)
        assert list(np.flatnonzero(~found.faces["p"].visible)) == [5]
        assert found.warnings == [f"warning: {path}: shapes not used: rectangle"]
    del content["shapes"][4]
    assert list(np.flatnonzero(~read_landmarks(write(path, content))["p"].visible)) == [5, 64]
    faces = read_landmarks(write(path, labelme({2: FACE, 1: FACE + 1})))
    np.testing.assert_array_equal(faces["p#0"].points, FACE + 1)
    np.testing.assert_array_equal(faces["p#1"].points, FACE)
    with pytest.raises(ValueError, match=r"a\.json: two points of LabelMe with one label, give"):
        read_landmarks(write(path, labelme({None: np.vstack([FACE, FACE])}, lambda i: i % N)))
    with pytest.raises(ValueError, match=r"a\.json: no points among LabelMe's shapes"):
        read_landmarks(write(path, labelme({})))


BOX = {"x": 90, "y": 95, "width": 220, "height": 210}


@pytest.mark.parametrize("field", ["landmarks", "keypoints", "points", "face_landmarks", "kps"])
@pytest.mark.parametrize("count", [1, 2, N])
@pytest.mark.parametrize("points", [FACE.tolist(), xy(FACE)])
@pytest.mark.parametrize("around", ["faces", None])
def test_boxes_with_landmarks_are_faces(field, count, points, around, tmp_path):
    boxes = [{**BOX, field: points} for _ in range(count)]
    content = {around: boxes} if around else boxes
    faces = read_landmarks(write(tmp_path / "a.json", content))
    assert len(faces) == count
    for face in faces.values():
        same(face, FACE)
    if not around:
        (face,) = read_landmarks(write(tmp_path / "a.json", boxes[0])).values()
        same(face, FACE)


def test_points_may_have_colours_and_numbers(tmp_path):
    points = [{"landmark": i, "color": [255, 0, 0], "by": {"name": "ada", "role": "none"}, **point}
              for i, point in enumerate(xy(FACE))]
    same(read_landmarks(write(tmp_path / "a.json", points[::-1]))["a"], FACE)


def test_numbers_of_points_may_be_floats(tmp_path):
    points = [{"id": float(i), **point} for i, point in enumerate(xy(FACE))]
    same(read_landmarks(write(tmp_path / "b.json", points[::-1]))["b"], FACE)
    points = [{"nr": float(i), **point} for i, point in enumerate(xy(FACE))]
    with pytest.raises(ValueError, match="key 'nr' has the numbers of landmarks in another order"):
        read_landmarks(write(tmp_path / "b.json", points[::-1]))


def test_numbers_of_rows_behind_a_word_are_none_of_landmarks(tmp_path):
    table = [[f"f{i // N}", f"row {i}", *point] for i, point in enumerate([*FACE, *FACE + 1])]
    faces = read_landmarks(write(tmp_path / "a.csv", rows(["face", "index", "x", "y"], *table)))
    same(faces["f1"], FACE + 1)


@pytest.mark.parametrize(("many", "few"), [(95, 3), (50, 0), (0.9, -0.5), (120.5, -80), (95, -1)])
def test_lists_of_keypoints_have_no_third_but_a_confidence(many, few, tmp_path):
    third = np.full(N, float(many))
    third[:10] = few
    numbers = np.column_stack([FACE, third])
    flat, other = numbers.ravel().tolist(), np.column_stack([FACE, PEAKS]).ravel().tolist()
    good = {"keypoints": other}
    wrong = few if few < 0 and few != -1 else many
    for content in ([{"keypoints": flat}, good], {"annotations": [{"face_kpts": flat}, good]},
                    {"people": [{"face_keypoints_2d": flat}, good]},
                    {"people": [{"face_keypoints_2d": numbers.tolist()}, good]}):
        found = read_all_landmarks([write(tmp_path / "a.json", content)])
        assert list(found.faces) == ["a#1"]
        (line,) = found.left_out
        assert f"a.json: a#0: confidence: expected from 0 to 1, got {wrong:g}" in line


def test_depths_of_keypoints_alone_are_told(tmp_path):
    for third in (np.linspace(30, 60, N), np.linspace(-0.5, 0.5, N)):
        content = {"keypoints": np.column_stack([FACE, third]).ravel().tolist()}
        found = read_all_landmarks([write(tmp_path / "a.json", content)])
        same(found.faces["a"], FACE)
        assert found.warnings == [f"warning: {tmp_path / 'a.json'}: the third numbers of "
                                  "'keypoints' are taken as depths"]


def test_keypoints_of_minus_1_are_hidden(tmp_path):
    third = np.ones(N)
    third[5] = -1
    numbers = np.column_stack([FACE, third]).ravel().tolist()
    face = read_landmarks(write(tmp_path / "a.json", [{"keypoints": numbers}]))["a"]
    assert list(np.flatnonzero(~face.visible)) == [5]


def test_peaks_above_1_are_a_confidence_beside_faces_in_pixels(tmp_path):
    numbers = np.column_stack([FACE, PEAKS])
    np.save(tmp_path / "a.npy", numbers)
    write(tmp_path / "b.txt", rows(*numbers, delimiter=" "))
    found = read_all_landmarks([tmp_path])
    assert [list(np.flatnonzero(~face.visible)) for face in found.faces.values()] == [[5], [5]]
    assert all("are taken as their confidence" in line for line in found.warnings)
    np.save(tmp_path / "a.npy", np.column_stack([FACE / 100, PEAKS]))  # as deep as a face
    assert read_landmarks(tmp_path / "a.npy")["a"].visible.all()


# Marks of thousands.

THREE = np.round(np.random.default_rng(2).uniform(1, 9, (N, 2)), 3) + 0.001 * (np.arange(2) + 1)


def with_marks(change=lambda i, text: text, mark=".", delimiter=";"):
    """A table of numbers with three decimals, of which those of some rows are others."""
    cells = [[change(i, f"{x:.3f}").replace(".", mark) for x in point]
             for i, point in enumerate(THREE)]
    return rows(["x", "y"], *cells, delimiter=delimiter)


MAY_BE = {
    "beside whole numbers": with_marks(lambda i, text: "950" if i == 5 else text),
    "commas beside whole numbers": with_marks(lambda i, text: "950" if i == 5 else text, ","),
    "tabs": with_marks(lambda i, text: "950" if i == 5 else text, delimiter="\t"),
    "beside decimal commas": with_marks(lambda i, text: "950,5" if i == 5 else text),
    "commas beside decimal points": with_marks(mark=",").replace("\n", "\n1.5;2.5\n", 1),
}


@pytest.mark.parametrize("case", MAY_BE)
def test_numbers_that_may_have_marks_of_thousands_are_refused(case, tmp_path):
    with pytest.raises(ValueError, match=r"line \d: '(\d)[.,](\d{3})' may be \1\2 or \1\.\2, "):
        read_landmarks(write(tmp_path / "a.csv", MAY_BE[case]))
    header, *lines = MAY_BE[case].splitlines()
    mark = ";" if ";" in header else "\t"
    wide = rows([f"{axis}{i}" for i in range(len(lines)) for axis in "xy"], lines, delimiter=mark)
    with pytest.raises(ValueError, match=r"line 2: .* may be "):
        read_landmarks(write(tmp_path / "a.csv", wide))


@pytest.mark.parametrize("text", [
    with_marks(), with_marks(mark=","), with_marks(lambda i, text: "0" if i == 5 else text),
    with_marks(lambda i, text: "1950" if i == 5 else text),
    with_marks(lambda i, text: "950" if i == 5 else text[:-1] if i == 6 else text),
    with_marks(lambda i, text: "950" if i == 5 else text, delimiter=","),
    with_marks(lambda i, text: "0.950" if i == 5 else "3" if i == 6 else text),
], ids=["points", "commas", "hidden", "a large one", "two decimals", "between commas", "below 1"])
def test_decimals_that_are_no_marks_of_thousands_are_read(text, tmp_path):
    points = read_landmarks(write(tmp_path / "a.csv", text))["a"].points
    np.testing.assert_allclose(points[7:], THREE[7:], atol=1e-9)


# Trackers.


def deeplabcut(parts, points, numbers, index=("",)):
    """DeepLabCut's layout: three rows of a header, then one for each frame of (F, N, 2) points."""
    each = len(numbers[0]) // len(parts)
    return rows(["scorer", *index[1:], *["net"] * len(parts) * each],
                ["bodyparts", *index[1:], *[part for part in parts for _ in range(each)]],
                ["coords", *index[1:], *["x", "y", "likelihood"][:each] * len(parts)],
                *[[*first, *row] for first, row in zip(points, numbers, strict=True)])


@pytest.mark.parametrize("parts", [
    [f"lm{i}" for i in range(N)], list(topologies.get("ibug68").landmarks),
    [f"{i % 7}, {i}" for i in range(N)]], ids=["numbers", "topology", "others"])
def test_frames_of_deeplabcut(parts, tmp_path):
    order = np.arange(N) if parts[0] == "0, 0" else np.arange(N)[::-1]
    row = np.column_stack([FACE, CONFIDENT])[order].ravel()
    parts = [f'"{parts[i]}"' for i in order]
    path = write(tmp_path / "v.csv", deeplabcut(parts, [[0], [1], [7]], [row, row + 0, row]))
    found = read_all_landmarks([path])
    assert [face.frame for face in found.faces.values()] == [0, 1, 7] and found.warnings == []
    for face in found.faces.values():
        np.testing.assert_array_equal(np.flatnonzero(~face.visible), [5])
        np.testing.assert_allclose(face.points, FACE)
    names = [["labeled-data", "v", f"img{i}.png"] for i in range(2)]
    path = write(tmp_path / "l.csv", deeplabcut(parts, names, [FACE[order].ravel()] * 2, [""] * 3))
    assert list(read_landmarks(path)) == ["img0.png", "img1.png"]
    path = write(path, path.read_text().replace("img1.png,", "img1.png,z"))
    assert "l.csv: line 5: 'z" in read_all_landmarks([path]).left_out[0]


def test_tracks_times_and_success_of_openface(tmp_path):
    frames = [(frame, who, (frame - 1) / 25, 0.98, 1, FACE + who) for who in (0, 1)
              for frame in (1, 2, 12, 29)]
    frames[2] = (12, 0, 11 / 25, 0.03, 0, FACE)
    frames[7] = (29, 1, 28 / 25, 0.05, 1, FACE)
    found = read_landmarks(write(tmp_path / "v.csv", openface(frames)))
    assert list(found)[:2] == ["v face 0#0", "v face 0#1"] and list(found)[-1] == "v face 1#3"
    assert {face.track for face in found.values()} == {"v face 0", "v face 1"}
    faces = list(found.values())
    assert [face.seconds for face in faces[:4]] == [0, 0.04, 0.44, 1.12]
    assert [face.frame for face in faces[:4]] == [0, 1, 11, 28]
    assert [face.frame_number for face in faces[:4]] == [1, 2, 12, 29]
    assert [bool(face.visible.any()) for face in faces] == [True, True, False, *[True] * 4, False]
    same(faces[4], FACE + 1)
    assert faces[0].confidence == 0.98


def test_one_track_is_named_like_its_file(tmp_path):
    text = openface([(i, 3, i / 30, 1, 1, FACE) for i in (1, 2)])
    found = read_landmarks(write(tmp_path / "v.csv", text))
    assert {name: face.track for name, face in found.items()} == {"v#0": "v", "v#1": "v"}


def test_long_tables_of_a_tracker(tmp_path):
    lines = [[frame, who, i, *(point + who)] for frame in (4, 7) for who in (0, 1)
             for i, point in enumerate(FACE)]
    path = write(tmp_path / "v.csv", rows(["frame", "track", "landmark", "x", "y"], *lines))
    found = read_landmarks(path)
    assert list(found) == ["v face 0#0", "v face 1#0", "v face 0#1", "v face 1#1"]
    assert [face.frame for face in found.values()] == [0, 0, 3, 3]
    same(found["v face 1#1"], FACE + 1)


NO_FACE = {
    "MediaPipe, a result for each frame": [
        {"faceLandmarks": [xy(FACE)]}, {"faceLandmarks": []}, {"multi_face_landmarks": None},
        {"faceLandmarks": [xy(FACE)]}],
    "MMPose": {"instance_info": [
        {"frame_id": i + 1, "instances": [{"keypoints": FACE.tolist()}] if i in (0, 3) else []}
        for i in range(4)]},
    "faces": [FACE.tolist(), [], None, FACE.tolist()],
    "null beside the frame": {"frames": [
        {"frame": i, "landmarks": points} for i, points in
        enumerate([FACE.tolist(), None, [], FACE.tolist()])]},
    "csv": rows(WIDE, FACE.ravel(), [""] * 2 * N, [""] * 2 * N, FACE.ravel(), [""] * 2 * N),
}


@pytest.mark.parametrize("case", NO_FACE)
def test_frames_without_a_face_keep_their_place(case, tmp_path):
    path = write(tmp_path / ("v.csv" if case == "csv" else "v.json"), NO_FACE[case])
    found = read_all_landmarks([path])
    stem = "frames" if case == "null beside the frame" else "v"
    assert list(found.faces) == [f"{stem}#{i}" for i in range(4)] and not found.left_out
    assert [int(face.visible.sum()) for face in found.faces.values()] == [N, 0, 0, N]
    assert [len(face) for face in found.faces.values()] == [N] * 4
    frames = [face.frame for face in found.faces.values()]
    assert frames == ([None] * 4 if case in ("faces", "csv") else [0, 1, 2, 3])


def test_two_faces_in_a_frame_have_one_time(tmp_path):
    result = {"faceLandmarks": [xy(FACE), xy(FACE)]}
    found = read_landmarks(write(tmp_path / "v.json", [result, result]))
    assert [face.frame for face in found.values()] == [0, 0, 1, 1]  # which bin/reconstruct refuses


def test_frames_without_a_face_belong_to_no_track(tmp_path):
    frames = [{"frame": i, "faces": [{"landmarks": FACE.tolist(), "track": 7}] if i != 1 else []}
              for i in range(3)]
    found = read_all_landmarks([write(tmp_path / "v.json", frames)])
    assert [(face.frame, face.track) for face in found.faces.values()] == [(0, "v"), (2, "v")]
    assert len(found.left_out) == 1 and "no landmarks" in found.left_out[0]


# Places that mean hidden.


@pytest.mark.parametrize(("change", "hidden"), [
    (lambda p: p - p.mean(0), 0),  # around the origin: negative pairs are points
    (lambda p: p - p[30], 0),  # the nose at the origin
    (lambda p: p - p.max(0) - 5, 0),  # all negative
    (lambda p: p - p.min(0) - 3, 0),  # across the corner of a picture
    (lambda p: np.zeros_like(p), N),  # no face
    (lambda p: np.where(np.arange(N)[:, None] < 20, 0, p), 20),
    (lambda p: np.where(np.arange(N)[:, None] < 20, -1, p - [150, 0]), 20),
], ids=["centred", "nose", "negative", "corner", "nothing", "zeros", "-1, negative x"])
def test_marks_of_hidden_landmarks(change, hidden):
    face, count = hide_marks(make_face(change(FACE)))
    assert count == hidden == (~face.visible).sum()
    assert np.isnan(face.points[~face.visible]).all()


def test_marks_are_told_unless_there_is_no_face(tmp_path):
    marked = FACE.copy()
    marked[:6] = 0
    np.save(tmp_path / "a.npy", np.stack([marked, np.zeros_like(FACE), FACE]))
    found = read_all_landmarks([tmp_path / "a.npy"])
    assert [line.split("npy: ")[1] for line in found.warnings] == [
        "6 landmarks at (0, 0), (-1, -1) or negative places taken as hidden: a#0"]
    np.save(tmp_path / "a.npy", FACE)
    assert read_all_landmarks([tmp_path / "a.npy"]).warnings == []


# Parts of width and height.

MESH = np.random.default_rng(1).uniform(0.3, 0.6, (478, 3)) - [0, 0, 0.45]
PIXELS = MESH * [1920, 1080, 1920]


def points_of(mesh, **more):
    return [{"x": x, "y": y, "z": z, **more} for x, y, z in mesh.tolist()]


MESHES = {
    "478 points": lambda: points_of(MESH),
    "with a visibility that is none": lambda: points_of(MESH, visibility=0),
    "faceLandmarks": lambda: {"faceLandmarks": [points_of(MESH)], "faceBlendshapes": []},
    "468, multi_face_landmarks": lambda: {
        "multi_face_landmarks": [{"landmark": points_of(MESH[:468])}]},
    "arrays": lambda: MESH.tolist(),
}


@pytest.mark.parametrize("case", MESHES)
def test_mediapipe_needs_the_size_of_the_picture(case, tmp_path):
    path = write(tmp_path / "a.json", MESHES[case]())
    with pytest.raises(ValueError, match=r"a\.json: MediaPipe's .* \(--image_size=WIDTH,HEIGHT\)"):
        read_landmarks(path)
    for size in ((1920, 1080), lambda name: {"a": (1920, 1080)}[name]):
        (face,) = read_landmarks(path, image_size=size).values()
        np.testing.assert_allclose(face.points, PIXELS[: len(face), :2])
        np.testing.assert_allclose(face.depth, PIXELS[: len(face), 2])
        assert face.visible.all()


def test_mediapipe_faces_without_a_picture_leave_those_with_one(tmp_path):
    path = write(tmp_path / "a.json", {"p": points_of(MESH), "q": points_of(MESH)})
    found = read_all_landmarks([path], image_size={"p": (1920, 1080)}.get)
    assert list(found.faces) == ["p"] and found.warnings == []
    assert found.left_out[0].startswith(f"{path}: q: MediaPipe's landmarks are parts")


@pytest.mark.parametrize("size", [
    {"image_size": [1920, 1080]}, {"width": 1920, "height": 1080},
])
def test_the_size_of_the_picture_in_the_file(size, tmp_path):
    content = {"faceLandmarks": [points_of(MESH), points_of(MESH)], **size}
    path = write(tmp_path / "a.json", content)
    for flag in (None, (640, 480)):  # of the two, the file knows
        found = read_landmarks(path, image_size=flag)
        assert list(found) == ["a#0", "a#1"]
        for face in found.values():
            np.testing.assert_allclose(face.points, PIXELS[:, :2])
            np.testing.assert_allclose(face.depth, PIXELS[:, 2])
    box = {"faceLandmarks": [points_of(MESH)], "x": 1, "y": 2, **size}
    if "width" in size:
        with pytest.raises(ValueError, match="parts of the picture's width and height"):
            read_landmarks(write(path, box))


def test_parts_of_a_picture_are_told_and_scaled(tmp_path):
    np.save(tmp_path / "a.npy", FACE / [1920, 1080])
    found = read_all_landmarks([tmp_path / "a.npy"])
    assert "lie within [0, 1]" in found.warnings[0] and "--image_size" in found.warnings[0]
    same(found.faces["a"], FACE / [1920, 1080])
    found = read_all_landmarks([tmp_path / "a.npy"], image_size=(1920, 1080))
    same(found.faces["a"], FACE)
    assert found.warnings == []
    np.save(tmp_path / "a.npy", FACE)
    same(read_landmarks(tmp_path / "a.npy", image_size=(1920, 1080))["a"], FACE)


@pytest.mark.parametrize("spoilt", [(), (0,), range(6)], ids=["none", "one", "six"])
def test_single_landmarks_and_faces_outside_leave_parts_told_and_scaled(spoilt, tmp_path):
    parts = np.stack([FACE / [1920, 1080], FACE / [960, 540]])
    parts[0, list(spoilt)] = [1.7, 90]
    np.save(tmp_path / "a.npy", np.stack([*parts, FACE]))
    (line,) = read_all_landmarks([tmp_path / "a.npy"]).warnings
    assert "nearly all landmarks of a#0, a#1 lie within [0, 1]" in line
    found = read_all_landmarks([tmp_path / "a.npy"], image_size=(1920, 1080))
    assert found.warnings == []
    for face, expected in zip(found.faces.values(), [*parts * [1920, 1080], FACE], strict=True):
        same(face, expected)


def test_parts_from_the_middle_are_told_and_kept(tmp_path):
    near, far = FACE / [1920, 1080], FACE / [1920, 1080] - 0.9  # the first could be from the edge
    np.save(tmp_path / "a.npy", np.stack([near, far]))
    for size in (None, (1920, 1080)):
        found = read_all_landmarks([tmp_path / "a.npy"], image_size=size)
        assert len(found.warnings) == 1
        assert "nearly all landmarks lie within [-1, 1]" in found.warnings[0]
        same(found.faces["a#0"], near)
        same(found.faces["a#1"], far)


@pytest.mark.parametrize("change", [
    lambda p: (p - p.mean(0)) / 200,
    lambda p: (p - (p.min(0) + p.max(0)) / 2) / 100,
    lambda p: (p - p[30]) / 300,
    lambda p: (p - p.mean(0)) / p.std(0),
    lambda p: p / 10 - [15, 15],
], ids=["mean", "middle", "nose", "standardized", "millimetres"])
def test_faces_around_the_origin_are_no_parts(change, tmp_path):
    np.save(tmp_path / "a.npy", change(FACE))
    assert read_all_landmarks([tmp_path / "a.npy"]).warnings == []


def test_tps_counts_from_the_lower_edge(tmp_path):
    upward = without(3) * [1, -1] + [0, 500]
    upward[3] = -1
    text = tps(upward, "IMAGE=img\\a.jpg\nID=0\n") + tps(upward, "ID=b\n")
    path = write(tmp_path / "s.tps", text)
    found = read_landmarks(path, image_size=(640, 500))
    assert list(found) == ["a", "b"]
    for face in found.values():
        same(face, without(3))


# Names, order, and one bad face.


def test_natural_order(tmp_path):
    for i in (1, 2, 10, 9):
        np.save(tmp_path / f"frame{i}.npy", FACE + i)
    expected = ["frame1", "frame2", "frame9", "frame10"]
    assert [file.stem for file in list_landmark_files(tmp_path)] == expected
    assert list(read_all_landmarks([tmp_path]).faces) == expected
    assert list(read_all_landmarks(sorted(tmp_path.iterdir())).faces) == expected  # a shell's *
    reverse = sorted(tmp_path.iterdir(), reverse=True)
    assert list(read_all_landmarks(reverse).faces) == [file.stem for file in reverse]
    keys = {f"frame{i}": FACE.tolist() for i in (1, 10, 2)}
    assert list(read_landmarks(write(tmp_path / "v.json", keys))) == ["frame1", "frame2", "frame10"]
    lines = [[f"f{i}.png", *(FACE + i).ravel()] for i in (1, 10, 2)]
    path = write(tmp_path / "w.csv", rows(["image", *WIDE], *lines))
    assert list(read_landmarks(path)) == ["f1.png", "f2.png", "f10.png"]
    assert sorted(["b", "a10", "a9", "a", "9"], key=natural_key) == ["9", "a", "a9", "a10", "b"]


def test_folders_take_texts_however_they_begin(tmp_path):
    lines = rows(*FACE, delimiter=" ")
    texts = {
        "a": "# x y\n" + lines,
        "b": "// x y\n\n" + lines,
        "c": "nan nan\n" + rows(*FACE[1:], delimiter=" "),
        "d": "#N/A #N/A\n" + rows(*FACE[1:], delimiter=" "),
        "e": ".07 -.5\n" + rows(*FACE[1:], delimiter=" "),
        "f": rows(*[["nan", "nan"]] * N, delimiter=" "),
    }
    for name, text in texts.items():
        write(tmp_path / f"{name}.txt", text)
    write(tmp_path / "g.txt", lines, encoding="utf-16")
    write(tmp_path / "list.txt", rows(["a.jpg", *FACE.ravel()], delimiter=" "))
    write(tmp_path / "old.txt", "\n".join(f"{x} {y} \xe9" for x, y in FACE), encoding="latin-1")
    write(tmp_path / "LICENCE.txt", "Use them as you like.\n- none\n")
    write(tmp_path / "README.txt", "# Faces, 2020 2021\n\n- 68 landmarks each\n1. of 20 people\n")
    write(tmp_path / "words.txt", "".join(f"x={x} y={y}\n" for x, y in FACE))
    found = read_all_landmarks([tmp_path])
    assert list(found.faces) == [*"abcdefg"]
    same(found.faces["a"], FACE)
    same(found.faces["c"], without(0))
    refused, encoded = found.left_out
    assert "list.txt: line 1: 137 numbers, expected x and y in turn" in refused
    assert "old.txt: cannot be read: line 1: no UTF-8" in encoded
    assert found.warnings == [
        f"warning: {tmp_path / name}: not taken for landmarks, no line has more numbers than words"
        for name in ("README.txt", "words.txt")]


def test_parquet_files_among_others_are_left_out_by_name(tmp_path):
    np.save(tmp_path / "a.npy", FACE)
    for name in ("p10.parquet", "p2.parquet", ".p.parquet"):
        write(tmp_path / name, "")
    found = read_all_landmarks([tmp_path])
    assert list(found.faces) == ["a"]
    assert found.left_out == [f"{tmp_path}: p2.parquet, p10.parquet not read with other "
                              "landmarks; give Parquet files in a call of their own"]


def test_faces_of_one_picture(tmp_path):
    lines = [[name, *(FACE + i).ravel()] for i, name in
             enumerate(["img/p.jpg", "img/p.jpg", "img/q.jpg"])]
    path = write(tmp_path / "a.csv", rows(["image", *WIDE], *lines))
    found = read_landmarks(path)
    assert list(found) == ["p.jpg#0", "p.jpg#1", "q.jpg"]
    same(found["p.jpg#1"], FACE + 1)


def test_numbered_faces_of_a_picture_are_named_like_their_file(tmp_path):
    for picture in "ab":
        lines = [[i, *(FACE + i).ravel()] for i in range(2)]
        write(tmp_path / f"{picture}.csv", rows(["face", *WIDE], *lines))
    assert list(read_all_landmarks([tmp_path]).faces) == ["a#0", "a#1", "b#0", "b#1"]
    path = write(tmp_path / "c.csv", rows(["id", *WIDE], [7, *FACE.ravel()], [9, *FACE.ravel()]))
    assert list(read_landmarks(path)) == ["c#7", "c#9"]


def test_names_twice_are_told_apart(tmp_path):
    text = json.dumps({"a": FACE.tolist(), "b": FACE.tolist()}).replace('"b"', '"a"')
    found = read_landmarks(write(tmp_path / "a.json", text))
    assert list(found) == ["a#0", "a#1"]
    assert tell_apart(["a", "a", "a#0"]) == ["a#0#0", "a#1", "a#0#1"]
    with pytest.raises(ValueError, match="'landmarks' in an object with a name twice"):
        read_landmarks(write(tmp_path / "a.json", '{"landmarks": [[1, 2]], "landmarks": [[3, 4]]}'))


def test_a_file_given_again_is_read_once(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, FACE)
    found = read_all_landmarks([path, tmp_path / "." / "a.npy", tmp_path])
    assert list(found.faces) == ["a"]
    assert found.warnings == ["warning: 2 of 3 files are given again; each is read once"]


BAD = {
    "wide": ("a.csv", rows(WIDE, FACE.ravel(), ["x", *FACE.ravel()[1:]], FACE.ravel()),
             "line 3: 'x', expected a number"),
    "wide, below Excel's sep=": (
        "a.csv", "sep=,\n" + rows(WIDE, FACE.ravel(), ["x", *FACE.ravel()[1:]], FACE.ravel()),
        "line 4: 'x', expected a number"),
    "wide, cut off": ("a.csv", rows(WIDE, FACE.ravel(), FACE.ravel()[:9], FACE.ravel()),
                      "line 3: 9 cells, expected 136"),
    "long": ("a.csv", rows(["face", "landmark", "x", "y"], *[
        [face, 3 if (face, i) == (1, 5) else i, *point] for face in range(3)
        for i, point in enumerate(FACE)]), "line 70 and on: landmark 3 comes twice"),
    "json": ("a.json", {"p": FACE.tolist(), "q": "none", "r": FACE.tolist()},
             "'q' is not a table of numbers, expected (N, 2) or (faces, N, 2)"),
    "json, list": ("a.json", [xy(FACE), [{"x": 1, "y": "b"}], xy(FACE)],
                   "a#1: 'a' is not a table of numbers, expected (N, 2) or (faces, N, 2)"),
    "tps": ("a.tps", tps(FACE) + tps(FACE).replace("LM=68", "LM=69") + tps(FACE),
            "line 70: 68 points where LM says 69"),
}  # fmt: skip


_BOX = imglib(FACE)[imglib(FACE).index("<box"):imglib(FACE).index("</image>")]


@pytest.mark.parametrize(("file", "content"), [
    ("a.csv", rows(WIDE, FACE.ravel(), ["x", *FACE.ravel()[1:]], FACE.ravel())),
    ("a.csv", rows(WIDE, FACE.ravel(), FACE.ravel()[:9], FACE.ravel())),
    ("a.csv", rows(FACE.ravel(), ["x", *FACE.ravel()[1:]], FACE.ravel())),
    ("a.txt", rows(FACE.ravel(), ["x", *FACE.ravel()[1:]], FACE.ravel(), delimiter=" ")),
    ("a.json", [xy(FACE), [{"x": 1, "y": "b"}], xy(FACE)]),
    ("a.json", [{"landmarks": FACE.tolist()}, {"landmarks": None}, {"landmarks": FACE.tolist()}]),
    ("a.tps", tps(FACE) + tps(FACE).replace("LM=68", "LM=69") + tps(FACE)),
    ("a.xml", imglib(FACE).replace(_BOX, _BOX + _BOX.replace(" x='", " x='a", 1) + _BOX)),
], ids=["csv", "csv, cut off", "csv without a header", "txt", "json", "json of null", "tps", "xml"])
def test_a_bad_face_keeps_its_number(file, content, tmp_path):
    found = read_all_landmarks([write(tmp_path / file, content)])
    assert [name[-2:] for name in found.faces] == ["#0", "#2"]
    assert len(found.left_out) == 1


def test_a_bad_number_in_the_first_row_is_no_header(tmp_path):
    content = rows(["7a", *FACE.ravel()[1:]], FACE.ravel(), [*FACE.ravel()[:3], "b", *[1] * 132])
    found = read_all_landmarks([write(tmp_path / "a.csv", content)])
    assert list(found.faces) == ["a#1"]
    assert [line.partition(": ")[2] for line in found.left_out] == [
        "line 1: '7a', expected a number", "line 3: 'b', expected a number"]


def test_a_number_of_each_row_of_a_table_is_none_of_a_landmark(tmp_path):
    lines = [[2 * N - 1 - k, k // N, *FACE[k % N]] for k in range(2 * N)]
    found = read_landmarks(write(tmp_path / "a.csv", rows(["index", "face", "x", "y"], *lines)))
    assert list(found) == ["a#0", "a#1"]
    for face in found.values():
        same(face, FACE)


def test_numbered_columns_behind_a_name_are_no_face(tmp_path):
    lines = [[f"{name}.jpg", *FACE.ravel()] for name in "pq"]
    path = write(tmp_path / "a.csv", rows(["image", *range(2 * N)], *lines))
    assert list(read_landmarks(path)) == ["p.jpg", "q.jpg"]


@pytest.mark.parametrize("case", BAD)
def test_one_bad_face_leaves_its_neighbours(case, tmp_path):
    file, content, reason = BAD[case]
    found = read_all_landmarks([write(tmp_path / file, content)])
    assert len(found.faces) == 2 and all(face.visible.all() for face in found.faces.values())
    assert found.left_out == [f"{tmp_path / file}: {reason}"]


def test_each_face_of_a_pts_file_is_read(tmp_path):
    path = write(tmp_path / "a.pts", pts(FACE) + "\n" + pts(FACE + 1).replace("68", "70", 1)
                 + pts(FACE + 2) + "n_points: 68\n{\n1 2\n")
    found = read_all_landmarks([path])
    assert list(found.faces) == ["a#0", "a#2"]
    same(found.faces["a#0"], FACE)
    same(found.faces["a#2"], FACE + 2)
    assert found.left_out == [
        f"{path}: face 1: 68 points where the header says 70",
        f"{path}: face 3: cut off after 1 of 68 points, expected a '}}'"]


# What is refused.

SPACE = {"markups": [{"controlPoints": [{"position": [i, 2 * i, i * i]} for i in range(9)]}]}
REFUSED = {
    "flat": ("a.json", FACE.ravel().tolist(),
             r"shape \(136,\), which may be x and y of 68 landmarks in turn, expected \(N, 2\)"),
    "two flat faces": ("a.json", [FACE.ravel().tolist()] * 2,
                       r"shape \(2, 136\), which may be x and y of 68 landmarks in turn"),
    "three flat faces": ("a.json", {"landmarks": [FACE[17:].ravel().tolist()] * 3},
                         r"shape \(3, 102\), which may be x and y of 51 landmarks in turn"),
    "points by other names": ("a.json", {"landmark": {"nose": {"x": 1, "y": 2}}},
                              "'nose' is no number of a landmark, nor are all names those of a "),
    "parts of another model": ("a.json", dlib_parts(FACE) | {"nose_tip": [[1, 2]]},
                               "'nose_tip' is no list of 5 points"),
    "parts in another order": (
        "a.json", dlib_parts(FACE) | {"bottom_lip": FACE[48:60].tolist()},
        "'bottom_lip' has another landmark 54 than 'top_lip'"),
    "pts numbered as parts of others": (
        "a.pts", numbered_pts(17),
        "landmarks numbered from 17, expected from 0 or 1"),
    "txt with decimal commas": ("a.txt", rows(*np.round(FACE), delimiter="\t").replace(".", ","),
                                "line 1: .*,0', expected numbers with decimal points"),
    "txt with a decimal comma": (
        "a.txt", rows(*[[i, 2 * i] for i in range(N)], delimiter=" ") + "70 82,5\n",
        "line 69: '70 82,5', expected numbers with decimal points, or none with commas"),
    "a document type": ("a.xml", imglib(FACE, "<!DOCTYPE d [<!ENTITY a 'b'>]>"),
                        "cannot be read: it has a document type"),
    "no parts": ("a.xml", "<dataset/>", "no parts"),
    "no XML": ("a.xml", "<dataset>", "cannot be read: no element found"),
    "landmarks in space, Slicer": ("a.mrk.json", SPACE, "the points lie in space"),
    "another frame, Slicer": ("a.fcsv", fcsv(FACE, "IJK"), "coordinate system 'IJK'"),
    "landmarks in space, tps": ("a.tps", "LM3=1\n1 2 3\n", "line 1: landmarks in 3D"),
    "no tps": ("a.tps", "1 2\n", "no landmarks, expected 'LM=N'"),
    "csv: other words of what was seen": (
        "a.csv", rows(["x", "y", "visible"], *[[*point, "seen"] for point in FACE]),
        "line 2: 'seen', expected a number, or true or false"),
    "DeepLabCut of several animals": (
        "a.csv", rows(["scorer", "n", "n"], ["individuals", "a", "b"], ["bodyparts", "p", "p"]),
        "DeepLabCut's individuals in one table, expected a file for each"),
    "odd rows": ("a.txt", "1 2 3 4 5\n", "line 1: 5 numbers, expected x and y in turn"),
    "prose": ("a.txt", "see above\n", "landmark 0: 'see', expected a number"),
    "LJSON in space": ("a.ljson", {"landmarks": {"points": [[1, 2, 3]]}}, r"shape \(1, 3\)"),
    "visible of another length": ("a.json", {"points": FACE.tolist(), "visible": [1, 0]},
                                  r"visible has shape \(2,\), expected \(1,\) or \(1, 68\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_a_line(case, tmp_path):
    file, content, reason = REFUSED[case]
    path = write(tmp_path / file, content)
    with pytest.raises(ValueError, match=reason) as refusal:
        read_landmarks(path)
    assert str(refusal.value).startswith(f"{path}: ") and "\n" not in str(refusal.value)


@pytest.mark.parametrize("case", [*ONE_FACE, "OpenFace", "WFLW", *MESHES])
def test_damaged_files_are_read_or_refused_in_a_line(case, tmp_path):
    """Cut off or with changed bytes, a file never brings another error."""
    file, content, _ = ONE_FACE.get(case, ("a.json", None, []))
    if case == "OpenFace":
        file, content = "a.csv", openface([(i, 0, i / 30, 1, 1, FACE) for i in (1, 2)])
    elif case == "WFLW":
        file, content = "a.txt", wflw()
    content = MESHES[case]() if content is None else content
    text = content if isinstance(content, str) else json.dumps(content)
    rng = np.random.default_rng(len(case))
    for trial in range(30):
        damaged = bytearray(text.encode())
        for place in rng.integers(0, min(len(damaged), 600), 1 + trial % 4):
            damaged[place] = rng.choice(np.frombuffer(b'{}[]",:;<>=\n\0\xff-1.x n', np.uint8))
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(0, len(damaged))]
        path = tmp_path / file
        path.write_bytes(bytes(damaged))
        try:
            found = read_landmarks(path, image_size=(640, 480))
        except ValueError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        else:
            for face in found.values():
                assert face.points.ndim == 2 and face.points.shape[1] == 2
                assert face.visible.shape == (len(face),)
                assert np.isfinite(face.points[face.visible]).all()


JUNK = [None, "x", 0, -1, 1e308, True, [], {}, [[]], {"x": 1}, {"x": "a", "y": {}}, 10**30, [1, 2],
        [[1, 2], [3]], {"landmarks": 3}, {"points": [[1, 2]]}]
KEYS = ["frame", "visible", "confidence", "names", "track", "seconds", "groups", "markups", "faces"]


def changed(content, rng):
    """A JSON content with something else at one place, or under another key."""
    if not isinstance(content, list | dict) or not content or rng.random() < 0.2:
        return rng.choice(JUNK)
    content = content.copy()
    place = rng.choice(range(len(content))) if isinstance(content, list) else rng.choice([*content])
    if isinstance(content, dict) and rng.random() < 0.2:
        content[rng.choice(KEYS)] = content.pop(place)
    else:
        content[place] = changed(content[place], rng)
    return content


def test_json_of_another_structure_is_read_or_refused_in_a_line(tmp_path):
    contents = [content for _, content, _ in ONE_FACE.values() if not isinstance(content, str)]
    contents += [MESHES["faceLandmarks"](), {"faces": {"a": {"x2d": FACE.tolist(), "seconds": 1}}}]
    rng, path, refused = random.Random(0), tmp_path / "a.json", 0
    for _ in range(400):
        path.write_text(json.dumps(changed(changed(rng.choice(contents), rng), rng)))
        try:
            found = read_landmarks(path, image_size=(640, 480))
        except ValueError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        else:
            assert all(np.isfinite(face.points[face.visible]).all() for face in found.values())
    assert 100 < refused < 390


# Schemes.

IBUG68, FLAME51 = topologies.get("ibug68"), topologies.get("flame51")


def wflw():
    line = [*np.arange(196.0), 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, "37--Soccer/a.jpg"]
    return rows(line, line, delimiter=" ")


def test_68_to_51_and_133_to_68_are_exact():
    face = make_face(FACE, visible=np.arange(N) != 20)
    inner = schemes.convert(face, FLAME51)
    np.testing.assert_array_equal(inner.points, FACE[17:])
    np.testing.assert_array_equal(inner.visible, np.arange(17, N) != 20)
    assert schemes.convert(face, IBUG68) is face
    body = np.concatenate([np.ones((23, 2)), FACE, np.ones((42, 2))])
    np.testing.assert_array_equal(schemes.convert(make_face(body), IBUG68).points, FACE)
    np.testing.assert_array_equal(schemes.convert(make_face(body), FLAME51).points, FACE[17:])


def test_faces_of_openpose(tmp_path):
    def person(*points):
        return {"person_id": [-1], "pose_keypoints_2d": [0.0] * 75, "face_keypoints_2d": [
            value for x, y in points for value in (x, y, 0.1 if x == FACE[5, 0] else 0.9)]}

    pupils = FACE[[36, 45]]
    content = {"version": 1.3, "people": [
        person(*FACE, *pupils), person(), person(*FACE + 1, *pupils)]}
    found = read_all_landmarks([write(tmp_path / "a.json", content)])
    assert list(found.faces) == ["a#0", "a#1"] and found.left_out == []
    same(schemes.convert(found.faces["a#1"], IBUG68), FACE + 1)
    inner = schemes.convert(found.faces["a#0"], FLAME51)
    same(inner, FACE[17:])
    np.testing.assert_array_equal(
        schemes.convert(found.faces["a#0"], IBUG68).visible, np.arange(N) != 5)
    for people in ([], [person()]):
        with pytest.raises(ValueError, match="no landmarks"):
            read_landmarks(write(tmp_path / "a.json", {"people": people}))


def test_98_to_68(tmp_path):
    found = read_landmarks(write(tmp_path / "list.txt", wflw()))
    assert list(found) == ["a.jpg#0", "a.jpg#1"]
    points = schemes.convert(found["a.jpg#1"], IBUG68).points
    index = points[:, 0] / 2  # in WFLW
    assert len(set(index)) == 68
    named = dict(zip(IBUG68.landmarks, index.astype(int), strict=True))
    # Figure 1 of the paper: ends of the jaw, chin, brows, tip of the nose, eyes and mouth.
    assert [named[name] for name in (
        "jaw_0_right", "menton", "jaw_0_left", "brow_outer_right", "brow_inner_right",
        "brow_inner_left", "brow_outer_left", "pronasale", "subnasale", "exocanthion_right",
        "endocanthion_right", "endocanthion_left", "exocanthion_left", "cheilion_right",
        "cheilion_left", "inner_cheilion_right", "inner_cheilion_left",
    )] == [0, 16, 32, 33, 37, 42, 46, 54, 57, 60, 64, 68, 72, 76, 82, 88, 92]
    # Mirrored landmarks are mirrored there too: WFLW's jaw is 0 to 32.
    jaw = index[:17]
    np.testing.assert_array_equal(jaw + jaw[::-1], 32)


def test_mesh_to_51_and_68():
    face = make_face(PIXELS[:, :2], depth=PIXELS[:, 2])
    np.testing.assert_array_equal(schemes.convert(face, FLAME51).points,
                                  PIXELS[FLAME51_POINTS, :2])
    np.testing.assert_allclose(schemes.convert(face, IBUG68).points,
                               to_landmarks(PIXELS, "ibug68")[:, :2])
    hidden = np.ones(478, bool)
    hidden[[FLAME51_POINTS[4], 58]] = False  # a brow, and the right of the jaw
    part = schemes.convert(make_face(PIXELS[:, :2], depth=PIXELS[:, 2], visible=hidden), IBUG68)
    assert not part.visible[17 + 4] and not part.visible[1:8].any() and part.visible[9:17].all()


def test_other_numbers_are_refused():
    with pytest.raises(ValueError, match="66 landmarks, topology ibug68 has 68"):
        schemes.convert(make_face(FACE[:66]), IBUG68)
    with pytest.raises(ValueError, match="68 landmarks, topology bfm72 has 72"):
        schemes.convert(make_face(FACE), topologies.get("bfm72"))


NOT_OF_LANDMARKS = {
    "a flag": {"landmarks": FACE.tolist(), "v": 0},
    "a count": {"landmarks": FACE.tolist(), "missing": 2},
    "a camera": {"landmarks": FACE.tolist(), "c": [320, 240]},
    "a date": {"landmarks": FACE.tolist(), "time": [12, 30, 5]},
    "a clock": {"landmarks": FACE.tolist(), "time": {"sec": 1, "nsec": 2}},
    "none of them": {"faces": [{"landmarks": FACE.tolist()}], "missing": []},
    "beside names": {"ada": FACE.tolist(), "bob": FACE.tolist(), "score": 0.1},
    "beside any name": {"c": 5, "pts": FACE.tolist()},
    "of a detector": {"landmarks": FACE.tolist(), "score": 2.7},
    "depth in turn": {"keypoints": np.c_[FACE, np.linspace(30, 60, N)].ravel().tolist()},
    "numbered by id": {"landmarks": [
        {"index": N - 1 - i, "id": i, **point} for i, point in enumerate(xy(FACE))]},
}


@pytest.mark.parametrize("case", NOT_OF_LANDMARKS)
def test_what_else_a_name_may_mean_hides_nothing(case, tmp_path):
    faces = read_landmarks(write(tmp_path / "a.json", NOT_OF_LANDMARKS[case]))
    assert faces
    for face in faces.values():
        same(face, FACE)
        assert face.track is None


@pytest.mark.parametrize("other", [
    {"v": np.zeros((500, 3)), "f": np.zeros((900, 3), int)}, {"vis": np.zeros((40, 40, 3))},
    {"c": np.ones(3)}, {"time": np.array("2024-01-01")}, {"missing": np.array([None, {}])},
], ids=["mesh", "picture", "camera", "date", "objects"])
def test_arrays_that_share_a_name_are_told_and_not_read(other, tmp_path, caplog):
    np.savez(tmp_path / "a.npz", landmarks=FACE, **other)
    same(read_landmarks(tmp_path / "a.npz")["a"], FACE)
    assert f"arrays not used: {', '.join(other)}" in caplog.text


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_before_whole_pixels_are_those_of_landmarks(first, tmp_path):
    whole = np.round(FACE)
    lines = [f"{i} {x:.0f},{y:.0f}" for i, (x, y) in enumerate(whole, first)]
    random.Random(0).shuffle(lines)
    same(read_landmarks(write(tmp_path / "a.txt", "\n".join(lines)))["a"], whole)


def test_a_box_behind_the_points_is_no_face(tmp_path, caplog):
    points = "\n".join(f"{x} {y}" for x, y in FACE + 1)
    text = f"version: 1\nn_points: {N}\n{{\n{points}\n}}\nbox: {{1 2 3 4}}\n"
    faces = read_landmarks(write(tmp_path / "a.pts", text))
    assert [*faces] == ["a"] and not caplog.text
    same(faces["a"], FACE)


def coco(points, names, numbers=2):
    keypoints = np.column_stack([points, np.full(len(points), numbers)])
    return {"images": [{"id": 3, "file_name": "ada.jpg"}],
            "categories": [{"id": 1, "keypoints": ["nose", "left_eye"]},
                           {"id": 2, "keypoints": names}],
            "annotations": [{"image_id": 3, "category_id": 2, "keypoints": each.ravel().tolist()}
                            for each in (keypoints, keypoints + np.array([5, 0, 0]))]}


@pytest.mark.parametrize("name", ["{}", "lm_{}"])
@pytest.mark.parametrize("first", [0, 1])
def test_keypoints_of_coco_in_the_order_of_their_categories(name, first, tmp_path):
    order = sorted(range(N), key=lambda i: str(i + first))
    content = coco(FACE[order], [name.format(i + first) for i in order])
    found = read_all_landmarks([write(tmp_path / "a.json", content)])
    assert list(found.faces) == ["ada#0", "ada#1"] and found.warnings == []
    same(found.faces["ada#0"], FACE)
    same(found.faces["ada#1"], FACE + np.array([5, 0]))
    del content["images"]
    same(read_landmarks(write(tmp_path / "b.json", content))["b#0"], FACE)
    content["categories"][1]["keypoints"] = ["nose"] * N  # no numbers: as they come
    same(read_landmarks(write(tmp_path / "c.json", content))["c#0"], FACE[order])
    some = (33 + 5 * np.random.default_rng(0).permutation(N)).tolist()  # those of a larger mesh
    content["categories"][1]["keypoints"] = [*map(str, some)]
    same(read_landmarks(write(tmp_path / "d.json", content))["d#0"], FACE[order])


@pytest.mark.parametrize("some", [{"occluded": True}, {"visible": False}, {"confidence": 0.1}],
                         ids=["occluded", "visible", "confidence"])
def test_what_only_some_points_say_is_refused(some, tmp_path):
    points = [point | some if i < 3 else point for i, point in enumerate(xy(FACE))]
    key = next(iter(some))
    with pytest.raises(ValueError, match=rf"a\.json: '{key}' in 3 of 68 points, expected in each"):
        read_landmarks(write(tmp_path / "a.json", points))
    for lacking in (None, {"x": None, "y": None}):  # those need none
        points[3:] = [lacking] * (N - 3)
        assert not read_landmarks(write(tmp_path / "a.json", points))["a"].visible.any()


@pytest.mark.parametrize("said", [
    {"visible": "false"}, {"success": "false"}, {"confidence": "0.1"}, {"timestamp": "1.5"},
    {"frame": "0007"}, {"image_size": "640x480"}, {"time": 1.5}, {"frame_number": 7},
    {"hidden": [1, 5, 7]}, {"occ": True},
], ids=str)
def test_what_is_called_as_known_and_not_used_is_told(said, tmp_path):
    path = tmp_path / "a.json"
    for content in ([{"landmarks": FACE.tolist(), **said}],
                    [{"faces": [{"landmarks": FACE.tolist()}], **said}]):
        found = read_all_landmarks([write(path, content)])
        same(found.faces["a"], FACE)
        assert found.warnings == [f"warning: {path}: keys not used: {next(iter(said))}"]
    found = read_all_landmarks([write(path, [{"landmarks": FACE.tolist(), "frame": 7, "score": 1,
                                              "hidden": None, "occ": 0}])])
    assert found.warnings == []


@pytest.mark.parametrize("content", [
    {"face_landmarks": FACE.tolist()}, {"faceLandmarks": xy(FACE)},
    {"people": [{"face_keypoints_2d": []}, {"face_keypoints_2d": FACE.tolist()}]},
    {"instances": {"landmarks": FACE.tolist(), "score": 0.9}},
], ids=["rows", "points", "people", "object"])
def test_one_face_of_a_picture_may_be_a_frame(content, tmp_path):
    face = read_landmarks(write(tmp_path / "a.json", content)).popitem()[1]
    same(face, FACE)
    assert (face.track, face.frame) == (None, None)


def test_frames_in_lists_of_a_video_keep_their_numbers(tmp_path):
    frames = [{"instances": [{"keypoints": (FACE + i).tolist()}]} for i in range(3)]
    path = write(tmp_path / "a.json", {"instance_info": frames})
    assert [face.frame for face in read_landmarks(path).values()] == [0, 1, 2]
    frames = [{"frame_id": 2 * i, **frame} for i, frame in enumerate(frames)]
    path = write(tmp_path / "a.json", {"instance_info": frames})
    assert [face.frame for face in read_landmarks(path).values()] == [0, 2, 4]


@pytest.mark.parametrize("corner", ["x", "left", "x_min", "xMin", "x1", "originX", "center_x"])
def test_width_and_height_beside_a_corner_are_those_of_a_box(corner, tmp_path):
    parts = FACE / 400
    content = {corner: 0.2, "width": 200, "height": 230, "landmarks": parts.tolist()}
    found = read_all_landmarks([write(tmp_path / "a.json", content)])
    same(found.faces["a"], parts)
    assert "give those by image_size" in found.warnings[0]
    del content[corner]
    same(read_landmarks(write(tmp_path / "a.json", content))["a"], parts * [200, 230])


def test_labels_in_lists_in_another_order_are_refused(tmp_path):
    points = [{"keypointlabels": [str(i)], **point} for i, point in enumerate(xy(FACE))]
    same(read_landmarks(write(tmp_path / "a.json", points))["a"], FACE)
    with pytest.raises(ValueError, match="'keypointlabels' has the numbers of landmarks in "):
        read_landmarks(write(tmp_path / "a.json", points[::-1]))
    points = [{"index": [str(i)], **point} for i, point in enumerate(xy(FACE))]
    same(read_landmarks(write(tmp_path / "a.json", {"points": points[::-1]}))["a"], FACE)


def test_percents_of_label_studio_are_refused(tmp_path):
    points = [{"original_width": 640, "original_height": 480, **point} for point in xy(FACE / 5)]
    with pytest.raises(ValueError, match="percents of original_width and original_height, expected "
                                         "pixels"):
        read_landmarks(write(tmp_path / "a.json", points))


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_landmarks_in_arrays_are_no_coordinates(first, tmp_path):
    numbers = np.arange(first, first + N)[:, None]
    before, behind = np.hstack([numbers, FACE]), np.hstack([FACE, numbers])
    np.save(tmp_path / "a.npy", np.stack([before, before + np.array([0, 5, 5])]))
    write(tmp_path / "a.json", before.tolist())
    for name in ("a.npy", "a.json"):
        with pytest.raises(ValueError, match=rf"{name}: the first of three numbers count the "
                                             "landmarks, expected x and y first"):
            read_landmarks(tmp_path / name)
    for name, delimiter in (("b.txt", " "), ("b.csv", ",")):
        path = write(tmp_path / name, rows(*behind, delimiter=delimiter))
        same(read_landmarks(path)["b"], FACE)
        with pytest.raises(ValueError, match="third numbers count the landmarks in another order"):
            read_landmarks(write(path, rows(*behind[::-1], delimiter=delimiter)))


@pytest.mark.parametrize("again", ["x_{}", "x{}"])
def test_two_columns_of_one_coordinate_are_refused(again, tmp_path):
    header = [f"{axis}_{i}" for axis in "xy" for i in range(N)]
    text = rows([*header, *map(again.format, range(N))], [*FACE.T.ravel(), *range(N)])
    line = f"columns 'x_0' and '{again.format(0)}' have x of one landmark, expected one of them"
    with pytest.raises(ValueError, match=line):
        read_landmarks(write(tmp_path / "a.csv", text))


@pytest.mark.parametrize("column", ["person", "Subject"])
def test_people_are_told_apart_in_a_video(column, tmp_path):
    lines = [[frame, who, *(FACE + frame).ravel()]
             for frame, who in enumerate(["ann", "ann", "bob", "bob", "ann"])]
    path = write(tmp_path / "v.csv", rows(["frame", column, *WIDE], *lines))
    found = read_landmarks(path)
    assert [face.track for face in found.values()] == ["v ann", "v ann", "v bob", "v bob", "v ann"]
    assert list(found)[::2] == ["ann#0", "bob#0", "ann#2"]
    lines[2][1] = lines[3][1] = ""  # the same one, or nobody
    path = write(tmp_path / "u.csv", rows(["frame", column, *WIDE], *lines))
    assert {face.track for face in read_landmarks(path).values()} == {"u"}
    path = write(tmp_path / "w.csv", rows([column, *WIDE], *[line[1:] for line in lines]))
    assert {face.track for face in read_landmarks(path).values()} == {None}  # stills
    path = write(tmp_path / "t.csv", rows(["frame", column, "track", *WIDE],
                                          *[[*line[:2], 1, *line[2:]] for line in lines]))
    assert {face.track for face in read_landmarks(path).values()} == {"t"}
