"""`reconstruct` with the shipped weights of the anchored system: what may come in, and out."""

import dataclasses
import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import deepmds_jax as dm
from deepmds_jax import mds, topologies
from deepmds_jax.data import specs
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import sample_faces
from deepmds_jax.geometry import procrustes, rotation_from_angles
from deepmds_jax.lifting import near_origin

NUM, N = 32, 51
MIRROR = np.array(topologies.get("flame51").mirror)
CONVERGED, INVALID = mds.Status.CONVERGED, mds.Status.INVALID
_place = jax.jit(dm.place_in_image)
_fit = jax.jit(functools.partial(procrustes, reflection=True))
_align = jax.jit(procrustes)


@pytest.fixture(scope="module")
def params():
    return dm.load_pretrained("flame51")


@pytest.fixture(scope="module")
def lift(params):
    """Compiled once, for NUM faces, their visible landmarks, and whatever stands in them."""
    compiled = jax.jit(chex.assert_max_traces(dm.reconstruct_detailed, n=1))

    def lifted(x2d, visible=True):
        x2d = np.broadcast_to(np.asarray(x2d, np.float32), (NUM, N, 2))
        return jax.device_get(compiled(params, x2d, np.broadcast_to(visible, (NUM, N))))

    return lifted


@pytest.fixture(scope="module")
def faces():
    """Of a model that the weights never saw, as wide in pose as they are for."""
    views = specs.load_spec("ict_robust").views
    return jax.device_get(sample_faces(jax.random.key(7), synthetic.load("flame51"), views, NUM))


@pytest.fixture(scope="module")
def plain(lift, faces):
    return lift(faces.x2d)


def assert_flagged(detail):
    assert (detail.status == INVALID).all()
    assert not detail.converged.any()
    np.testing.assert_array_equal(detail.std, 1)
    assert np.isfinite(detail.points).all()


def test_a_batch_that_fills_no_block_of_any_core(params, plain, faces):
    found = dm.reconstruct(params, np.concatenate([faces.x2d, faces.x2d[:3]]))
    expected = np.concatenate([plain.points, plain.points[:3]])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_faces_converge_in_the_head_frame_and_none_is_mirrored(plain, faces):
    assert plain.points.dtype == plain.std.dtype == np.float32
    assert (plain.status == CONVERGED).all()
    np.testing.assert_allclose(plain.points.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(np.mean(np.sum(plain.points**2, -1), -1), 1, rtol=1e-4)
    fit = _fit(plain.points, faces.points)
    assert (np.linalg.det(fit.rotation) > 0).all()
    angle = np.degrees(Rotation.from_matrix(fit.rotation).magnitude())
    assert angle.max() < 20  # frontal; models differ in what they call frontal


def test_errors_are_small_and_within_the_stated_deviations(plain, faces):
    fit = _align(faces.points, plain.points)  # the truth in the frame of the result
    errors = np.abs(fit(faces.points) - plain.points)
    assert np.sqrt(np.mean(np.sum(errors**2, -1))) < 0.15  # of a size of 1; another face model
    # Calibrated for deformed faces of ICT's model: here they need not be exact, but not be wrong.
    within = [np.mean(errors < k * plain.std) for k in (1, 2)]
    assert 0.5 < within[0] < 0.9
    assert within[1] > 0.8


def test_result_and_rotation_explain_the_image(plain, faces):
    placed = _place(plain.points, faces.x2d)
    size = np.sqrt(np.mean(np.sum(np.square(placed.points[..., :2]
                                            - placed.translation[:, None]), -1), -1))
    off = np.sqrt(np.mean(np.sum(np.square(placed.points[..., :2] - faces.x2d), -1), -1))
    assert np.median(off / size) < 0.03  # half of the views are perspective, the placing is not
    np.testing.assert_allclose(plain.rotation @ plain.rotation.swapaxes(1, 2),
                               np.broadcast_to(np.eye(3), (NUM, 3, 3)), atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(plain.rotation), 1, atol=1e-4)
    turn = Rotation.from_matrix(plain.rotation @ np.swapaxes(placed.rotation, 1, 2))
    assert np.median(np.degrees(turn.magnitude())) < 4
    true = jax.jit(rotation_from_angles)(faces.view.yaw, faces.view.pitch, faces.view.roll)
    turn = Rotation.from_matrix(plain.rotation @ np.swapaxes(np.asarray(true), 1, 2))
    assert np.median(np.degrees(turn.magnitude())) < 8


def test_details_fit_together(plain):
    d = plain.dissimilarities
    np.testing.assert_array_equal(d, d.swapaxes(1, 2))
    np.testing.assert_array_equal(np.diagonal(d, axis1=1, axis2=2), 0)
    apart = np.linalg.norm(plain.points[:, :, None] - plain.points[:, None], axis=-1)
    assert np.median(np.abs(d / np.where(apart > 0.3, apart, np.inf) - (apart > 0.3))) < 0.1
    assert plain.stress.shape == (NUM,)
    assert ((plain.stress > 0) & (plain.stress < 0.1)).all()
    assert plain.num_iters.max() < 60
    assert plain.std.shape == plain.proposal.shape == (NUM, N, 3)
    assert (plain.std > 0).all()
    np.testing.assert_allclose(np.mean(np.sum(plain.proposal**2, -1), -1), 1, rtol=1e-4)
    difference = np.sqrt(np.mean(np.sum((plain.proposal - plain.points) ** 2, -1), -1))
    assert 1e-3 < np.median(difference) < 0.2
    np.testing.assert_allclose([plain.frontal.min((1, 2)), plain.frontal.max((1, 2))],
                               [[0] * NUM, [1] * NUM], atol=1e-6)


def test_what_stands_at_missing_landmarks_does_not_matter(lift, faces, plain):
    rng = np.random.default_rng(0)
    visible = rng.random((NUM, N)) < 0.7
    given = lift(faces.x2d, visible)
    for bad in (np.nan, np.inf, 1e9):
        other = lift(np.where(visible[..., None], faces.x2d, bad), visible)
        for name in ("points", "std", "status", "rotation"):
            np.testing.assert_array_equal(getattr(other, name), getattr(given, name))
    assert (given.status == CONVERGED).all()
    assert np.abs(given.points - plain.points).max() > 1e-3
    # They are filled in near where they are, and are told to be less sure.
    assert np.sqrt(np.mean((given.points - plain.points)[~visible] ** 2)) < 0.1
    assert given.std[~visible].mean() > 1.05 * plain.std[~visible].mean()


def test_fewer_than_six_visible_landmarks_raise_or_are_invalid(params, lift, faces):
    visible = np.zeros((NUM, N), bool)
    visible[:, [0, 9, 13, 31, 37]] = True
    visible[1, 40] = True
    with pytest.raises(ValueError, match=(
        r"^visible: 31 of 32 faces have fewer than 6 landmarks that are visible$"
    )):
        dm.reconstruct(params, faces.x2d, visible)
    detail = lift(faces.x2d, visible)
    assert (np.delete(detail.status, 1) == INVALID).all()
    np.testing.assert_array_equal(np.delete(detail.std, 1, axis=0), 1)
    assert np.isfinite(detail.points).all()
    assert detail.status[1] in (CONVERGED, INVALID)  # six may lie badly
    assert (lift(faces.x2d, False).status == INVALID).all()


@pytest.mark.parametrize(("visible", "message"), [
    (np.ones((2, N - 1), bool), r"^visible: expected \(2, 51\) like x2d, got \(2, 50\)"),
    (np.ones((3, N), bool), r"got \(3, 51\)"),
])
def test_wrong_shapes_of_visible_raise(params, faces, visible, message):
    with pytest.raises(ValueError, match=message):
        dm.reconstruct(params, faces.x2d[:2], visible)


def test_the_published_system_takes_no_visible(faces):
    with pytest.raises(ValueError, match=r"^visible: expected none with Deep-MDS as published,"):
        dm.reconstruct(dm.load_pretrained("flame51_published"), faces.x2d,
                       np.ones((NUM, N), bool))


def test_bad_landmarks_that_are_seen_raise_outside_jit(params, faces):
    visible = np.ones(N, bool)
    visible[3] = False
    broken = np.array(faces.x2d[:2])
    broken[1, 4] = np.nan
    with pytest.raises(ValueError, match="1 of 2 faces have landmarks that are not finite"):
        dm.reconstruct(params, broken, visible)
    flat = np.ones((2, N, 2))
    flat[:, 3] = 9  # only the one that is missing differs
    with pytest.raises(ValueError, match="in 2 of 2 faces all landmarks are equal"):
        dm.reconstruct(params, flat, visible)


def test_a_mirrored_face_is_told(lift, faces):
    """A selfie as the camera shows it; told apart by yaw too small for depth to be seen through."""
    assert_flagged(lift(faces.x2d * np.float32([-1, 1])))


def test_an_upside_down_face_is_lifted_like_an_upright_one(lift, faces, plain):
    turned = lift(-faces.x2d)
    assert (turned.status == CONVERGED).all()
    np.testing.assert_allclose(turned.points, plain.points, atol=1e-3)
    np.testing.assert_allclose(turned.std, plain.std, atol=1e-3)
    half = np.diag([-1, -1, 1])
    np.testing.assert_allclose(turned.rotation, half @ plain.rotation, atol=1e-3)


@pytest.mark.parametrize("offset", [0, 300])
def test_landmarks_on_a_line_are_told(lift, faces, offset):
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, NUM)
    angle[:4] = np.arange(4) * np.pi / 2
    along = np.stack([np.cos(angle), np.sin(angle)], -1)
    of_face = np.einsum("fni,fi->fn", faces.x2d, along)
    for place in (of_face, 50 * rng.normal(size=(NUM, N)), np.tile(np.arange(N), (NUM, 1))):
        line = place[..., None] * along[:, None] + offset
        assert_flagged(lift(line))
    nearly = line + 0.005 * np.std(place) * rng.normal(size=line.shape)
    assert_flagged(lift(nearly))


def test_landmarks_that_are_no_face_are_told(lift, faces):
    rng = np.random.default_rng(1)
    assert_flagged(lift(rng.normal(size=(NUM, N, 2))))
    assert_flagged(lift(rng.uniform(size=(NUM, N, 2)) * [640, 480]))
    assert_flagged(lift(faces.x2d[:, rng.permutation(N)]))
    assert_flagged(lift(faces.x2d[:, ::-1]))


def test_a_broken_face_is_nan_and_alone(lift, faces, plain):
    x2d = np.array(faces.x2d)
    x2d[2, 10, 1] = np.nan
    x2d[5] = 7
    x2d[6] = [1234.1, 0.3]  # whose mean in float32 is another
    x2d[9, 0] = np.inf
    detail = lift(x2d)
    bad = np.array([2, 5, 6, 9])
    assert np.isnan(detail.points[bad]).all()
    assert not detail.converged[bad].any()
    good = np.setdiff1d(np.arange(NUM), bad)
    np.testing.assert_allclose(detail.points[good], plain.points[good], atol=1e-5)
    np.testing.assert_allclose(detail.std[good], plain.std[good], atol=1e-5)
    np.testing.assert_array_equal(detail.status[good], plain.status[good])


def test_a_profile_whose_far_half_is_hidden(params, lift):
    views = (specs.load_spec("ict_robust").views[0]._replace(
        share=1.0, yaw=specs.load_spec("ict_robust").views[0].yaw._replace(low=60.0)),)
    turned = sample_faces(jax.random.key(3), synthetic.load("flame51"), views, NUM)
    # Positive yaw turns the face to the image's right: the subject's left side, x > 0, is hidden.
    left = np.asarray(synthetic.load("flame51").mean)[:, 0] > 1
    right = left[MIRROR]
    whole, half = lift(turned.x2d), lift(np.where(left[:, None], np.nan, turned.x2d), ~left)
    assert (half.status == CONVERGED).all()
    assert np.isfinite(half.points).all()
    hidden, seen = half.std[:, left].mean((1, 2)), half.std[:, right].mean((1, 2))
    assert (hidden > 1.1 * seen).all()
    assert half.std[:, left].mean() > 1.1 * whole.std[:, left].mean()
    truth = _align(turned.points, half.points)
    errors = truth(turned.points) - half.points
    assert np.sqrt(np.mean(np.sum(errors[:, left] ** 2, -1))) < 0.25


def test_pixels_far_from_the_origin(params, lift, faces, plain):
    unit = np.std(faces.x2d, axis=(1, 2), keepdims=True)
    pixels = 300 * faces.x2d.astype(np.float64) / unit
    for shift in (1e4, [1e6, -1e6]):
        far = lift(pixels + shift)
        np.testing.assert_allclose(far.points, plain.points, atol=1e-3)
        assert (far.status == CONVERGED).all()
    tiny = lift(1e-6 * faces.x2d)
    np.testing.assert_allclose(tiny.points, plain.points, atol=1e-4)


def test_any_batch_shape_vmap_and_float64_agree(params, faces, plain):
    with jax.enable_x64(True):  # arrays of float64 too are taken, and lifted in float32
        mapped = jax.device_get(jax.jit(jax.vmap(dm.reconstruct_detailed, in_axes=(None, 0, None)))(
            params, faces.x2d.reshape(2, 4, 4, N, 2).astype(np.float64), np.ones(N, bool)))
    assert mapped.points.dtype == mapped.std.dtype == np.float32
    assert mapped.status.shape == (2, 4, 4)
    np.testing.assert_allclose(mapped.points.reshape(NUM, N, 3), plain.points, atol=1e-4)


def test_a_start_far_off_ends_at_the_same_points(params, faces, plain):
    warm = functools.partial(dm.reconstruct_detailed, params, faces.x2d)
    rng = np.random.default_rng(0)
    start = 40 * (plain.points + 0.1 * rng.normal(size=(NUM, N, 3))) + 7
    np.testing.assert_allclose(warm(init=start.astype(np.float32)).points, plain.points, atol=5e-3)
    assert np.mean(warm(init=plain.points).num_iters) < 0.8 * np.mean(plain.num_iters)
    for unit in (1e200, 1e38, 1e-200):
        far = warm(init=unit * start.astype(np.float64) / 100)
        np.testing.assert_allclose(far.points, plain.points, atol=5e-3)


def test_a_start_in_float64_leaves_the_result_in_float32(params, faces, plain):
    with jax.enable_x64(True):
        found = dm.reconstruct_detailed(
            params, faces.x2d[0], init=plain.points[0].astype(np.float64))
    assert {leaf.dtype for leaf in jax.tree.leaves(found) if leaf.dtype.kind == "f"} == {
        np.dtype(np.float32)}
    np.testing.assert_allclose(found.points, plain.points[0], atol=5e-3)


@pytest.mark.parametrize("shape", [(NUM + 1, N, 3), (N, 3), (NUM, N, 2), (1, NUM, N, 3)])
def test_starts_that_are_not_one_for_each_face(params, faces, shape):
    with pytest.raises(ValueError, match=rf"init: expected \({NUM}, {N}, 3\).*got \("):
        dm.reconstruct_detailed(params, faces.x2d, init=np.random.default_rng(0).normal(size=shape))


@pytest.mark.parametrize(("weighted", "observed"), [(False, True), (True, False)])
def test_variants_of_the_ablation_lift_too(params, faces, plain, weighted, observed):
    config = dataclasses.replace(params.config, weighted=weighted, observed=observed)
    other = dataclasses.replace(params, config=config)
    detail = jax.device_get(jax.jit(dm.reconstruct_detailed)(other, faces.x2d))
    assert detail.converged.all()
    fit = _fit(detail.points, faces.points)
    assert (np.linalg.det(fit.rotation) > 0).all()
    difference = np.sqrt(np.mean(np.sum((detail.points - plain.points) ** 2, -1), -1))
    assert 1e-4 < difference.max() < 0.2


def test_gradients_by_landmarks_and_parameters(params, faces):
    """In float64, so that differences tell; and nothing comes from missing landmarks."""
    with jax.enable_x64(True):
        config = dataclasses.replace(params.config, tolerance=1e-11)
        wide = jax.tree.map(lambda x: np.asarray(x, float),
                            dataclasses.replace(params, config=config))
        x2d = np.asarray(faces.x2d[0], float)
        rng = np.random.default_rng(0)
        weight, change = rng.normal(size=(N, 3)), rng.normal(size=(N, 2))
        visible = np.arange(N) % 5 > 0
        x2d[~visible] = np.nan

        def total(params, x2d):
            detail = dm.reconstruct_detailed(params, x2d, visible)
            return jnp.sum((detail.points + detail.std) * weight)

        compiled = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))

        def value_and_grad(*arguments):
            return jax.device_get(compiled(*arguments))

        by_params, by_x2d = value_and_grad(wide, x2d)[1]
        np.testing.assert_array_equal(by_x2d[~visible], 0)
        step = 1e-5 * np.nanstd(x2d)
        high, low = (value_and_grad(wide, x2d + s * change)[0] for s in (step, -step))
        slope = np.sum(by_x2d * change)
        np.testing.assert_allclose(slope, (high - low) / (2 * step), rtol=1e-5)
        assert abs(slope) * np.nanstd(x2d) > 1e-2
        for path, leaf in jax.tree_util.tree_leaves_with_path(by_params):
            assert np.isfinite(leaf).all(), path
        for name, step in (("trust", 1e-4), ("identity", 1e-5)):
            plain = wide.pairs["params"][name]
            change = rng.normal(size=plain.shape)
            slope = np.sum(by_params.pairs["params"][name] * change)
            ends = []
            for s in (step, -step):
                networks = {**wide.pairs["params"], name: plain + s * change}
                moved = dataclasses.replace(wide, pairs={"params": networks})
                ends.append(value_and_grad(moved, x2d)[0])
            np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-4)
            assert abs(slope) > 1e-4


@pytest.mark.parametrize("change", [
    lambda x: x + 1e8, lambda x: x - [1e9, 3e12], lambda x: 1e-30 * x, lambda x: 1e30 * x,
    lambda x: np.rint(1e6 * x).astype(np.int64) + 10**13])
def test_float64_keeps_its_digits_far_off_and_in_any_unit(lift, faces, plain, change):
    near = near_origin(change(faces.x2d.astype(np.float64)), None)
    detail = lift(near)
    assert (detail.status == CONVERGED).all()
    np.testing.assert_allclose(detail.points, plain.points, atol=2e-3)


def test_landmarks_that_are_near_are_left_alone_to_the_bit(faces):
    x2d = faces.x2d.astype(np.float64) + 3
    assert near_origin(x2d, None) is x2d
    hidden = np.zeros((NUM, N), bool)
    hidden[:, 0] = True
    far = np.where(hidden[..., None], np.inf, x2d + 1e9)
    found = near_origin(far, ~hidden)
    assert np.isfinite(found).all()
    assert np.abs(found[~hidden]).max() < 1


@pytest.mark.parametrize("unit", [1e-30, 1e-22, 1e18, 1e30])
def test_units_of_float32_do_not_matter(lift, faces, plain, unit):
    detail = lift(faces.x2d * np.float32(unit))
    np.testing.assert_array_equal(detail.status, plain.status)
    np.testing.assert_allclose(detail.points, plain.points, atol=1e-3)


def test_where_no_digits_are_left_it_is_told(params, lift, faces):
    far = np.asarray(faces.x2d, np.float32) + np.float32(1e8)
    detail = lift(far)
    assert (detail.status == INVALID).all()
    assert np.isnan(detail.points).all()
    np.testing.assert_array_equal(detail.std, 1)
    with pytest.raises(ValueError, match=r"float32 has no digits for them.*, or in float64"):
        dm.reconstruct(params, far)
    with pytest.raises(ValueError, match=r"float64 has no digits for them; give .* to it$"):
        dm.reconstruct(params, faces.x2d.astype(np.float64) + 1e17)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 5.0])
def test_derivatives_by_good_faces_and_by_the_weights_are_finite(gradients, params, faces, bad):
    x2d = np.array(faces.x2d[:3])
    x2d[1, slice(None) if np.isfinite(bad) else 4] = bad
    by_weights, by_faces = jax.device_get(gradients(params, x2d))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(by_weights))
    assert np.isfinite(by_faces).all()
    assert np.abs(by_faces[[0, 2]]).max(axis=(1, 2)).min() > 0
    alone = jax.device_get(gradients(params, np.array(faces.x2d[:3]))[1])
    np.testing.assert_allclose(by_faces[[0, 2]], alone[[0, 2]], rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def gradients():
    """(params, (3, N, 2)) -> derivatives by both of a sum over the faces that come out."""

    def total(params, x2d):
        points = dm.reconstruct(params, x2d)
        return jnp.sum(jnp.where(jnp.isfinite(points), points, 0) ** 2 * jnp.arange(3))

    return jax.jit(jax.grad(total, argnums=(0, 1)))


@pytest.mark.every_platform
def test_exports_for_every_platform_and_batch_size(params, faces, plain):
    """And without LAPACK, which other runtimes have not."""
    batch, = jax.export.symbolic_shape("batch")
    exported = jax.export.export(
        jax.jit(lambda x2d: dm.reconstruct(params, x2d)), platforms=("cpu", "cuda", "tpu"),
    )(jax.ShapeDtypeStruct((batch, N, 2), np.float32))
    called = set(re.findall(r"custom_call @(\w+)", exported.mlir_module()))
    assert called <= {"shape_assertion"}  # that the batch has at least one face
    np.testing.assert_allclose(exported.call(faces.x2d), plain.points, atol=1e-4)
