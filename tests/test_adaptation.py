import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import deepmds_jax as dm
from deepmds_jax import adaptation, topologies
from deepmds_jax.adaptation import learning
from deepmds_jax.adaptation.em import infer_likeliest
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.views import Uniform, ViewGroup, view_shapes
from deepmds_jax.evaluation import learnt_shapes
from deepmds_jax.geometry import procrustes
from deepmds_jax.methods import deep_mds, gaussian
from deepmds_jax.methods.anchored import stages
from deepmds_jax.topologies import FLAME51

NUM = 50
FEW = 25  # where the check is not of how well shapes are learnt
WIDE = (ViewGroup(1.0, yaw=Uniform(-50, 50), pitch=Uniform(-20, 20), roll=Uniform(-10, 10)),)
FRONTAL = (ViewGroup(1.0),)


@pytest.fixture(scope="module")
def params(untrained, tmp_path_factory):
    """Untrained networks, with the mean and the modes of the synthetic faces."""
    dataset = open_dataset(specs.load_spec("synthetic"), "flame51", tmp_path_factory.mktemp("none"))
    modes = stages._modes(
        dataset.draw_shapes(jax.random.key(1), 2000), untrained.reference, 60)
    return dataclasses.replace(untrained, modes=modes)


@pytest.fixture(scope="module")
def shapes(params):
    """(50, 51, 3) faces whose brows and mouth lie elsewhere, nearer to the viewer, too."""
    rng = np.random.default_rng(0)
    faces = np.asarray(params.reference) + np.einsum(
        "fk,knd->fnd", rng.normal(size=(NUM, 60)), params.modes)
    faces[:, :10] += [0, 0.08, -0.06]
    faces[:, 31:] += [0, -0.05, 0.07]
    return faces.astype(np.float32)


def see(shapes, views):
    return np.array(view_shapes(jax.random.key(2), jnp.asarray(shapes), views).x2d)


@pytest.fixture(scope="module")
def true_mean(shapes):
    return np.asarray(jax.jit(gaussian.fit_gaussian)(shapes).mean)


def mean_error(mean, true_mean):
    return np.sqrt(np.mean((np.asarray(procrustes(mean, true_mean)(mean)) - true_mean) ** 2))


@pytest.fixture(scope="module")
def learnt(params, shapes):
    return adaptation.learn_shapes(params, see(shapes, WIDE))


@pytest.fixture(scope="module")
def learnt_of_few(params, shapes):
    return adaptation.learn_shapes(params, see(shapes, WIDE)[:FEW])


def test_the_mean_is_found_from_several_views(params, true_mean, learnt):
    assert learnt.sees_depth
    assert learnt.used.all()
    assert mean_error(learnt.after.mean, true_mean) < 0.25 * mean_error(params.reference, true_mean)
    assert learnt.residual_after < 0.9 * learnt.residual_before
    assert learnt.after.noise < 0.3 * learnt.before.noise  # there is none


def test_new_faces_are_lifted_better(params, shapes, learnt):
    x2d = see(shapes[::-1], WIDE)  # other views of the same kind
    infer = jax.jit(jax.vmap(gaussian.infer, in_axes=(None, 0, 0)))
    seen = np.ones(x2d.shape[:2], bool)
    before, after = (
        np.linalg.norm(np.asarray(procrustes(found, shapes[::-1])(found)) - shapes[::-1])
        for found in (infer(prior, x2d, seen).points for prior in (learnt.before, learnt.after)))
    assert after < 0.9 * before


def test_the_less_is_shown_the_less_is_taken_for_known(params, shapes, true_mean, learnt):
    narrow = (ViewGroup(1.0, yaw=Uniform(-20, 20), pitch=Uniform(-5, 5)),)
    little = adaptation.learn_shapes(params, see(shapes[:12], narrow))
    depth = np.arange(2, 3 * FLAME51.num_landmarks, 3)

    def uncertain(shapes):
        return np.trace(np.asarray(shapes.covariance)[np.ix_(depth, depth)])

    assert uncertain(learnt.after) < 0.8 * uncertain(little.after)
    assert uncertain(little.after) < uncertain(little.before)
    assert 0.5 < little.share < 0.9 < 0.95 < learnt.share < 1
    assert mean_error(little.after.mean, true_mean) < 0.8 * mean_error(params.reference, true_mean)


def test_noise_is_not_taken_for_other_views(params, shapes):
    noise = np.random.default_rng(4).normal(size=(FEW, FLAME51.num_landmarks, 2))
    x2d, seen = see(shapes, FRONTAL)[:FEW] + 0.056 * noise, np.ones(noise.shape[:2], bool)
    seen[:, ::2] = False  # the fewer are seen, the more do the views seem to differ
    learnt = adaptation.learn_shapes(params, x2d, seen)
    infer = jax.jit(jax.vmap(gaussian.infer, in_axes=(None, 0, 0)))
    views = np.asarray(infer(learnt.before, x2d, seen).rotation[:, 2])
    assert np.mean(views[:, 0] ** 2 + views[:, 1] ** 2) > 1.5 * adaptation.em.MIN_SPREAD
    assert not learnt.sees_depth
    assert 0.04 < learnt.after.noise < 0.06


def test_one_view_teaches_no_depth(params, shapes):
    learnt = adaptation.learn_shapes(params, see(shapes, FRONTAL))
    assert not learnt.sees_depth
    moved = np.asarray(learnt.after.mean - learnt.before.mean)
    # The size is 1 again afterwards, and the direction is that of the views on average.
    assert np.abs(moved[:, 2]).max() < 0.02 < np.abs(moved[:, 1]).max()
    np.testing.assert_allclose(learnt.after.covariance, learnt.before.covariance, atol=2e-4)
    first, *_ = learnt_shapes.warnings(learnt, [str(i) for i in range(NUM)])
    assert "nothing of depth was learnt" in first


@pytest.mark.parametrize("turn", [0, 35])
def test_faces_that_are_all_turned_alike_do_no_harm(params, shapes, true_mean, turn):
    """Taken for other poses, what such faces differ in would distort the mean, ever further."""
    x2d = see(shapes, (ViewGroup(1.0, yaw=Uniform(turn - 2, turn + 2), pitch=Uniform(-3, 3)),))
    learnt = adaptation.learn_shapes(params, x2d[:FEW])
    assert not learnt.sees_depth
    assert mean_error(learnt.after.mean, true_mean) < 0.9 * mean_error(params.reference, true_mean)
    assert abs(np.degrees(np.arcsin(np.median(learnt.rotation[:, 1, 2])))) < 5  # of pitch


def test_outliers_do_not_hide_how_well_the_mean_fits(params, shapes, learnt_of_few):
    x2d = see(shapes, WIDE)[:FEW]
    x2d[np.arange(FEW), np.arange(FEW)] += 4
    other = adaptation.learn_shapes(params, x2d)
    assert other.used.all()
    assert other.residual_before < 1.5 * learnt_of_few.residual_before


def test_unit_origin_order_and_holes_do_not_matter(params, shapes, learnt_of_few):
    order = np.random.default_rng(3).permutation(FEW)
    x2d = (500 * see(shapes, WIDE)[:FEW] + [1e4, -300])[order]
    x2d[4] = np.nan
    x2d[7, 12] = np.nan
    visible = np.ones(x2d.shape[:2], bool)
    visible[9, 20:25] = False
    other = adaptation.learn_shapes(params, x2d, visible)
    assert np.flatnonzero(~other.used).tolist() == [4]
    np.testing.assert_allclose(other.after.mean, learnt_of_few.after.mean, atol=5e-3)


def test_mirrored_faces_are_left_out_by_name(params, shapes, learnt_of_few):
    x2d = see(shapes, WIDE)[:FEW]
    x2d[:5] *= [-1, 1]
    other = adaptation.learn_shapes(params, x2d)
    assert np.flatnonzero(~other.used).tolist() == [0, 1, 2, 3, 4]
    lines = learnt_shapes.warnings(other, [f"face{i}" for i in range(FEW)])
    assert [line.split(":")[0] for line in lines] == [f"face{i}" for i in range(5)]
    np.testing.assert_allclose(other.after.mean, learnt_of_few.after.mean, atol=2e-2)


def test_what_was_learnt_is_told_in_mm_and_drawn(params, true_mean, learnt):
    shift, unit = learnt_shapes.shifts(learnt, FLAME51)
    assert unit == "mm"
    reference = np.asarray(params.reference)
    corners = [FLAME51.landmarks.index(f"exocanthion_{side}") for side in ("right", "left")]
    mm = 88 / np.linalg.norm(np.subtract(*reference[corners]))
    expected = mm * (np.asarray(procrustes(true_mean, reference)(true_mean)) - reference)
    assert np.linalg.norm(expected, axis=1).max() > 3
    np.testing.assert_allclose(shift, expected, atol=0.7)
    assert {row["landmark"] for row in learnt_shapes.rows(learnt, FLAME51)} <= set(
        FLAME51.landmarks)
    assert "50 of 50 faces used" in learnt_shapes.summary(learnt)
    figure = learnt_shapes.draw(learnt, FLAME51)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["front", "left profile"]


# Things of which no weights know anything: two halves of 6 points, with a hinge between them.
HINGE = topologies.Topology("hinge", tuple(f"p{i}" for i in range(12)), None, ())
TEMPLATE = np.random.default_rng(5).normal(size=(12, 3)) * [1, 1, 0.7]
AROUND = Uniform(-180, 180)
ANY_SIDE = (ViewGroup(1.0, yaw=AROUND, pitch=Uniform(-60, 60), roll=AROUND),)


def hinged(axis):
    """(50, 12, 3) things whose second half is turned about an axis."""
    angles = np.random.default_rng(6).uniform(-60, 60, NUM)
    turns = Rotation.from_rotvec(np.outer(np.deg2rad(angles), np.eye(3)[axis]))
    moved = np.einsum("fij,nj->fni", turns.as_matrix(), TEMPLATE[6:])
    fixed = np.broadcast_to(TEMPLATE[:6], moved.shape)
    return np.concatenate([fixed, moved], axis=1).astype(np.float32)


@pytest.fixture
def hinge(monkeypatch):
    """Their topology; and fewer turns, as the template is not far off here."""
    monkeypatch.setattr(learning, "NUM_TURNS_TEMPLATE", 8)
    monkeypatch.setattr(learning, "NUM_TURNS", 4)
    monkeypatch.setattr(topologies, "TOPOLOGIES", {**topologies.TOPOLOGIES, "hinge": HINGE})


def test_a_template_learns_how_its_kind_moves(hinge, monkeypatch):
    shapes = hinged(axis=2)
    x2d = see(shapes, ANY_SIDE)
    learnt = adaptation.learn_from_template(TEMPLATE, "hinge", 40 * x2d + 300, smoothness=1)
    assert learnt.used.all()
    assert learnt.is_better
    assert learnt.hidden is not None
    assert learnt.hidden[1] < 0.7 * learnt.hidden[0]
    assert 10 < np.sum(learnt.rotation[:, 2, 2] < 0) < 40  # from behind
    seen = np.ones(x2d.shape[:2], bool)
    find = jax.jit(jax.vmap(infer_likeliest, in_axes=(None, 0, 0, None)), static_argnums=3)
    points = {"before": find(learnt.before, x2d, seen, True).points,
              "after": find(learnt.after, x2d, seen, True).points}
    before, after = (np.linalg.norm(np.asarray(procrustes(points[name], shapes)(points[name]))
                                    - shapes) for name in ("before", "after"))
    assert after < 0.7 * before
    assert learnt_shapes.warnings(learnt, [str(i) for i in range(NUM)], "template") == []
    assert "from where shapes learnt" in learnt_shapes.summary(learnt, "template")

    monkeypatch.setattr(adaptation, "train", lambda learnt, topology, **_: (learnt, topology))
    again, topology = dm.adapt_template(TEMPLATE, "hinge", x2d, smoothness=1)
    assert topology == "hinge"
    np.testing.assert_allclose(again.after.mean, learnt.after.mean, atol=1e-4)


def test_what_does_not_help_is_dropped_and_told(hinge):
    """The halves of the things move differently: neither says anything of the other."""
    x2d = np.concatenate([see(hinged(axis=1), ANY_SIDE)[:25], see(hinged(axis=0), ANY_SIDE)[25:]])
    learnt = adaptation.learn_from_template(TEMPLATE, "hinge", x2d, smoothness=1)
    assert not learnt.is_better
    np.testing.assert_array_equal(learnt.after.mean, learnt.before.mean)
    np.testing.assert_array_equal(learnt.after.covariance, learnt.before.covariance)
    first, *_ = learnt_shapes.warnings(learnt, [str(i) for i in range(NUM)], "template")
    assert first.startswith("what was learnt was dropped, and the template kept")


def test_one_view_of_things_that_bend_teaches_nothing(hinge):
    x2d = see(hinged(axis=1), FRONTAL)
    learnt = adaptation.learn_from_template(TEMPLATE, "hinge", x2d, smoothness=1)
    assert not learnt.sees_depth
    np.testing.assert_array_equal(learnt.after.mean, learnt.before.mean)
    np.testing.assert_array_equal(learnt.after.covariance, learnt.before.covariance)
    first, *_ = learnt_shapes.warnings(learnt, [str(i) for i in range(NUM)], "template")
    assert first.startswith("the views differ too little to tell bending from turning")
    assert "30 are needed" in first


@pytest.mark.parametrize(("template", "options", "message"), [
    (TEMPLATE[:11], {}, r"template: expected \(12, 3\) finite numbers for .* hinge, got \(11"),
    (TEMPLATE * np.nan, {}, "template: expected .* got some that are not"),
    (np.outer(np.arange(12), [1, 2, 3]), {}, "template: expected points in space, got points on"),
    (TEMPLATE, {"smoothness": 0}, "smoothness: expected a number above 0, got 0"),
])
def test_bad_templates_are_named(hinge, template, options, message):
    with pytest.raises(ValueError, match=message):
        adaptation.learn_from_template(template, "hinge", np.zeros((20, 12, 2)), **options)


def test_copies_count_once(params, shapes):
    x2d = see(shapes, WIDE)[:FEW]
    x2d[20:] = x2d[3]
    once = adaptation.learn_shapes(params, x2d)
    assert np.flatnonzero(~once.used).tolist() == list(range(20, FEW))
    first, *_ = learnt_shapes.warnings(once, [f"face{i}" for i in range(FEW)])
    assert first.startswith("face20: left out") and first.endswith("or a copy of another's")
    x2d[9:] = x2d[3]
    message = "x2d: expected at least 10 different faces to learn from, got 9 and copies of them"
    with pytest.raises(ValueError, match=message):
        adaptation.learn_shapes(params, x2d)


def test_bad_input(params, shapes):
    x2d = see(shapes, WIDE)
    with pytest.raises(ValueError, match="x2d: expected at least 10 faces to learn from, got 9 of"):
        adaptation.learn_shapes(params, x2d[:9])
    with pytest.raises(ValueError, match=r"x2d: expected \(F, 51, 2\) .*got \(51, 2\)"):
        dm.adapt(params, x2d[0])
    with pytest.raises(ValueError, match=r"visible: expected \(50, 51\) like x2d, got \(51,\)"):
        dm.adapt(params, x2d, np.ones(51, bool))
    published = jax.eval_shape(lambda: deep_mds.init(deep_mds.Config("flame51"), jax.random.key(0)))
    with pytest.raises(ValueError, match="params: Deep-MDS as published cannot be adapted"):
        dm.adapt(published, x2d)


def test_weights_go_less_far_the_less_was_learnt(params, learnt, monkeypatch):
    monkeypatch.setattr(stages, "_REFINEMENT_FACES", 256)
    monkeypatch.setattr(stages, "CALIBRATION_FACES", 64)
    monkeypatch.setattr(stages, "calibrated", lambda variables, *_: variables)
    monkeypatch.setattr(adaptation.refining, "fit", lambda stage, variables, **_: jax.tree.map(
        lambda x: x + 1, variables))  # what training does to them in each of the two stages
    adapted = adaptation.refine(params, learnt._replace(share=0.5))
    jax.tree.map(lambda new, old: np.testing.assert_allclose(new, old + 0.125, atol=1e-5),
                 adapted.pairs, params.pairs)
    moved = adapted.encoder["params"]["modes"] - params.encoder["params"]["modes"]
    np.testing.assert_allclose(moved, 0.25, atol=1e-5)
    np.testing.assert_allclose(adapted.reference, learnt.after.mean, atol=1e-6)


def test_adapted_parameters_lift_and_have_the_learnt_model(
    params, shapes, true_mean, learnt, monkeypatch
):
    monkeypatch.setattr(stages, "_REFINEMENT_FACES", 64)
    monkeypatch.setattr(stages, "ENCODER_FACES", 64)
    monkeypatch.setattr(stages, "JOINT_FACES", 64)
    monkeypatch.setattr(stages, "_REFINEMENT", stages.Training(1, 1, 1e-4))
    monkeypatch.setattr(stages, "CALIBRATION_FACES", 64)
    x2d = see(shapes, WIDE)
    adapted = adaptation.refine(params, learnt)
    assert jax.tree.structure(adapted) == jax.tree.structure(params)
    assert mean_error(adapted.reference, true_mean) < 0.4 * mean_error(params.reference, true_mean)
    assert np.isfinite(jax.jit(dm.reconstruct)(adapted, x2d[:2])).all()
    again = adaptation.refine(params, learnt)
    jax.tree.map(np.testing.assert_array_equal, adapted, again)
