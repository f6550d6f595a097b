import h5py
import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from deepmds_jax import topologies
from deepmds_jax.data.morphable_model import sample_shapes
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.sources.anthropometry import DIMENSIONS

TOPOLOGIES = pytest.mark.parametrize("topology", topologies.TOPOLOGIES)


def _index(topology, name):
    return topologies.get(topology).landmarks.index(name)


def _measure(shapes, dimension):
    """A dimension of bfm72 shapes (..., 72, 3), on the right side where it is paired."""
    a, b = (_index("bfm72", name) for name in dimension.pairs[0])
    return np.linalg.norm(shapes[..., a, :] - shapes[..., b, :], axis=-1)


MEASURED = [
    d for d in DIMENSIONS if set(d.pairs[0]) <= set(topologies.BFM72.landmarks)
]  # all but the tragions and two points of the temple


@pytest.fixture(scope="module")
def samples():
    sample = jax.jit(sample_shapes, static_argnames="num_shapes")
    return np.asarray(sample(synthetic.load("bfm72"), jax.random.key(0), 4000))


def test_pooled_deviation_by_hand():
    bizygomatic = next(d for d in DIMENSIONS if d.name == "bizygomatic breadth")
    assert bizygomatic.mean == pytest.approx(139.5)
    # Within: (6.4^2 + 5.6^2) / 2 = 36.16. Between: ((143.3 - 135.7) / 2)^2 = 14.44.
    assert bizygomatic.sd == pytest.approx(50.60**0.5)


def test_unknown_topology():
    with pytest.raises(ValueError, match="topology: got 'face9'"):
        synthetic.load("face9")


@TOPOLOGIES
def test_shapes_and_types(topology):
    model = synthetic.load(topology)
    n = topologies.get(topology).num_landmarks
    assert (model.topology, model.unit) == (topology, "mm")
    assert model.mean.shape == (n, 3)
    assert model.identity.shape == (synthetic.NUM_MODES, n, 3)
    assert model.expression.shape == (3, n, 3)
    for leaf in jax.tree.leaves(model):
        assert leaf.dtype == np.float32
        assert np.isfinite(np.asarray(leaf)).all()


def test_mean_face_has_the_published_means():
    assert len(MEASURED) == 17
    mean = np.asarray(synthetic.load("bfm72").mean)
    for dimension in MEASURED:
        assert _measure(mean, dimension) == pytest.approx(dimension.mean, abs=0.01), dimension.name


def test_sampled_faces_have_the_published_deviations(samples):
    for dimension in MEASURED:
        values = _measure(samples, dimension)
        assert values.mean() == pytest.approx(dimension.mean, abs=0.7), dimension.name
        assert values.std() == pytest.approx(dimension.sd, rel=0.1), dimension.name


def test_correlations_near_those_of_a_survey_that_was_not_used(samples):
    """ANSUR II, 2012, public data of 6,068 men and women: Pearson correlations."""
    by_name = {d.name: _measure(samples, d) for d in MEASURED}
    eyes, cheeks, length = (
        by_name[name]
        for name in ("interpupillary breadth", "bizygomatic breadth", "menton-sellion length")
    )
    assert np.corrcoef(eyes, cheeks)[0, 1] == pytest.approx(0.52, abs=0.15)
    assert np.corrcoef(eyes, length)[0, 1] == pytest.approx(0.31, abs=0.15)
    assert np.corrcoef(cheeks, length)[0, 1] == pytest.approx(0.46, abs=0.15)


@TOPOLOGIES
def test_mean_is_symmetric_and_samples_nearly(topology):
    model = synthetic.load(topology)
    mirror = np.array(topologies.get(topology).mirror)

    def reflect(points):
        return points[..., mirror, :] * np.array([-1.0, 1.0, 1.0])

    np.testing.assert_allclose(reflect(np.asarray(model.mean)), model.mean, atol=1e-4)
    np.testing.assert_allclose(reflect(np.asarray(model.expression)), model.expression, atol=1e-4)
    identity = np.asarray(model.identity)
    asymmetric = ((identity - reflect(identity)) ** 2).sum() / 4
    assert 0.005 < asymmetric / (identity**2).sum() < 0.1


def test_frame_and_proportions():
    mean = np.asarray(synthetic.load("bfm72").mean)
    x, y, z = ({n: p[i] for n, p in zip(topologies.BFM72.landmarks, mean, strict=True)}
               for i in range(3))  # fmt: skip
    assert min(z, key=z.get) in ("pronasale", "supratip")
    assert x["pupil_left"] > 0 > x["pupil_right"]
    assert y["menton"] > y["stomion_superius"] > y["subnasale"] > y["pronasale"] > y["pupil_left"]
    assert y["pupil_left"] > y["brow_middle_left"]
    assert y["orbitale_left"] == pytest.approx(0, abs=0.5)  # the Frankfurt plane
    assert 12 < z["subnasale"] - z["pronasale"] < 20
    assert z["gonion_left"] > z["zygion_left"] > z["exocanthion_left"] > z["endocanthion_left"]
    assert z["endocanthion_left"] > z["sellion"]


def test_topologies_agree_where_they_share_landmarks():
    ibug, flame, bfm = (synthetic.load(name) for name in ("ibug68", "flame51", "bfm72"))
    shared_names = sorted(set(topologies.IBUG68.landmarks) & set(topologies.BFM72.landmarks))
    assert len(shared_names) > 25
    rows = [_index("ibug68", name) for name in shared_names]
    others = [_index("bfm72", name) for name in shared_names]
    for field in ("mean", "identity", "expression"):
        a, b, c = (np.asarray(getattr(model, field)) for model in (ibug, flame, bfm))
        np.testing.assert_array_equal(a[..., 17:, :], b)
        np.testing.assert_array_equal(a[..., rows, :], c[..., others, :])


def test_expressions():
    model = synthetic.load("ibug68")
    neutral = np.asarray(model.mean)
    mouth, smile, brows = neutral + np.asarray(model.expression)
    top, bottom = (_index("ibug68", f"stomion_{n}") for n in ("superius", "inferius"))
    assert neutral[bottom, 1] - neutral[top, 1] < 2
    assert 15 < mouth[bottom, 1] - mouth[top, 1] < 40
    np.testing.assert_array_equal(mouth[17:48], neutral[17:48])  # brows, nose, eyes
    right, left = (_index("ibug68", name) for name in topologies.expand_sides("cheilion*"))
    assert 10 < (smile[left] - smile[right])[0] - (neutral[left] - neutral[right])[0] < 20
    assert smile[left, 1] < neutral[left, 1] - 3
    assert (brows[17:27, 1] < neutral[17:27, 1] - 4).all()
    np.testing.assert_allclose(brows[48:], neutral[48:], atol=0.5)


def _align(source, target):
    """Similarity transform without reflection of source (N, 3) onto target, least squares."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return (s * sign).sum() / (a**2).sum() * a @ (u * sign) @ vt + target.mean(0)


def test_close_to_another_face_model(shared):
    """Mean and variation against ICT FaceKit, not fitted to it; cm, y up, z toward the viewer."""
    ict = np.load(shared / "data/ict_facekit/ict68.npz")
    to_mm = 10 * np.array([1.0, -1.0, -1.0])
    target = ict["mean"] * to_mm
    model = synthetic.load("ibug68")
    for first, limit in ((0, 6.0), (17, 4.0)):
        source = np.asarray(model.mean, float)[first:]
        aligned = _align(source, target[first:])
        squared = ((aligned[:, None] - target[None, first:]) ** 2).sum(-1)
        assert np.sqrt(squared.diagonal().mean()) < limit
        # The best pairing of the two faces' points is by landmark: names and order are right.
        np.testing.assert_array_equal(linear_sum_assignment(squared)[1], np.arange(len(source)))
        # The same points inside out are far worse: the handedness is right.
        inside_out = _align(source * [1, 1, -1], target[first:]) - target[first:]
        assert np.sqrt((inside_out**2).sum(-1).mean()) > 2 * limit

    def spread(mean, identity):
        a = np.random.default_rng(0).standard_normal((1000, len(identity)))
        shapes = mean + np.einsum("fk,knd->fnd", a, identity)
        shapes = shapes - shapes.mean(1, keepdims=True)
        u, _, vt = np.linalg.svd(np.einsum("fni,nj->fij", shapes, shapes[0]))
        aligned = np.einsum("fni,fij->fnj", shapes, u @ vt)
        return np.sqrt(aligned.var(0).sum(-1).mean())

    ours = spread(np.asarray(model.mean), np.asarray(model.identity))
    theirs = spread(target, ict["identity"] * to_mm)
    assert ours == pytest.approx(theirs, rel=0.25)


def test_bfm72_close_to_the_authors_mean_frontal_face(shared):
    """The last bias of the released autoencoder: mean x and y (up) of the 72 points."""
    path = shared / "data/authors_release/AE_occ2orth_BFM.h5"
    with h5py.File(path) as file:
        target = file["batch_normalization_6/batch_normalization_6/beta:0"][:].reshape(72, 2)
    target = (target - target.mean(0)) * [1, -1]
    ours = np.asarray(synthetic.load("bfm72").mean, float)[:, :2]
    ours = ours - ours.mean(0)
    target = target * (ours * target).sum() / (target**2).sum()  # mm
    squared = ((ours[:, None] - target[None]) ** 2).sum(-1)
    assert np.sqrt(squared.diagonal().mean()) < 3.5
    np.testing.assert_array_equal(linear_sum_assignment(squared)[1], np.arange(72))


def test_the_directions_of_modes_are_the_same_on_every_machine():
    modes = synthetic.load("flame51").identity
    expected = [[-1.582, -1.106, -3.274], [-0.436, -0.743, -0.896], [0.521, -0.413, 0.274],
                [0.136, -0.018, -0.028], [0.027, 0.002, -0.007]]  # mm, of the first landmark
    np.testing.assert_allclose(modes[np.array([0, 1, 7, 30, 79]), 0], expected, atol=1e-3)
