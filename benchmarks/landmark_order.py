"""How often landmarks in another order are told, and how often faces in order are told by mistake.

  python benchmarks/landmark_order.py --data_root=data

Of the faces of ICT with expressions, `synthetic` and MakeHuman, in wide views (yaw to 80 degrees),
lifted by the shipped weights, the share that has not converged; at several levels of noise, in % of
the distance of the outer eye corners. Then, for each kind of reordering of ICT's faces, the share
that has not converged, and the share of which the right kind fits best. Writes
results/landmark_order.json and .md.
"""

import json
import pathlib
import re

import face_sets
import jax
import numpy as np
from absl import app, flags

from deepmds_jax import landmark_order
from deepmds_jax.data.morphable_model import sample_shapes
from deepmds_jax.data.views import view_shapes
from deepmds_jax.evaluation.tables import to_markdown
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.methods.saved import load_pretrained

RESULTS = pathlib.Path(__file__).parent / "results"
TOPOLOGIES = ("flame51", "ibug68")
NOISES = (0, 1, 3)

_DATA_ROOT = flags.DEFINE_string("data_root", "data", "Holds the folders ict and makehuman.")
_NUM_TEST = flags.DEFINE_integer("num_test", 1000, "Faces.", 1)


def main(_):
    alarms, told = [], []
    for topology in TOPOLOGIES:
        more_alarms, more_told = _measure(topology)
        alarms, told = alarms + more_alarms, told + more_told
    report = {"num_test": _NUM_TEST.value, "in order": alarms, "in another order": told}
    (RESULTS / "landmark_order.json").write_text(json.dumps(report, indent=1) + "\n")
    text = f"{to_markdown(alarms)}\n\n{to_markdown(told)}\n"
    (RESULTS / "landmark_order.md").write_text(text)
    print(text)


def _measure(topology):
    params, num = load_pretrained(topology), _NUM_TEST.value
    lift = jax.jit(lambda params, x2d: reconstruct_detailed(params, x2d).converged)
    fits = jax.jit(lambda x2d: landmark_order.gains(x2d, params.unexplained, topology)
                   + landmark_order.reorderings(topology).min_gains)
    datasets = face_sets.open_all(topology, pathlib.Path(_DATA_ROOT.value))
    views = datasets[0].spec.views
    alarms, ict = [], {}
    for title, dataset in zip(("ICT", "synthetic", "MakeHuman"), datasets, strict=True):
        shapes_key, views_key, noise_key = jax.random.split(jax.random.key(2**21), 3)
        shapes = sample_shapes(dataset.source, shapes_key, num, expression=dataset.spec.expression)
        faces = view_shapes(views_key, shapes, views)
        row = {"weights": topology, "faces in order": title}
        for noise in NOISES:
            seen = face_sets.with_noise(noise_key, faces, noise / 100, topology).x2d
            row[f"{noise} % noise"] = _percent(~lift(params, seen))
            if title == "ICT":
                ict[noise] = seen
        alarms.append(row)

    known = landmark_order.reorderings(topology)
    kinds = {}
    for k, text in enumerate(known.descriptions):
        kinds.setdefault(text, []).append(k)
    told = []
    for text, ks in kinds.items():
        row = {"weights": topology, "order": _plain(text), "orders": len(ks)}
        for noise, x2d in ict.items():
            shares = []
            for k in ks:
                moved = known.weights[k] > 0
                order = np.arange(x2d.shape[1])
                order[known.landmarks[k][moved]] = known.instead[k][moved]
                given = x2d[:, order]
                best = np.asarray(fits(given)).argmax(axis=1)
                named = [known.descriptions[i] == text for i in best]
                shares.append((np.mean(~np.asarray(lift(params, given))), np.mean(named)))
            not_converged, named = np.mean(shares, axis=0)
            row[f"{noise} %: told"] = _percent(not_converged)
            row[f"{noise} %: best fit"] = _percent(named)
        told.append(row)
    return alarms, told


def _percent(share):
    return round(100 * float(np.mean(share)), 1)


def _plain(text):
    return re.sub(r" \([^)]*\)", "", text)


if __name__ == "__main__":
    app.run(main)
