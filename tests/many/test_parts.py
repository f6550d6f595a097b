"""Parts: which files are given, what they become, and which of that is there."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepmds_jax.many import parts
from deepmds_jax.many.parts import Run, is_whole, list_parts, open_part, remove_leftovers
from deepmds_jax.many.rows import read_block

RUN = Run("0" * 64, "flame51", "0.1.0")


def write(path, content=((1.0, 2.0), None, (3.0, 4.0), (1.0, 2.0, 3.0))):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"landmarks": pa.array(content, pa.list_(pa.float32()))}), path)
    return path


def written(part, run=RUN):
    """Writes an empty file in the place of what a part becomes."""
    part.target.parent.mkdir(exist_ok=True)
    schema = pa.schema([("reason", pa.string())], parts.describe(part, run))
    pq.write_table(schema.empty_table(), part.target)
    return part


@pytest.fixture
def part(tmp_path):
    return open_part(write(tmp_path / "in" / "a.parquet"), tmp_path / "out" / "a.parquet")


def test_files_of_folders_and_patterns_have_their_places(tmp_path):
    names = ["a10.parquet", "a9.parquet", "sub/b.parquet"]
    ignored = [".a.1.parquet", "_temporary/c.parquet", "sub/notes.txt", "out/a9.parquet"]
    for name in names + ignored:
        write(tmp_path / name)
    out = tmp_path / "out"
    folder = list_parts([tmp_path], out)
    assert folder == [(tmp_path / name, out / name) for name in
                      ("a9.parquet", "a10.parquet", "sub/b.parquet")]
    assert list_parts([tmp_path / "a*.parquet", tmp_path / "sub" / "b.parquet"], out) == [
        (tmp_path / name, out / pathlib.Path(name).name) for name in
        ("a9.parquet", "a10.parquet", "sub/b.parquet")]
    assert list_parts([tmp_path / "a9.parquet"] * 2, out) == folder[:1]


def test_files_that_are_not_there_or_would_become_one_are_refused(tmp_path):
    for name in ("x/a.parquet", "y/a.parquet"):
        write(tmp_path / name)
    (tmp_path / "empty").mkdir()
    for path in ("empty", "z*.parquet", "z.parquet"):
        with pytest.raises(ValueError, match=r"no such file, or no \.parquet file there"):
            list_parts([tmp_path / path], tmp_path / "out")
    with pytest.raises(ValueError, match=r"x/a\.parquet and .*y/a\.parquet would both become"):
        list_parts([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    for path in ("x", "x/a.parquet"):
        with pytest.raises(ValueError, match="lies in the folder to write to"):
            list_parts([tmp_path / path], tmp_path / "x")


def test_a_part_tells_what_it_is(tmp_path, part):
    assert (part.num_rows, part.width) == (4, 2)  # the commonest length
    shutil.copy(part.source, tmp_path / "copy.parquet")
    copy = open_part(tmp_path / "copy.parquet", part.target)
    assert copy.fingerprint == part.fingerprint
    other = open_part(write(tmp_path / "b.parquet", [[1.0, 2.0], [1.0, 7.0]]), part.target)
    assert other.fingerprint != part.fingerprint
    assert open_part(write(tmp_path / "c.parquet", [None]), part.target).width is None
    assert open_part(write(tmp_path / "d.parquet", []), part.target).num_rows == 0
    frames = [[], [], [1.0, 2.0], []]  # a face is found in one only
    assert open_part(write(tmp_path / "e.parquet", frames), part.target).width == 2
    assert open_part(write(tmp_path / "f.parquet", [[], []]), part.target).width is None
    late = write(tmp_path / "g.parquet", [[], None] * 600 + frames)
    assert open_part(late, part.target).width == 2


@pytest.mark.parametrize("kind", [
    pa.list_(pa.float32()), pa.list_(pa.float32(), 4), "columns"], ids=str)
@pytest.mark.parametrize("empty", [None, float("nan")])
def test_parts_of_width_and_height_are_found_behind_rows_without_a_face(kind, empty, tmp_path):
    rows = [[empty] * 4] * 1500 + [[0.2, 0.8, 0.5, 0.3]] * 9
    if kind == "columns":
        names = ("x0", "y0", "x1", "y1")
        columns = {name: pa.array(column, pa.float32())
                   for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    else:
        columns = {"landmarks": pa.array([*[None] * 1500, *rows], kind)}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    part = open_part(tmp_path / "a.parquet", tmp_path / "out.parquet")
    assert (part.width, part.lowest) == (4, 0)


def test_damaged_parts_are_refused_in_one_line(tmp_path, part):
    content = part.source.read_bytes()
    for name, damaged in {"empty": b"", "text": b"id,x0,y0\n" * 9, "cut": content[:-9]}.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"^.*{name}\.parquet: [^\n]+$"):
            open_part(path, part.target)
    with pytest.raises(ValueError, match=r"none\.parquet: .*No such file"):
        open_part(tmp_path / "none.parquet", part.target)


def test_only_what_was_made_of_the_same_by_the_same_is_whole(tmp_path, part):
    assert not is_whole(part, RUN)
    assert is_whole(written(part), RUN)
    for changed, reason in ((RUN._replace(weights="1"), "is of a run with other weights"),
                            (RUN._replace(version="0.2"), "is of a run with another version")):
        with pytest.raises(ValueError, match=rf"a\.parquet {reason}; give another folder"):
            is_whole(part, changed)
    changed = open_part(write(part.source, [[1.0, 2.0]]), part.target)
    with pytest.raises(ValueError, match=r"was made of another file than .* is now"):
        is_whole(changed, RUN)
    for content in (part.source.read_bytes(), b"", json.dumps(RUN._asdict()).encode()):
        part.target.write_bytes(content)
        with pytest.raises(ValueError, match="is not of this program"):
            is_whole(part, RUN)


def test_only_leftovers_of_the_parts_are_removed(part):
    folder = written(part).target.parent
    kept = ["a.parquet", ".b.17.parquet", ".a.b.17.parquet", ".a.parquet", ".a.17.npz"]
    for name in [*kept, ".a.17.parquet", ".a.4.parquet"]:
        (folder / name).touch()
    remove_leftovers([part])
    assert {path.name for path in folder.iterdir()} == set(kept)


def test_other_weights_are_another_run(untrained):
    run = parts.run_of(untrained)
    assert run == parts.run_of(untrained) and run.topology == "flame51"
    others = [dataclasses.replace(untrained, reference=untrained.reference * (1 + 1e-6)),
              dataclasses.replace(untrained, config=dataclasses.replace(
                  untrained.config, tolerance=1e-6))]
    assert len({run.weights, *(parts.run_of(other).weights for other in others)}) == 3


SEEN = {"v": 1, "vis": 1, "is_visible": 1, "occ": 0, "hidden": 0, "missing": 0, "c": 1,
        "Visible": 1, "Confidence": 1, "HIDDEN": 0}


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("landmarks", ["lists", "pairs", "columns"])
def test_lists_of_a_number_for_each_landmark_say_what_was_seen(name, landmarks, tmp_path):
    x2d = np.arange(5 * 14, dtype=np.float32).reshape(5, 7, 2) ** 2
    given = {"lists": {"landmarks": x2d.reshape(5, -1).tolist()},
             "pairs": {"landmarks": x2d.tolist()},
             "columns": {f"{axis}{i}": x2d[:, i, k] for i in range(7)
                         for k, axis in enumerate("xy")}}
    seen = [None, [], *[[SEEN[name]] * 6 + [1 - SEEN[name]]] * 3]
    table = pa.table({**given[landmarks], name: pa.array(seen, pa.list_(pa.int64()))})
    pq.write_table(table, tmp_path / "a.parquet")
    columns = open_part(tmp_path / "a.parquet", tmp_path / "b.parquet").columns
    assert list(columns.seen.values()) == [(name,)] and columns.doubtful == ()
    block = read_block(table, columns, 7, takes_visible=True)
    assert (block.visible[2:] == (np.arange(7) < 6)).all()


@pytest.mark.parametrize(("name", "kind", "rows"), [
    ("v", pa.list_(pa.float32()), [[3.0, -2.0]] * 3),  # a velocity
    ("v", pa.list_(pa.float32()), [[0.0, 1.0, 7.5]] * 3),  # speeds
    ("hidden", pa.list_(pa.int32()), [[4], [], [0, 1, 2]]),  # numbers of landmarks
    ("vis", pa.list_(pa.int32()), [None] * 3),
    ("vis", pa.struct({"a": pa.bool_()}), [{"a": True}] * 3),
])
def test_other_lists_are_passed_on_and_told(name, kind, rows, tmp_path):
    table = pa.table({"landmarks": [[1.0, 2.0, 3.0, 4.0, 6.0, 7.0]] * 3,
                      name: pa.array(rows, kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    columns = open_part(tmp_path / "a.parquet", tmp_path / "b.parquet").columns
    assert columns.seen == {} and columns.doubtful == (name,)


def test_texts_for_each_landmark_are_refused(tmp_path):
    table = pa.table({"landmarks": [[1.0, 2.0, 3.0, 4.0]], "valid": [["yes", "no"]]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: column valid: list<.*string>, expected"):
        open_part(tmp_path / "a.parquet", tmp_path / "b.parquet")
