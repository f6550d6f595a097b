"""Columns of Parquet files to landmarks, and shapes to columns; without JAX."""

import numpy as np
import pyarrow as pa
import pytest

from deepmds_jax.many.columns import carried, find_columns, shape_fields
from deepmds_jax.many.rows import read_block, shape_arrays
from deepmds_jax.mds import Status

N = 7
X2D = np.arange(3 * N * 2, dtype=np.float32).reshape(3, N, 2) ** 2


def wide(x2d, pattern="{}{}"):
    return {pattern.format(axis, i): x2d[:, i, k] for i in range(x2d.shape[1])
            for k, axis in enumerate("xy")}


def lists(kind, rows=None):
    return pa.array(X2D.reshape(3, -1).tolist() if rows is None else rows, kind)


def read(table, takes_visible=True):
    return read_block(table, find_columns(table.schema), N, takes_visible)


@pytest.mark.parametrize("columns", [
    {"landmarks": lists(pa.list_(pa.float32()))},
    {"landmarks": lists(pa.large_list(pa.float64()))},
    {"landmarks": lists(pa.list_(pa.int32(), 2 * N))},
    {"landmarks": lists(pa.list_(pa.list_(pa.float32())), X2D.tolist())},
    {"landmarks": lists(pa.large_list(pa.list_(pa.float64(), 2)), X2D.tolist())},
    {"landmarks": lists(pa.list_(pa.list_(pa.float32(), 2), N), X2D.tolist())},
    wide(X2D), wide(X2D.astype(np.int16), "{}_{}"),
    dict(reversed(wide(X2D).items())),
], ids=["list", "large_list", "fixed_size_list", "pairs", "large_list of pairs", "fixed pairs",
        "x0", "x_0", "any order"])
@pytest.mark.parametrize("chunks", [1, 2])
def test_landmarks_in_lists_and_in_columns_of_numbers(columns, chunks):
    table = pa.table({"name": ["a", "b", "c"], **columns})
    if chunks == 2:
        table = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    block = read(table)
    np.testing.assert_array_equal(block.x2d, X2D)
    assert block.visible is None and block.reasons == {}
    assert carried(table.schema, find_columns(table.schema)).names == ["name"]


def test_numbers_keep_their_digits():
    far = X2D.astype(np.float64) + 1e12
    assert read(pa.table(wide(far))).x2d.dtype == np.float64
    np.testing.assert_array_equal(read(pa.table(wide(far))).x2d, far)
    assert read(pa.table(wide(X2D.astype(np.float16)))).x2d.dtype == np.float32


@pytest.mark.parametrize(("row", "reason"), [
    (None, "landmarks: null"),
    ([], "landmarks: 0 numbers, expected 14"),
    ([1.0] * 16, "landmarks: 16 numbers, expected 14"),
    ([1.0, 2.0, 3.0, None, *range(10)], "landmark 1 is not a finite number"),
    ([float("nan"), *range(13)], "landmark 0 is not a finite number"),
    ([*range(13), float("inf")], "landmark 6 is not a finite number"),
    ([2.0, 3.0] * 7, "all landmarks are equal"),
])
def test_a_bad_row_has_a_reason_and_leaves_the_others_alone(row, reason):
    good = X2D.reshape(3, -1).tolist()
    kind = pa.list_(pa.float64())
    block = read(pa.table({"landmarks": lists(kind, [good[0], row, good[2]])}))
    assert block.reasons == {1: reason}
    np.testing.assert_array_equal(block.x2d, [X2D[0], np.zeros((N, 2)), X2D[2]])


_PAIRS, _FIXED_PAIRS = pa.list_(pa.float64()), pa.list_(pa.float64(), 2)


@pytest.mark.parametrize(("kind", "row", "reason"), [*((kind, *case) for case in [
    (None, "landmarks: null"),
    ([[1.0, 2.0]] * 6, "landmarks: 12 numbers, expected 14"),
    ([[1.0, 2.0]] * 14, "landmarks: 28 numbers, expected 14"),
    ([[5.0, 2.0], None, *[[1.0, 2.0]] * 5], "landmark 1 is not a finite number"),
    ([[5.0, 2.0], [1.0, None], *[[1.0, 2.0]] * 5], "landmark 1 is not a finite number"),
] for kind in (_PAIRS, _FIXED_PAIRS)),
    (_PAIRS, [[5.0, 2.0], [1.0, 2.0, 3.0], [1.0], *[[1.0, 2.0]] * 4],
     "landmarks: 3 numbers of landmark 1, expected 2"),
])
def test_a_bad_row_of_pairs_has_a_reason_and_leaves_the_others_alone(kind, row, reason):
    rows = [X2D[0].tolist(), row, X2D[2].tolist()]
    block = read(pa.table({"landmarks": lists(pa.list_(kind), rows)}))
    assert block.reasons == {1: reason}
    np.testing.assert_array_equal(block.x2d, [X2D[0], np.zeros((N, 2)), X2D[2]])


def test_hidden_landmarks_may_be_no_pairs():
    rows = [[None if i == 2 else pair for i, pair in enumerate(X2D[0].tolist())]]
    table = pa.table({"landmarks": rows, "visible": [[i != 2 for i in range(N)]]})
    block = read(table)
    assert block.reasons == {}
    np.testing.assert_array_equal(np.delete(block.x2d[0], 2, axis=0), np.delete(X2D[0], 2, axis=0))
    np.testing.assert_array_equal(block.x2d[0, 2], 0)


def test_what_is_hidden_may_hold_anything():
    x2d = X2D.copy()
    x2d[0, 2] = np.nan
    visible = np.ones((3, N), bool)
    visible[0, 2] = False
    confidence = np.full((3, N), 0.9)
    confidence[1, 4] = 0.2
    table = pa.table({
        **wide(x2d), "visible": visible.tolist(),  # lists beside columns are not those of landmarks
        **{f"v{i}": visible[:, i] for i in range(N)},
        **{f"confidence_{i}": confidence[:, i] for i in range(N)},
    })
    block = read(table)
    expected = visible & (confidence > 0.3)
    np.testing.assert_array_equal(block.visible, expected)
    np.testing.assert_array_equal(block.x2d, np.where(expected[..., None], X2D, 0))
    assert block.reasons == {}
    assert carried(table.schema, find_columns(table.schema)).names == ["visible"]

    rows = pa.table({
        "landmarks": x2d.reshape(3, -1).tolist(),
        "visible": [visible[0].tolist(), [True] * 3, [True, None] + [True] * 5],
        "confidence": [1.0, 1.0, 1.0],  # of a whole face: carried along
    })
    block = read(rows)
    assert block.reasons == {1: "visible: 3 numbers, expected 7"}
    np.testing.assert_array_equal(block.visible[0], visible[0])
    np.testing.assert_array_equal(np.flatnonzero(~block.visible[2]), [1])
    assert carried(rows.schema, find_columns(rows.schema)).names == ["confidence"]


@pytest.mark.parametrize("landmarks", [{"landmarks": lists(pa.list_(pa.float32()))}, wide(X2D)],
                         ids=["lists", "columns"])
@pytest.mark.parametrize("seen", [
    {"visible": [[i != 2 for i in range(N)]] * 3},
    {"visibility": [[float(i != 2) for i in range(N)]] * 3},
    {"score": [[0.9 - 0.8 * (i == 2) for i in range(N)]] * 3},
    {"occluded": [[i == 2 for i in range(N)]] * 3},
    {"is_visible": [[i != 2 for i in range(N)]] * 3},
    {"scores": [[0.9 - 0.8 * (i == 2) for i in range(N)]] * 3},
    {"hidden": [[i == 2 for i in range(N)]] * 3},
    {"occlusion": [[None if i == 2 else 0.0 for i in range(N)]] * 3},
    {f"visible{i}": [i != 2] * 3 for i in range(N)},
    {f"v{i + 1}": [i != 2] * 3 for i in range(N)},
    {f"occluded{i}": [i == 2] * 3 for i in range(N)},
    {f"confidence_{i}": [0.9 - 0.8 * (i == 2)] * 3 for i in range(N)},
], ids=lambda seen: next(iter(seen)))
def test_what_was_seen_may_be_in_lists_or_columns_whatever_the_landmarks_are(landmarks, seen):
    table = pa.table({**landmarks, **seen})
    block = read(table)
    assert block.reasons == {}
    np.testing.assert_array_equal(np.flatnonzero(~block.visible[0]), [2])
    assert carried(table.schema, find_columns(table.schema)).names == []


def test_what_was_seen_of_another_number_of_landmarks_is_told():
    rows = pa.table({"landmarks": lists(pa.list_(pa.float32())),
                     **{f"visible{i}": [True] * 3 for i in range(N - 1)}})
    assert read(rows).reasons == dict.fromkeys(range(3), "visible: 6 columns, expected 7")
    single = pa.table({**wide(X2D), "c1": [5.0] * 3})  # something else
    assert carried(single.schema, find_columns(single.schema)).names == ["c1"]


def test_a_confidence_in_percent_is_told():
    confidence = np.full((3, N), 0.9)
    confidence[1] = 90
    confidence[2] = 2  # COCO's number for a visible one
    table = pa.table({**wide(X2D), **{f"c{i}": confidence[:, i] for i in range(N)}})
    assert read(table).reasons == {1: "confidence: 90, expected from 0 to 1"}


def test_too_few_visible_landmarks_or_weights_that_take_no_hidden_ones():
    few = [[True] * 5 + [False] * 2, [False] + [True] * 6, [True] * 7]
    table = pa.table({"landmarks": X2D.reshape(3, -1).tolist(), "visible": few})
    assert read(table).reasons == {0: "5 of 7 landmarks are visible, expected at least 6"}
    block = read(table, takes_visible=False)
    assert block.visible is None
    assert block.reasons[1] == "1 landmarks are hidden, which these weights do not take"
    assert block.reasons.keys() == {0, 1}


@pytest.mark.parametrize(("columns", "message"), [
    ({"name": ["a"]}, "columns name; expected landmarks, lists of x0, y0"),
    ({"x0": [1.0], "y1": [1.0]}, "columns x0, y1; expected"),
    ({key: [1.0] for key in ("x0", "y0", "x1", "x2", "y2")}, "column x1: expected y of the same"),
    ({"landmarks": ["1 2"]}, "column landmarks: string, expected list<float>"),
    ({"landmarks": [[[[1.0, 2.0]]]]}, "column landmarks: list<.*>, expected list<float>"),
    ({"landmarks": pa.array([[[1.0] * 3]], pa.list_(pa.list_(pa.float32(), 3)))},
     "column landmarks: 3 numbers a landmark, expected x and y"),
    ({"landmarks": [[1.0]], "visible": [[[True]]]}, "column visible: list<.*>, expected"),
    ({"landmarks": pa.array([[1.0] * 3], pa.list_(pa.float32(), 3))}, "lists of 3 .* pairs"),
    ({"landmarks": pa.array([[1.0] * 4], pa.list_(pa.float32(), 4)),
      "visible": pa.array([[True] * 4], pa.list_(pa.bool_(), 4))}, "visible: lists of 4, .* 2"),
    ({"landmarks": [[1.0]], "visible": [["yes"]]}, "column visible: list<.*string>, expected"),
    ({key: [1.0] for key in ("x0", "y0", "x1", "y1", "x2", "y2", "visible0", "visible1")},
     "columns visible0 to visible1: 2, expected 3, one of each landmark"),
    ({"x0": ["1"], "y0": [1.0]}, "column x0: string, expected numbers"),
    ({"landmarks": [[1.0]], "yaw": [1.0]}, "column yaw: the shapes have one of that name"),
])
def test_other_columns_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        find_columns(pa.table(columns).schema)


@pytest.mark.parametrize("name", ["landmarks", "a"])
def test_two_columns_of_one_name_are_refused(name):
    arrays = [pa.array([[1.0] * 4]), pa.array(["b"]), pa.array([[1.0] * 4])]
    schema = pa.Table.from_arrays(arrays, ["landmarks", "a", name]).schema
    with pytest.raises(ValueError, match=f"column {name}: expected one of that name, got two"):
        find_columns(schema)


def test_shapes_become_columns_and_what_is_not_known_is_nan():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, N, 3)).astype(np.float32)
    rotation = rng.normal(size=(5, 3, 3)).astype(np.float32)
    angle = np.arange(5, dtype=np.float32)
    points[3, 0] = np.nan
    status = np.array([Status.CONVERGED, Status.INVALID, Status.CONVERGED, Status.CONVERGED,
                       Status.STEP_LIMIT])
    lifted = {"points": points, "std": np.abs(points), "rotation": rotation, "yaw": angle,
              "pitch": angle, "roll": angle, "status": status}
    fields = shape_fields(N, with_std=True)
    arrays = shape_arrays(lifted, {2: "landmarks: null"}, fields)
    table = pa.table(arrays, schema=pa.schema(fields)).to_pydict()
    assert list(table) == ["points", "std", "rotation", "yaw", "pitch", "roll", "converged",
                           "reason"]
    assert table["reason"] == [
        None, "these are not the landmarks of a face seen from the front", "landmarks: null",
        "the reconstruction is not finite", "the solver has not converged"]
    assert table["converged"] == [True, False, False, False, False]
    for name in ("points", "std", "rotation", "yaw", "pitch", "roll"):
        unknown = np.isnan(np.reshape(table[name], (5, -1)))
        np.testing.assert_array_equal(unknown.all(1), [False, False, True, True, False])
        np.testing.assert_array_equal(unknown.any(1), unknown.all(1))
    np.testing.assert_array_equal(table["points"][4], points[4].ravel())
    np.testing.assert_array_equal(table["rotation"][1], rotation[1].ravel())
    assert table["yaw"][4] == 4
    assert [field.name for field in shape_fields(N, with_std=False)][:2] == ["points", "rotation"]
