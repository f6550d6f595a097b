"""How good the shipped weights are: on ICT, on faces never seen, with noise, with holes.

  python benchmarks/anchored.py --data_root=data --topology=flame51

Scores the shipped weights beside the posed mean, the best linear estimate (`gaussian`, of the same
training faces) and a linear 3DMM fit (Aldrian & Smith) with the observed x and y, all of the ICT
model. Faces never seen: of `synthetic`, built from anthropometry; of MakeHuman; MediaPipe's
canonical face, a single shape, in as many views; and, for weights trained here for a third as long
on half of ICT's identity modes and expressions, faces of the other half with landmarks that are
defined elsewhere. Writes results/anchored_*.
"""

import dataclasses
import functools
import json
import pathlib

import face_sets
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from deepmds_jax.data import specs
from deepmds_jax.data.augmentation import augmented_faces, deformation_basis
from deepmds_jax.data.morphable_model import MorphableModel, sample_shapes
from deepmds_jax.data.outline import jaw_landmarks
from deepmds_jax.data.views import Faces, Uniform, ViewGroup, view_shapes
from deepmds_jax.evaluation.hardware import describe_hardware
from deepmds_jax.evaluation.metrics import score
from deepmds_jax.extras import require
from deepmds_jax.geometry import (
    angles_from_rotation,
    place_in_image,
    procrustes,
    rotation_from_angles,
    standardize,
)
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.methods import anchored
from deepmds_jax.methods.aldrian import aldrian
from deepmds_jax.methods.baselines import posed_mean
from deepmds_jax.methods.gaussian import gaussian, of_dataset
from deepmds_jax.methods.observed import observed
from deepmds_jax.methods.saved import load_params, load_pretrained
from deepmds_jax.training.run import train
from deepmds_jax.training.trainable import Run

RESULTS = pathlib.Path(__file__).parent / "results"
NOISES = (0, 1, 2, 3, 4, 5)  # % of the outer eye distance
MISSING = (0, 10, 20, 30, 40, 50)  # % of the landmarks
_NOISE = 0.01  # of the outer eye distance, elsewhere
_DEFINITIONS = 50  # of landmarks, on the held-out half of ICT
_FIT_NOISE = 0.03  # what the linear fit takes for its own error: the best of 0.01, 0.03 and 0.1

_DATA_ROOT = flags.DEFINE_string("data_root", "data", "Holds ict (ICT-FaceKit), makehuman and "
                                 "face_landmarker (MediaPipe's face_landmarker.task).")
_TOPOLOGY = flags.DEFINE_enum("topology", "flame51", ["flame51", "ibug68"], "Landmarks.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Of the anchored system; default: shipped.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/half", "Training on half of ICT's modes.")
_NUM_TEST = flags.DEFINE_integer("num_test", 5000, "Test faces of each set.", 1)


def main(_):
    topology, num = _TOPOLOGY.value, _NUM_TEST.value
    params = load_params(_WEIGHTS.value) if _WEIGHTS.value else load_pretrained(topology)
    root = pathlib.Path(_DATA_ROOT.value)
    ict, built, heads = face_sets.open_all(topology, root)
    mediapipe = face_sets.canonical(topology, root)
    paper = specs.load_spec("ict").views
    model, wide = _model(ict), ict.spec.views
    keys = jax.random.split(jax.random.key(2**21), 8)
    shapes = sample_shapes(model, keys[0], num, expression=True)
    halves = [face_sets.half(model, i) for i in (0, 1)]
    train_half = dataclasses.replace(ict, source=halves[0])
    half = train(
        anchored,
        Run(anchored.Config(topology),
            anchored.Training(autoencoder_epochs=30, dissimilarity_epochs=8)),
        train_half, pathlib.Path(f"{_WORKDIR.value}_{topology}"),
    )
    basis = deformation_basis(np.asarray(model.mean))
    held_out = sample_shapes(halves[1], keys[1], num, expression=True)
    offsets = face_sets.definitions(keys[2], model.mean, topology, _DEFINITIONS)
    held_out = held_out + offsets[jnp.arange(num) % _DEFINITIONS]

    def seen(points, views=wide, noise=_NOISE):
        return face_sets.with_noise(
            keys[4], view_shapes(keys[3], points, views), noise, topology)

    shipped, halved = _comparer(params, ict), _comparer(half, train_half)
    frontal = tuple(v._replace(yaw=Uniform(-10, 10), pitch=Uniform(-10, 10)) for v in wide)
    augmented = augmented_faces(keys[6], ict.draw_shapes(keys[6], num, jaw_lines=True), wide, 0.0,
                                ict.spec.augmentation, topology, basis)
    report = {"hardware": describe_hardware(), "topology": topology, "num_test": num, "sets": {
        "ICT, wide views": shipped(seen(shapes)),
        "ICT, neutral, the paper's views, no noise": shipped(
            seen(sample_shapes(model, keys[5], num), paper, 0.0)),
        "ICT, frontal (yaw and pitch to 10°)": shipped(seen(shapes, frontal)),
        "ICT as in training (deformed, up to 55 % missing)": shipped(augmented),
        "synthetic, wide views": shipped(seen(sample_shapes(_model(built), keys[7], num))),
        "MakeHuman, wide views": shipped(
            seen(sample_shapes(_model(heads), keys[7], num, expression=True))),
        "MediaPipe's canonical face, wide views": shipped(seen(jnp.repeat(mediapipe, num, axis=0))),
        "held-out half of ICT and offsets, by half": halved(seen(held_out)),
    }}
    report["noise"] = {n: shipped(seen(shapes, noise=n / 100)) for n in NOISES}
    missing = jax.random.uniform(keys[2], shapes.shape[:2])
    report["missing"] = {
        m: shipped(seen(shapes)._replace(visible=missing >= m / 100)) for m in MISSING
    }
    report["yaw"] = {
        f"{low} to {low + 20}": shipped(seen(shapes, _turned(wide, low)), with_fit=False)
        for low in (0, 20, 40, 60)
    }
    stem = RESULTS / f"anchored_{topology}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    stem.with_suffix(".md").write_text(_tables(report))
    _draw(report).savefig(stem.with_suffix(".png"), dpi=130)
    print(_tables(report))


def _model(dataset):
    assert isinstance(dataset.source, MorphableModel)
    return dataset.source


def _turned(views, low):
    """The views with yaw between `low` and 20 degrees more, to either side."""
    return tuple(ViewGroup(**{**v._asdict(), "share": v.share / 2, "yaw": Uniform(*yaw)})
                 for v in views for yaw in ((-low - 20, -low), (low, low + 20)))


def _comparer(params, dataset):
    """Compares sets of faces by these weights with what is made of their training data."""
    model = _model(dataset)
    baselines = {"posed mean": posed_mean(model.mean), "Gaussian": gaussian(of_dataset(dataset)),
                 "linear 3DMM, x and y observed": observed(
                     aldrian(model, _FIT_NOISE, expression=True))}
    baselines = {
        name: jax.jit(lambda x2d, predict=method.predict: predict(
            Faces(x2d, points=jnp.full((*x2d.shape[:-1], 3), jnp.nan))))
        for name, method in baselines.items()
    }
    return functools.partial(_compare, params, baselines, model)


def _compare(params, baselines, model, faces, with_fit=True):
    """Mean scores of a set of faces, and how well the standard deviations cover the errors."""
    topology = model.topology
    seen = faces.visible
    seen = jnp.ones(faces.x2d.shape[:2], bool) if seen is None else seen
    found = _in_batches(lambda x2d, seen: _lift(params, x2d, seen), faces.x2d, seen)
    truth = standardize(faces.points)
    points = {"encoder alone": found.proposal, "anchored": found.points}
    for name, predict in baselines.items():
        if name == "posed mean" or (with_fit and faces.visible is None):
            points[name] = _predict(predict, faces)
    scores = {name: score(truth, p, topology) for name, p in points.items()}
    fit = procrustes(found.points, truth)
    errors = fit.scale[:, None, None] * found.points
    errors = jnp.abs(errors - (truth - fit.translation[:, None]) @ fit.rotation.mT) / found.std
    # The pose of a face is that of its inner landmarks, aligned to the mean face's.
    inner = np.setdiff1d(np.arange(len(model.mean)), jaw_landmarks(topology))
    view, mean = faces.view, standardize(model.mean)
    true = rotation_from_angles(view.yaw, view.pitch, view.roll)
    true = angles_from_rotation(true @ procrustes(faces.points[:, inner], mean[inner]).rotation)
    turned = np.abs(np.stack(angles_from_rotation(found.rotation)) - np.stack(true))
    turned = np.minimum(turned, 360 - turned)
    near = np.abs(view.yaw) <= 60
    angles = {name: float(np.median(turned[i, near]))
              for i, name in enumerate(("yaw", "pitch", "roll")) if near.any()}
    covered = float(np.mean(turned < found.angle_std.T))
    return {
        "nme": {name: float(s.nme.mean()) for name, s in scores.items()},
        "mse": {name: float(s.mse.mean()) for name, s in scores.items()},
        "right_handed": float(scores["anchored"].right_handed.mean()),
        "converged": float(found.converged.mean()),
        "iterations": float(found.num_iters.mean()),
        "coverage": [float(jnp.mean(errors < k)) for k in (1.0, 2.0)],
        "median_pose_error": angles,
        "angle_coverage": covered,
    }


_lift = jax.jit(reconstruct_detailed)


def _in_batches(function, *arrays):
    """The function of faces, 250 at a time; the last batch overlaps with the one before."""
    num = len(arrays[0])
    starts = [min(start, max(num - 250, 0)) for start in range(0, num, 250)]
    parts = [jax.device_get(function(*(x[s : s + 250] for x in arrays))) for s in starts]
    keep = [start - begin for start, begin in zip(range(0, num, 250), starts, strict=True)]
    return jax.tree.map(
        lambda *x: jnp.concatenate([p[k:] for p, k in zip(x, keep, strict=True)]), *parts
    )


def _predict(predict, faces):
    """Predictions; where landmarks are missing, their x and y are the prediction's own, posed."""
    points = _in_batches(predict, faces.x2d)
    if faces.visible is None:
        return points
    hidden = place_in_image(points, faces.x2d).points
    return jnp.where(faces.visible[..., None], points, hidden)


def _tables(report):
    lines = [f"{report['num_test']} faces a row, {report['topology']}; NME in % of the outer eye "
             f"distance, alignment without reflection; 1 % noise unless it says otherwise.", ""]
    for part, title in (("sets", "faces"), ("noise", "noise, %"), ("missing", "missing, %"),
                        ("yaw", "yaw, degrees")):
        names = [n for n in ("posed mean", "Gaussian", "linear 3DMM, x and y observed",
                             "encoder alone", "anchored")
                 if any(n in r["nme"] for r in report[part].values())]
        head = [title, *names, "anchored / posed mean", "within 1 and 2 std",
                "median error of yaw, pitch, roll to 60°", "angles within 1 std", "right-handed",
                "converged"]
        lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for name, row in report[part].items():
            nme = row["nme"]
            cells = [str(name), *(f"{100 * nme[n]:.2f}" if n in nme else "" for n in names),
                     f"{nme['anchored'] / nme['posed mean']:.3f}",
                     " ".join(f"{c:.3f}" for c in row["coverage"]),
                     " ".join(f"{a:.1f}" for a in row["median_pose_error"].values()),
                     f"{row['angle_coverage']:.3f}", f"{row['right_handed']:.4f}",
                     f"{row['converged']:.4f}"]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _draw(report):
    figure = require("matplotlib.figure", "pictures").Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    labels = {"noise": "noise of each coordinate, % of the outer eye distance",
              "missing": "missing landmarks, %"}
    # The last one is nearly the same as the one before, and dashed to let it be seen.
    style = {"posed mean": "oC7-", "Gaussian": "oC1-", "linear 3DMM, x and y observed": "oC2-",
             "anchored": "oC3-", "encoder alone": "C0--"}
    for ax, (part, label) in zip(axes, labels.items(), strict=True):
        for name, form in style.items():
            rows = {float(x): r["nme"][name] for x, r in report[part].items() if name in r["nme"]}
            if rows:
                ax.plot(list(rows), [100 * y for y in rows.values()], form, markersize=4,
                        label=name)
        ax.set_xlabel(label)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("NME, % of the outer eye distance")
    axes[0].set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{report['topology']}: {report['num_test']} faces of ICT in wide views",
                    fontsize=10)
    return figure


if __name__ == "__main__":
    app.run(main)
