import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmds_jax import load_pretrained, save_params
from deepmds_jax.data.datasets import Dataset, open_dataset
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.data.specs import load_spec
from deepmds_jax.data.views import Faces
from deepmds_jax.geometry import place_in_image, procrustes
from deepmds_jax.methods import mobileface, registry, zhao

NUM_FACES = 20


@pytest.fixture(scope="module")
def drawn():
    return open_dataset(load_spec("synthetic"), "flame51", pathlib.Path("nowhere"))


@pytest.fixture(scope="module")
def faces(drawn):
    return drawn.draw(jax.random.key(3), NUM_FACES)


@pytest.fixture(scope="module")
def photographs(drawn, faces):
    x2d, points = (jnp.asarray(np.asarray(x)[:2]) for x in (faces.x2d, faces.points))
    source = Recordings(x2d, points, ["a", "b"], [None, None], "flame51", "mm")
    return Dataset(drawn.spec, source, drawn.folder)


@pytest.fixture
def zhao_run(tmp_path, random_params):
    params = random_params(zhao, zhao.Config("flame51"))
    save_params(tmp_path / "zhao" / "weights.safetensors", params, {})
    return tmp_path / "zhao"


def run(method, faces):
    return np.asarray(jax.jit(method.predict)(faces))


def test_methods_without_files(drawn):
    titles = {n: registry.load(n, drawn).title
              for n in ("deep_mds", "deep_mds=flame51_published", "aldrian", "aldrian_observed",
                        "mean_shape", "posed_mean", "gaussian")}
    assert titles == {
        "deep_mds": "Deep-MDS, anchored", "deep_mds=flame51_published": "Deep-MDS",
        "aldrian": "Aldrian & Smith", "aldrian_observed": "Aldrian & Smith, x and y observed",
        "mean_shape": "mean shape", "posed_mean": "posed mean", "gaussian": "Gaussian",
    }
    assert registry.load("deep_mds=flame51", drawn).num_params == 19_907 + 2_407
    assert registry.load("deep_mds=flame51_published", drawn).num_params == 19_378 + 2_645


def test_the_observed_fit_keeps_its_depth_and_the_landmarks_x_and_y(drawn, faces):
    faces = faces._replace(x2d=3 * faces.x2d + 100)  # another unit and origin than the fit's
    fit, observed = (registry.load(f"{n}=0.01", drawn) for n in ("aldrian", "aldrian_observed"))
    assert observed.num_params == fit.num_params

    @jax.jit
    def compare(faces):
        points = {"fit": fit.predict(faces), "observed": observed.predict(faces),
                  "mean": registry.load("posed_mean", drawn).predict(faces)}
        placed = place_in_image(points["fit"], faces.x2d).points
        moved = {k: procrustes(p, faces.points)(p) - faces.points for k, p in points.items()}
        return points["observed"], placed, moved

    points, placed, moved = jax.device_get(compare(faces))
    np.testing.assert_array_equal(points[..., :2], faces.x2d)
    np.testing.assert_allclose(points[..., 2], placed[..., 2], atol=1e-2)
    error = {k: np.median(np.sqrt(np.mean(np.sum(d**2, -1), -1))) for k, d in moved.items()}
    assert error["observed"] < 0.9 * error["mean"]
    assert error["observed"] < error["fit"]  # exact landmarks help a fit that allows for noise


def test_networks_from_files(drawn, faces, tmp_path, zhao_run, random_params):
    points = run(registry.load(f"zhao={zhao_run}", drawn), faces)
    assert points.shape == (NUM_FACES, 51, 3)
    params = random_params(mobileface, mobileface.Config("flame51", num_coefficients=4))
    save_params(tmp_path / "m.safetensors", params, {})
    method = registry.load(f"mobileface={tmp_path / 'm.safetensors'}", drawn)
    assert method.num_params == sum(x.size for x in jax.tree.leaves(params.network["params"]))
    save_params(tmp_path / "run" / "weights.safetensors", load_pretrained("flame51"), {})
    assert registry.load(f"deep_mds={tmp_path / 'run'}", drawn).title == "Deep-MDS, anchored"


def test_coefficients_of_another_model_are_refused(drawn, tmp_path, random_params):
    config = mobileface.Config("flame51", num_coefficients=4, source="ict")
    save_params(tmp_path / "m.safetensors", random_params(mobileface, config), {})
    with pytest.raises(ValueError, match="the model of the source ict, not of synthetic"):
        registry.load(f"mobileface={tmp_path / 'm.safetensors'}", drawn)


def test_released_weights(drawn, faces, shared):
    folder = shared / "data" / "authors_release"
    points = run(registry.load(f"zhao=released:{folder}", drawn), faces)
    assert np.corrcoef(points[0, :, 2], faces.points[0, :, 2])[0, 1] > 0.5
    assert registry.load(f"deep_mds=released:{folder}", drawn).num_params == 19_378 + 2_625
    with pytest.raises(ValueError, match="the model of the source bfm, not of synthetic"):
        registry.load(f"mobileface=released:{folder}", drawn)


def test_predictions_from_files(photographs, tmp_path):
    points = np.arange(2 * 51 * 3.0).reshape(2, 51, 3)
    np.savez(tmp_path / "ringnet.npz", names=["b", "a"], points=points)
    rows = Faces(photographs.source.x2d, None, row=jnp.arange(2))
    method = registry.load(f"external={tmp_path / 'ringnet.npz'},mesh", photographs)
    assert method.title == "ringnet"
    np.testing.assert_allclose(method.predict(rows), points[::-1] * [1, -1, -1])
    np.save(tmp_path / "a.npy", np.ones((468, 3)))
    np.save(tmp_path / "b.npy", np.zeros((468, 3)))
    method = registry.load(f"mediapipe={tmp_path}", photographs)
    np.testing.assert_array_equal(method.predict(rows)[:, 0], [[1, 1, 1], [0, 0, 0]])


def test_photographs_take_the_model_of_a_reference(photographs, drawn):
    rows = Faces(photographs.source.x2d, None, row=jnp.arange(2))
    for name in ("aldrian", "mean_shape", "posed_mean"):
        method = registry.load(name, photographs, drawn)
        assert jax.eval_shape(method.predict, rows).shape == (2, 51, 3)
    with pytest.raises(ValueError, match="aldrian: the dataset synthetic is no morphable model"):
        registry.load("aldrian", photographs)


@pytest.mark.parametrize(("text", "message"), [
    ("ringnet", "methods: expected one of .*'ringnet'"),
    ("zhao", "zhao: expected zhao=PATH"),
    ("zhao=nowhere", "nowhere: no such file; weights are one of"),
    ("deep_mds=ibug68", "for topology ibug68, the faces have flame51"),
    ("deep_mds=ibug68_published", "for topology ibug68, the faces have flame51"),
    ("aldrian_observed=much", "noise: expected a number, got 'much'"),
    ("aldrian=much", "noise: expected a number, got 'much'"),
    ("aldrian=-1", "noise: expected a number above 0"),
    ("aldrian=nan", "noise: expected a number above 0"),
    ("mean_shape=x", "takes nothing after the name"),
    ("external=x.npz", "drawn from a model"),
    ("mediapipe=x", "drawn from a model"),
])
def test_what_cannot_be_loaded_is_told(drawn, text, message):
    with pytest.raises(ValueError, match=message):
        registry.load(text, drawn)


def test_network_of_another_method_is_told(drawn, zhao_run):
    for name in ("mobileface", "deep_mds"):
        with pytest.raises(ValueError, match=f"of method zhao; expected that of {name}"):
            registry.load(f"{name}={zhao_run}", drawn)


def test_each_method_has_a_title_of_its_own_and_those_that_fail_are_told(drawn):
    texts = ["aldrian", "aldrian=0.1", "aldrian", "zhao=nowhere", "hourglass"]
    methods, left_out = registry.load_each(texts, lambda text: registry.load(text, drawn))
    assert {text: method.title for text, method in methods.items()} == {
        "aldrian": "Aldrian & Smith", "aldrian=0.1": "Aldrian & Smith (0.1)"}
    assert left_out[0].startswith("zhao: nowhere: no such file; weights are one of ")
    assert "hourglass" in left_out[1]
    assert len(left_out) == 2
    with pytest.raises(ValueError, match="no method can be run: zhao: nowhere"):
        registry.load_each(["zhao=nowhere"], lambda text: registry.load(text, drawn))
