"""The loop over parts, with something else than the weights: nothing is compiled."""

import functools
import io
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepmds_jax.many import reconstruct_files, stream
from deepmds_jax.many.stream import run_parts
from deepmds_jax.methods.saved import load_pretrained


@pytest.fixture(scope="module")
def params():
    return load_pretrained("flame51")


@pytest.fixture
def reconstruct(fake_lift, params):
    """`reconstruct_files` with `fake_lift`, by default with the weights of flame51."""
    engine = functools.partial(run_parts, fake_lift)

    def reconstruct(paths, out, params=params, **options):
        return reconstruct_files(paths, out, params, engine=engine, progress=False, **options)

    return reconstruct


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_part_becomes_a_file_with_its_rows_in_their_order(
    reconstruct, fake_lift, parts51, tmp_path, monkeypatch
):
    monkeypatch.setattr(stream, "_GROUP_ROWS", 10)
    done = reconstruct([parts51.folder], tmp_path / "out")
    assert done == (23, 0, 3, 0, "flame51", [])
    assert sorted(fake_lift.sizes) == [0, 3, 4, 8, 8]
    for name, x2d in parts51.x2d.items():
        given = pq.read_table(parts51.folder / f"{name}.parquet")
        table = pq.read_table(tmp_path / "out" / f"{name}.parquet")
        assert table.column_names == ["id", "kind", "tags", "points", "rotation", "yaw", "pitch",
                                      "roll", "converged", "reason"]
        assert table.select(["id", "kind", "tags"]).equals(given.drop("landmarks"))
        points = table["points"].combine_chunks().flatten().to_numpy().reshape(-1, 51, 3)
        np.testing.assert_array_equal(points[..., :2], x2d)
        assert (points[..., 2] == 51).all()
        assert table["reason"].null_count == len(x2d)
    groups = pq.read_metadata(tmp_path / "out" / "a.parquet")
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [16, 4]
    monkeypatch.setattr(stream, "_GROUP_BYTES", 1000)
    reconstruct([parts51.folder / "a.parquet"], tmp_path / "small")
    assert pq.read_metadata(tmp_path / "small" / "a.parquet").num_row_groups == 3


def test_the_same_again_writes_nothing_and_what_is_missing_comes_to_the_same_bytes(
    reconstruct, parts51, tmp_path
):
    out = tmp_path / "out"
    reconstruct([parts51.folder], out)
    first, times = contents(out), [path.stat().st_mtime_ns for path in sorted(out.iterdir())]
    assert reconstruct([parts51.folder], out) == (0, 0, 0, 3, "flame51", [])
    assert [path.stat().st_mtime_ns for path in sorted(out.iterdir())] == times
    (out / "a.parquet").unlink()
    (out / ".a.17.parquet").write_bytes(b"PAR1")  # of a process that was killed
    assert reconstruct([parts51.folder / "*.parquet"], out) == (20, 0, 1, 2, "flame51", [])
    assert contents(out) == first


def test_bad_rows_are_rows_with_a_reason(reconstruct, params, parts51, tmp_path):
    rows = [*parts51.x2d["a"].reshape(20, -1).tolist(), None, [1.0] * 3]
    rows[9] = [5.0] * 102
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"landmarks": rows}), path)
    assert reconstruct([path], tmp_path / "out")[:3] == (22, 3, 1)
    reasons = pq.read_table(tmp_path / "out" / path.name)["reason"].to_pylist()
    assert {i: reason for i, reason in enumerate(reasons) if reason} == {
        9: "all landmarks are equal", 20: "landmarks: null",
        21: "landmarks: 3 numbers, expected 102"}


def test_files_that_are_no_parts_are_left_out_and_the_others_written(
    reconstruct, parts51, tmp_path
):
    folder = tmp_path / "in"
    shutil.copytree(parts51.folder, folder)
    (folder / "text.parquet").write_text("landmarks")
    pq.write_table(pa.table({"id": [1]}), folder / "columns.parquet")
    pq.write_table(pa.table({"landmarks": [[0.0] * 136]}), folder / "jaw.parquet")
    damaged = bytearray((parts51.folder / "a.parquet").read_bytes())
    damaged[200:3000] = bytes(2800)  # behind the first rows; the footer is whole
    (folder / "a.parquet").write_bytes(damaged)
    done = reconstruct([folder], tmp_path / "out")
    assert (done.num_faces, done.num_written) == (3, 2)
    assert sorted(contents(tmp_path / "out")) == ["b.parquet", "c.parquet"]
    a, columns, jaw, text = sorted(done.left_out)
    assert a.startswith(f"{folder / 'a.parquet'}: ")
    assert columns.startswith(f"{folder / 'columns.parquet'}: columns id; expected landmarks")
    assert jaw == (f"{folder / 'jaw.parquet'}: 136 numbers a face, expected 102: x and y of the 51 "
                   "landmarks of flame51")
    assert text.startswith(f"{folder / 'text.parquet'}: ")
    with pytest.raises(ValueError, match=r"^.*columns\.parquet: columns id; expected"):
        reconstruct([folder / "columns.parquet"], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_of_rows_of_several_numbers_those_that_fit_the_weights_are_lifted(
    reconstruct, parts51, tmp_path
):
    face, *_ = parts51.x2d["a"].reshape(20, -1).tolist()
    few, jaw = face[:14], [*face, *face[:34]]
    pq.write_table(pa.table({"landmarks": [few, few, face]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"landmarks": [jaw, jaw, face]}), tmp_path / "b.parquet")
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert reconstruct(paths, tmp_path / "out", None) == (6, 4, 2, 0, "flame51", [])
    for path, length in zip(paths, (14, 136), strict=True):
        reasons = pq.read_table(tmp_path / "out" / path.name)["reason"].to_pylist()
        assert reasons == [f"landmarks: {length} numbers, expected 102"] * 2 + [None]


@pytest.mark.parametrize(("factor", "middle", "lines", "lowest"), [
    (0.001, 0, 1, 0), (1.0, 0, 0, 0), (0.003, 280, 1, -1), (0.003, "mean", 0, -1)])
def test_parts_of_width_and_height_are_told_once(
    factor, middle, lines, lowest, reconstruct, parts51, tmp_path, caplog
):
    faces = 250 + 100 * parts51.x2d["a"] / np.abs(parts51.x2d["a"]).max()
    faces = faces - (faces.mean(1, keepdims=True) if middle == "mean" else middle)
    for name in "ab":
        table = pa.table({"landmarks": (factor * faces).reshape(20, -1).tolist()})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    reconstruct([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "out")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == lines
    assert all(line.startswith(f"{tmp_path / 'a.parquet'} and 1 more: nearly all landmarks lie "
                               f"within [{lowest}, 1]; ") for line in told)


def test_hidden_landmarks_in_lists_of_integers_hide_them_and_others_are_told_once(
    reconstruct, parts51, tmp_path, caplog
):
    faces = parts51.x2d["a"].reshape(20, -1).tolist()
    seen = [[1] * 51] * 19 + [[0] * 51]
    for name, column in (("a", "v"), ("b", "hidden"), ("c", "hidden")):
        rows = seen if column == "v" else [[3, 4]] * 20
        pq.write_table(pa.table({"landmarks": faces, column: rows}), tmp_path / f"{name}.parquet")
    paths = [tmp_path / f"{name}.parquet" for name in "abc"]
    assert reconstruct(paths, tmp_path / "out")[:3] == (60, 1, 3)
    a, b, _ = (pq.read_table(tmp_path / "out" / path.name) for path in paths)
    assert a["reason"][19].as_py() == "0 of 51 landmarks are visible, expected at least 6"
    assert "v" not in a.column_names and b["hidden"].to_pylist() == [[3, 4]] * 20
    assert [record.getMessage() for record in caplog.records] == [
        f"{paths[1]} and 1 more: column hidden is passed on as it is and hides no landmark: "
        "expected one column that says it, of a number from 0 to 1 for each landmark"]


def test_a_folder_of_another_run_is_refused_before_anything_is_written(
    reconstruct, parts51, tmp_path
):
    reconstruct([parts51.folder / "b.parquet"], tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ValueError, match=r"b\.parquet is of a run with other weights"):
        reconstruct([parts51.folder], tmp_path / "out", load_pretrained("flame51_published"))
    assert contents(tmp_path / "out") == before


def test_the_number_of_landmarks_tells_the_shipped_weights(reconstruct, parts51, tmp_path):
    assert reconstruct([parts51.folder], tmp_path / "out", None).topology == "flame51"
    path = tmp_path / "many.parquet"
    pq.write_table(pa.table({"landmarks": [[0.0] * 14]}), path)
    with pytest.raises(ValueError, match="the first face has 7; give others by --weights"):
        reconstruct([path], tmp_path / "out", None)


def test_an_odd_number_of_numbers_and_no_files_at_all_are_told(reconstruct, tmp_path):
    pq.write_table(pa.table({"landmarks": [[1.0] * 135]}), tmp_path / "odd.parquet")
    with pytest.raises(ValueError, match=r"odd.parquet: 135 numbers a face, expected pairs of x"):
        reconstruct([tmp_path / "odd.parquet"], tmp_path / "out", params=None)
    with pytest.raises(ValueError, match="paths: expected some, got none"):
        reconstruct([], tmp_path / "out")


def test_without_space_what_is_done_stays_and_nothing_is_half_written(
    reconstruct, parts51, tmp_path, monkeypatch
):
    class Full(io.FileIO):
        def write(self, data):
            raise OSError(28, os.strerror(28))

    real = stream._writer

    def writer(raw, schema):
        full = ".b." in str(raw.name)
        return real(Full(raw.fileno(), "wb", closefd=False) if full else raw, schema)

    monkeypatch.setattr(stream, "_writer", writer)
    with pytest.raises(OSError, match=r"b\.parquet: cannot be written: .*No space left on device; "
                       "what is done stays, and the same command goes on there"):
        reconstruct([parts51.folder], tmp_path / "out")
    assert list(contents(tmp_path / "out")) == ["a.parquet"]
    monkeypatch.undo()
    assert reconstruct([parts51.folder], tmp_path / "out").num_whole == 1


def test_only_some_blocks_are_read_ahead(fake_lift, params, parts51, tmp_path, monkeypatch):
    taken, written = [], []
    real = stream._read

    def read(part, size):
        for rows in real(part, size):
            taken.append(len(taken))
            yield rows

    monkeypatch.setattr(stream, "_read", read)
    path = tmp_path / "long.parquet"
    x2d = np.random.default_rng(0).normal(size=(400, 102)).astype(np.float32)
    pq.write_table(pa.table({"landmarks": pa.FixedSizeListArray.from_arrays(x2d.ravel(), 102)}),
                   path)

    def tell(count):
        written.append(count)
        assert len(taken) - len(written) <= 3 * fake_lift.num_threads

    part = stream.open_part(path, tmp_path / "out" / path.name)
    (done,) = run_parts(fake_lift, params, stream.run_of(params), [part], tell)
    assert done.num_faces == sum(written) == 400 and len(taken) == 50
