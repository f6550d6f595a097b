"""What adaptation to unlabelled faces is worth, on faces that the weights never saw.

  python benchmarks/adaptation.py --data_root=data --topology=flame51

The kinds of faces: of `synthetic` and of MakeHuman, and of ICT with landmarks that are defined
elsewhere. Weights are adapted to some of each, and score on others. ICT itself shows that faces of
the weights' own kind do not become worse. How far one could come shows the Gaussian of the 3D
shapes of the same faces, which nobody has who adapts. Writes results/adaptation_*.
"""

import json
import pathlib
import time

import face_sets
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from deepmds_jax import adaptation
from deepmds_jax.data.morphable_model import sample_shapes
from deepmds_jax.data.views import Faces, Uniform, ViewGroup, view_shapes
from deepmds_jax.evaluation import learnt_shapes, tables
from deepmds_jax.evaluation.figures import save_figure
from deepmds_jax.evaluation.hardware import describe_hardware
from deepmds_jax.evaluation.metrics import score
from deepmds_jax.geometry import standardize
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.methods.baselines import posed_mean
from deepmds_jax.methods.gaussian import fit_gaussian, gaussian
from deepmds_jax.methods.saved import load_params, load_pretrained
from deepmds_jax.topologies import get as get_topology

RESULTS = pathlib.Path(__file__).parent / "results"
CASES = ((200, 0, 80), (60, 1, 45), (200, 2, 80), (50, 0, 80), (300, 0, 10))  # see `--cases`

_DATA_ROOT = flags.DEFINE_string("data_root", "data", "Holds ict (ICT-FaceKit) and makehuman.")
_TOPOLOGY = flags.DEFINE_enum("topology", "flame51", ["flame51", "ibug68"], "Landmarks.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Of the anchored system; default: shipped.")
_CASES = flags.DEFINE_integer(
    "cases", len(CASES), "How many of: 200 faces; 60 within 45 degrees of yaw with 1 % noise; 200 "
    "with 2 % noise; 50; 300 within 10 degrees of yaw. Each takes some 3 minutes for each of the 4 "
    "kinds of faces.", 1, len(CASES))
_NUM_TEST = flags.DEFINE_integer("num_test", 500, "Test faces of each kind.", 1)
_lift = jax.jit(reconstruct_detailed)


def main(_):
    topology, num = _TOPOLOGY.value, _NUM_TEST.value
    params = load_params(_WEIGHTS.value) if _WEIGHTS.value else load_pretrained(topology)
    ict, built, heads = face_sets.open_all(topology, pathlib.Path(_DATA_ROOT.value))
    keys = jax.random.split(jax.random.key(2**22), 6)
    total = max(count for count, *_ in CASES) + num
    elsewhere = face_sets.definitions(keys[0], ict.source.mean, topology, 1)
    own = sample_shapes(ict.source, keys[1], total, expression=True)
    kinds = {
        "synthetic": sample_shapes(built.source, keys[2], total),
        "MakeHuman": sample_shapes(heads.source, keys[3], total, expression=True),
        "ICT, landmarks elsewhere": own + elsewhere[0],
        "ICT, the weights' own": own,
    }
    rows = []
    for count, noise, yaw in CASES[: _CASES.value]:
        for name, shapes in kinds.items():
            views = ict.spec.views
            test = _see(keys[4], shapes[-num:], views, noise, topology)
            seen = _see(keys[5], shapes[:count], _turned(views, yaw), noise, topology)
            start = time.perf_counter()
            learnt = adaptation.learn_shapes(params, seen.x2d)
            learning = time.perf_counter() - start
            adapted = adaptation.refine(params, learnt)
            taken = time.perf_counter() - start
            if (count, noise) == (200, 0) and name == "MakeHuman":
                figure = learnt_shapes.draw(learnt, get_topology(topology))
                save_figure(figure, RESULTS / f"adaptation_{topology}.png")
            posed = posed_mean(params.reference).predict(test)
            errors = {
                "posed mean": posed,
                "Gaussian": _gaussian(learnt.before, test),
                "weights": _lift(params, test.x2d).points,
                "Gaussian, adapted": _gaussian(learnt.after, test),
                "weights, adapted": _lift(adapted, test.x2d).points,
                "Gaussian of their 3D": _gaussian(
                    fit_gaussian(shapes[:count])._replace(noise=learnt.after.noise), test),
            }
            errors = {k: 100 * float(score(standardize(test.points), v, topology).nme.mean())
                      for k, v in errors.items()}
            rows.append({
                "faces": name, "adapted to": count, "noise, %": noise, "yaw to": yaw,
                **{k: round(v, 3) for k, v in errors.items()},
                "adapted / weights": round(errors["weights, adapted"] / errors["weights"], 3),
                "s": round(taken), "of them learning shapes": round(learning),
            })
            print(tables.to_text(rows[-1:]), flush=True)
            _write(rows, topology, num)


def _write(rows, topology, num):
    stem = RESULTS / f"adaptation_{topology}"
    report = {"hardware": describe_hardware(), "topology": topology, "num_test": num, "rows": rows}
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    stem.with_suffix(".md").write_text(
        f"NME in % of the outer eye distance over {num} test faces, yaw to 80 degrees.\n\n"
        + tables.to_markdown(rows))


def _gaussian(prior, faces):
    return jax.jit(lambda x2d: gaussian(prior).predict(
        Faces(x2d, jnp.full((*x2d.shape[:-1], 3), np.nan))))(faces.x2d)


def _see(key, shapes, views, noise, topology):
    first, second = jax.random.split(key)
    faces = view_shapes(first, shapes, views)
    return face_sets.with_noise(second, faces, noise / 100, topology)


def _turned(views, yaw):
    return tuple(ViewGroup(**{**v._asdict(), "yaw": Uniform(-yaw, yaw)}) for v in views)


if __name__ == "__main__":
    app.run(main)
