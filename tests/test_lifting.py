"""`reconstruct` with the published system; the anchored one is in test_lifting_anchored."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import bound
from scipy.spatial.transform import Rotation

import deepmds_jax as dm
from deepmds_jax import lifting
from deepmds_jax.data import specs
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import sample_faces
from deepmds_jax.geometry import procrustes
from deepmds_jax.methods import anchored, deep_mds

NUM = 32  # faces in every batch, as for the anchored system: what is compiled serves other tests
VIEWS = specs.load_spec("synthetic").views
# Rounding upstream can change what order two distances are in, and cost the solver a step.
ATOL = bound(5e-3, 3e-2)

_lift = jax.jit(dm.reconstruct_detailed)
_place = jax.jit(dm.place_in_image)
_fit = jax.jit(functools.partial(procrustes, reflection=True))


def lift(params, x2d):
    return jax.device_get(_lift(params, np.asarray(x2d, np.float32)))


@pytest.fixture(scope="module")
def params():
    return dm.load_pretrained("flame51_published")


@pytest.fixture(scope="module")
def faces():
    return jax.device_get(sample_faces(jax.random.key(7), synthetic.load("flame51"), VIEWS, NUM))


@pytest.fixture(scope="module")
def whole(params, faces):
    return lift(params, faces.x2d)


@pytest.mark.parametrize("name", ["ibug68", "flame51"])
def test_results_are_centred_scaled_frontal_and_not_mirrored(name):
    faces = sample_faces(jax.random.key(0), synthetic.load(name), VIEWS, NUM)
    points = lift(dm.load_pretrained(f"{name}_published"), faces.x2d).points
    assert points.dtype == np.float32
    np.testing.assert_allclose(points.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(np.mean(np.sum(points**2, -1), -1), 1, rtol=1e-4)
    fit = _fit(points, faces.points)
    assert (np.linalg.det(fit.rotation) > 0).all()  # the best fit to the truth mirrors none
    angle = np.degrees(Rotation.from_matrix(fit.rotation).magnitude())
    assert np.median(angle) < 10  # frontal in the head frame


def test_any_batch_shape_and_vmap_agree(params, faces, whole):
    mapped = jax.jit(jax.vmap(dm.reconstruct_detailed, in_axes=(None, 0)))(
        params, faces.x2d.reshape(2, 4, 4, 51, 2))
    assert whole.points.shape == (NUM, 51, 3)
    assert mapped.points.shape == (2, 4, 4, 51, 3)
    assert mapped.status.shape == (2, 4, 4)
    np.testing.assert_allclose(mapped.points.reshape(NUM, 51, 3), whole.points, atol=ATOL)


def test_one_face_outside_jit(params, faces, whole):
    detail = dm.reconstruct_detailed(params, faces.x2d[0])
    np.testing.assert_array_equal(detail.points, dm.reconstruct(params, faces.x2d[0]))
    np.testing.assert_allclose(detail.points, whole.points[0], atol=ATOL)


def test_landmarks_may_be_a_constant_of_the_jitted_function(params, faces, whole):
    lifted = jax.jit(lambda params: dm.reconstruct(params, faces.x2d[0]))(params)
    np.testing.assert_allclose(lifted, whole.points[0], atol=ATOL)


def test_other_values_are_not_traced_anew(params, faces):
    traced = jax.jit(chex.assert_max_traces(dm.reconstruct, n=1))
    other = jax.tree.map(lambda x: np.float32(1.01) * np.asarray(x), params)
    shapes = (traced.trace(p, x2d).out_info for p, x2d in (
        (params, faces.x2d), (other, faces.x2d), (params, 2 * faces.x2d)))
    assert {shape.shape for shape in shapes} == {(NUM, 51, 3)}


def test_place_and_size_in_the_image_do_not_matter(params, faces, whole):
    far = lift(params, 3 * faces.x2d + np.array([640.0, 360.0])).points
    # Pixels have fewer digits than centred millimetres.
    np.testing.assert_allclose(far, whole.points, atol=5e-2)
    assert np.abs(far - whole.points).mean() < 2e-3


def test_details_fit_together(whole):
    d = whole.dissimilarities
    np.testing.assert_array_equal(d, d.transpose(0, 2, 1))
    assert (d >= 0).all()
    np.testing.assert_array_equal(np.diagonal(d, axis1=1, axis2=2), 0)
    frontal = whole.frontal
    np.testing.assert_allclose([frontal.min(axis=(1, 2)), frontal.max(axis=(1, 2))],
                               [[0] * NUM, [1] * NUM], atol=1e-6)
    assert (frontal[:, 26, 0] > frontal[:, 19, 0]).all()  # the left eye at the image's right
    assert (frontal[:, 40, 1] > frontal[:, 10, 1]).all()  # the mouth below the nose
    assert whole.converged.shape == whole.stress.shape == (NUM,)
    assert ((whole.stress > 0) & (whole.stress < 0.3)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 5.0])
def test_a_bad_face_is_nan_and_alone_inside_jit(params, faces, whole, bad):
    x2d = np.array(faces.x2d)
    if np.isfinite(bad):
        x2d[2] = bad  # all landmarks equal
    else:
        x2d[2, 10, 1] = bad
    detail = lift(params, x2d)
    assert np.isnan(detail.points[2]).all()
    assert not detail.converged[2]
    others = np.delete(np.arange(NUM), 2)
    np.testing.assert_array_equal(detail.points[others], whole.points[others])
    np.testing.assert_array_equal(detail.num_iters[others], whole.num_iters[others])


@pytest.mark.parametrize(("x2d", "message"), [
    (np.zeros((68, 2)), r"\(\.\.\., 51, 2\) for topology flame51, got \(68, 2\)"),
    (np.zeros((51, 3)), r"got \(51, 3\)"),
    (np.zeros(102), r"got \(102,\)"),
    (np.full((2, 51, 2), np.nan), "2 of 2 faces have landmarks that are not finite"),
    (np.ones((51, 2)), "in 1 of 1 faces all landmarks are equal"),
])
def test_bad_input_raises_outside_jit(params, x2d, message):
    with pytest.raises(ValueError, match=message):
        dm.reconstruct(params, x2d)


def test_faults_are_counted_alike_by_an_accelerator(faces):
    x2d = np.array(faces.x2d[:6])
    x2d[1, 3] = np.nan
    x2d[2], x2d[3] = 1, x2d[3] + 1e9
    visible = np.ones(x2d.shape[:2], bool)
    visible[4, 5:] = False
    for given in (None, visible):
        here = lifting._count_faults(x2d, given, np)
        there = lifting._count_faults_on_device(x2d, given)
        assert [int(n) for n in there] == [int(n) for n in here] == [given is not None, 1, 1, 2]



@pytest.mark.parametrize(("config", "field", "value"), [
    (deep_mds.Config, "topology", "hand21"),
    (deep_mds.Config, "features", "polar"),
    (deep_mds.Config, "transform", "cubic"),
    (deep_mds.Config, "max_iters", 0),
    (anchored.Config, "topology", "hand21"),
    (anchored.Config, "tolerance", -1e-3),
])
def test_unknown_configuration_raises(config, field, value):
    with pytest.raises(ValueError, match=f"^{field}: .*{value}"):
        config(**{"topology": "ibug68", field: value})


@pytest.mark.parametrize("topology", ["bfm72", "flame51"])
def test_released_networks_lift_upright_faces(shared, topology):
    params = dm.load_released(shared / "data" / "authors_release", topology)
    faces = sample_faces(jax.random.key(1), synthetic.load(topology), VIEWS, NUM)
    points = lift(params, faces.x2d).points
    fit = _fit(points, faces.points)
    assert (np.linalg.det(fit.rotation) > 0).all()
    scale = np.asarray(fit.scale)[:, None, None]
    error = np.sqrt(np.mean(np.sum(((fit(points) - faces.points) / scale) ** 2, -1), -1))
    # Of a shape of size 1; a scrambled face has about 1, the paper's own faces about 0.1.
    assert np.median(error) < 0.4


def test_real_photographs_are_lifted_the_right_way_round(shared):
    folder = shared / "data" / "celeba_hq_samples"
    photographs = np.stack([np.load(f) for f in sorted(folder.glob("*_lmks.npy"))])
    x2d = np.resize(photographs, (NUM, 51, 2)).astype(np.float32)  # again and again
    for params in (
        dm.load_pretrained("flame51"),
        dm.load_pretrained("flame51_published"),
        dm.load_released(shared / "data" / "authors_release", "flame51"),
    ):
        points = lift(params, x2d).points
        placed = _place(points, x2d)
        width = np.ptp(x2d[..., 0], axis=1)
        residual = np.abs(placed.points[..., :2] - x2d).mean((1, 2))
        assert (residual < 0.1 * width).all()  # they lie on the photograph
        assert (np.abs(placed.yaw) < 45).all()
        assert (points[:, 13, 2] < points[:, [0, 9], 2].mean(1)).all()  # nose tip before brows


def test_gradient_by_the_landmarks(params, faces):
    """Through both networks, MDS and the alignment; in float64, so that differences tell."""
    with jax.enable_x64(True):
        config = dataclasses.replace(params.config, transform="ratio", tolerance=1e-10)
        wide = jax.tree.map(lambda x: np.asarray(x, float), dataclasses.replace(
            params, config=config))
        x2d = np.asarray(faces.x2d[0], float)
        rng = np.random.default_rng(0)
        weight, change = rng.standard_normal((51, 3)), rng.standard_normal((51, 2))

        @jax.jit
        @jax.value_and_grad
        def total(x2d):
            return jnp.sum(dm.reconstruct(wide, x2d) * weight)

        size = 1e-6 * np.std(x2d)  # a larger step crosses kinks of the networks
        (high, _), (low, _), (_, gradient) = jax.device_get(
            [total(x2d + step * change) for step in (size, -size, 0)])
        difference = (high - low) / (2 * size)
        np.testing.assert_allclose(np.sum(gradient * change), difference, rtol=1e-4)
        assert abs(difference) > 1e-3


def test_only_the_order_of_ordinal_dissimilarities_counts(params, faces):
    gradient = jax.jit(jax.grad(lambda x2d: jnp.sum(dm.reconstruct(params, x2d)[..., 0] ** 2)))
    np.testing.assert_array_equal(gradient(faces.x2d[0]), 0)


@pytest.mark.every_platform
def test_uses_nothing_that_does_not_export(params, faces, whole):
    def primitives(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            for value in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
            ):
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    yield from primitives(inner)

    portable = jax.jit(lambda x: dm.reconstruct(params, x))
    used = set(primitives(portable.trace(faces.x2d).jaxpr.jaxpr))
    assert "while" in used  # the walk goes inside
    lapack = {"eigh", "svd", "qr", "cholesky", "lu", "triangular_solve", "householder_product"}
    assert not used & lapack
    exported = jax.export.export(portable, platforms=("cpu", "cuda", "tpu"))(faces.x2d)
    # Rounding differs, and the solver keeps what its tolerance lets it keep of that.
    np.testing.assert_allclose(exported.call(faces.x2d), whole.points, atol=3e-2)
