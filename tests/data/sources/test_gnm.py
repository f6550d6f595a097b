"""GNM Head, from small files in its owner's layout."""

import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.data.sources import gnm, synthetic

NUM_VERTICES = 300
BOTH = pytest.mark.parametrize("cloned", [False, True], ids=["files", "clone"])


@pytest.fixture(scope="module")
def arrays():
    """A mesh whose first 68 vertices are a face, y up; modes of which the last moves the teeth."""
    rng = np.random.default_rng(0)
    face = np.asarray(synthetic.load("ibug68").mean) * [1, -1, -1] / 1000
    rest = rng.normal(size=(NUM_VERTICES - 68, 3)) / 10
    template = np.concatenate([face, rest])
    identity = rng.normal(size=(4, NUM_VERTICES, 3)) / 100
    identity[3, :250] = 0
    expression = rng.normal(size=(3, NUM_VERTICES, 3)) / 100
    arrays = {
        "template_vertex_positions": template, "vertex_identity_basis": identity,
        "expression_basis": expression, "skinning_weights": np.ones((4, NUM_VERTICES)),
    }
    names = {"version": np.array("3.0"), "identity_names": np.array(["head_000"] * 3 + ["teeth"])}
    return {k: v.astype(np.float32) for k, v in arrays.items()} | names


@pytest.fixture(scope="module")
def rows():
    """Vertices (68, 3) and weights (68, 3): each landmark near its vertex, in iBUG's order."""
    rng = np.random.default_rng(1)
    vertices = np.stack([np.arange(68), *rng.integers(68, 240, (2, 68))], axis=1)
    weights = np.stack([np.full(68, 0.98), np.full(68, 0.015), np.full(68, 0.005)], axis=1)
    return vertices, weights


def write(folder, arrays, rows, order=range(68), cloned=False):
    model = folder / "gnm" / "shape" / "data" / "versions" / "v3_0" if cloned else folder
    text = folder / "gnm" / "shape" / "data" / "landmarks" if cloned else folder
    for place in (model, text):
        place.mkdir(parents=True, exist_ok=True)
    np.savez(model / "gnm_head.npz", **arrays)
    vertices, weights = rows
    (text / "head_sparse_68.txt").write_text("".join(
        " ".join(f"{v} {w:.6f}" for v, w in zip(vertices[i], weights[i], strict=True)) + "\n"
        for i in order))


def at_landmarks(array, rows):
    """(..., V, 3) y up -> (..., 68, 3) in the head frame."""
    vertices, weights = rows
    corners = array.astype(float)[..., vertices, :]
    return (corners * weights[..., None]).sum(-2) * [1, -1, -1]


@BOTH
def test_the_model_is_the_files(tmp_path, arrays, rows, cloned):
    write(tmp_path, arrays, rows, cloned=cloned)
    assert gnm.check(tmp_path) == []
    model = gnm.load("ibug68", tmp_path)
    mean = at_landmarks(arrays["template_vertex_positions"], rows)
    order = np.array([*np.argsort(mean[:8, 1]), 8, *(9 + np.argsort(-mean[9:17, 1])),
                      *range(17, 68)])
    np.testing.assert_allclose(model.mean, mean[order], atol=1e-6)
    modes = np.concatenate([at_landmarks(arrays["vertex_identity_basis"][:3], rows),
                            at_landmarks(arrays["expression_basis"], rows)])
    np.testing.assert_allclose(model.identity, modes[:, order], atol=1e-6)
    assert model.expression.shape == (0, 68, 3)
    assert (model.topology, model.unit, model.identity.dtype) == ("ibug68", "m", np.float32)
    inner = gnm.load("flame51", tmp_path)
    np.testing.assert_array_equal(inner.identity, model.identity[:, 17:])


def test_the_jaw_goes_down_and_up_whatever_the_files_order(tmp_path, arrays, rows):
    write(tmp_path, arrays, rows, order=[0, 1, 6, 5, 4, 3, 2, *range(7, 68)])
    jaw = np.asarray(gnm.load("ibug68", tmp_path).mean)[:17]
    assert (np.diff(jaw[:9, 1]) > 0).all()
    assert (np.diff(jaw[8:, 1]) < 0).all()
    assert (jaw[:8, 0] < 0).all()
    assert (jaw[9:, 0] > 0).all()


def test_other_topologies_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"gnm has \['ibug68', 'flame51'\], got 'bfm72'"):
        gnm.load("bfm72", tmp_path)


@pytest.mark.parametrize(("changes", "message"), [
    ({"expression_basis": None}, r"gnm_head\.npz: expected an \.npz with template_vertex_posi"),
    ({"expression_basis": np.zeros((3, 9, 3))}, r"gnm_head\.npz: .* got \(300, 3\), .*\(3, 9, 3\)"),
    ({"template_vertex_positions": np.full((NUM_VERTICES, 3), np.nan)}, "expected finite numbers"),
    ({"template_vertex_positions": np.zeros((60, 3)), "vertex_identity_basis": np.zeros((1, 60, 3)),
      "expression_basis": np.zeros((1, 60, 3))}, r"head_sparse_68\.txt: .* from 0 to 59, got 0 to"),
    ({"template_vertex_positions": np.array([[1]])}, r"expected template_vertex_positions \(V"),
])
def test_damaged_models_are_named(tmp_path, arrays, rows, changes, message):
    changed = {k: v for k, v in {**arrays, **changes}.items() if v is not None}
    write(tmp_path, changed, rows)
    with pytest.raises(ValueError, match=message):
        gnm.load("ibug68", tmp_path)
    (problem,) = gnm.check(tmp_path)
    assert str(tmp_path) in problem


def test_mirrored_landmarks_are_named(tmp_path, arrays, rows):
    write(tmp_path, arrays, rows, order=topologies.IBUG68.mirror)
    with pytest.raises(ValueError, match=r"head_sparse_68\.txt: .*right outer eye corner at x = 0"):
        gnm.load("ibug68", tmp_path)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("0.980000", "x", "expected lines of six numbers"),
    ("0.980000", "0.98_0", "expected lines of six numbers: '0.98_0', expected a number"),
    ("0.980000", "0.9", "weights whose sums are 1, got sums from 0.92 to 1"),
    ("0 0.98", "0.5 0.98", "expected whole numbers of vertices"),
    ("0 0.98", "0.98", "expected lines of six numbers"),
])
def test_damaged_landmarks_are_named(tmp_path, arrays, rows, old, new, message):
    write(tmp_path, arrays, rows)
    path = tmp_path / "head_sparse_68.txt"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"head_sparse_68\.txt: .*{message}"):
        gnm.load("ibug68", tmp_path)
    assert len(gnm.check(tmp_path)) == 1


def test_missing_and_cut_off_files_are_named(tmp_path, arrays, rows):
    assert [line.split("/")[-1] for line in gnm.check(tmp_path)] == [
        "head_sparse_68.txt", "gnm_head.npz"]
    write(tmp_path, arrays, rows)
    path = tmp_path / "gnm_head.npz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"gnm_head\.npz: expected an \.npz"):
        gnm.load("ibug68", tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*gnm_head\.npz"):
        gnm.load("ibug68", tmp_path)
