"""What each part of the anchored system is worth: trained, scored, and written as a table.

  python benchmarks/ablation.py --data_dir=ICT-FaceKit

Every row sees the same 8,000 faces of ICT-FaceKit in 20 passes, in the views of ict_wide (any head
pose, selfies, detector noise), with the 51 inner landmarks. The published rows draw their views
once, as published; the others draw them anew in every pass. The scores are of 5,000 new faces, for
three seeds. A quarter of an hour on two cores; an interrupted run goes on.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np
from absl import app, flags

from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.evaluation.hardware import describe_hardware
from deepmds_jax.evaluation.protocol import evaluate
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.methods import anchored, deep_mds
from deepmds_jax.methods.baselines import mean_shape, posed_mean
from deepmds_jax.methods.contract import Method
from deepmds_jax.training.run import train
from deepmds_jax.training.trainable import Run

RESULTS = pathlib.Path(__file__).parent / "results"
TOPOLOGY, DATASET = "flame51", "ict_wide"
SEEDS = (0, 1, 2)
NUM_TRAIN = 8000
_PUBLISHED = deep_mds.Training(autoencoder_epochs=19, dissimilarity_epochs=1)
_ANCHORED = anchored.Training(autoencoder_epochs=14, dissimilarity_epochs=6)
# Of each row: its name, what is trained, and what of the configuration is another when it runs.
ROWS = (
    ("published", "published", {}),
    ("ratio instead of ordinal MDS", "published", {"transform": "ratio"}),
    ("+ landmark identity", "identity", {"transform": "ratio"}),
    ("+ context", "parts", {"weighted": False, "observed": False}),
    ("+ weights", "parts", {"observed": False}),
    ("+ x, y observed", "parts", {}),
    ("+ end-to-end", "end_to_end", {}),
)
# Name -> what is trained: the method, its configuration and its training.
RUNS = {
    "published": (deep_mds, deep_mds.Config(TOPOLOGY), _PUBLISHED),
    "identity": (deep_mds, deep_mds.Config(TOPOLOGY, features="identity"), _PUBLISHED),
    "parts": (
        anchored, anchored.Config(TOPOLOGY), dataclasses.replace(_ANCHORED, end_to_end=False)),
    "end_to_end": (anchored, anchored.Config(TOPOLOGY), _ANCHORED),
}

_DATA_DIR = flags.DEFINE_string("data_dir", "data/ict_wide", "ICT-FaceKit.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/ablation", "Where the training runs are kept.")
_NUM_TEST = flags.DEFINE_integer("num_test", 5000, "Test faces.", 1)


def main(_):
    spec = dataclasses.replace(specs.load_spec(DATASET), occlusion=False)  # nothing here asks
    dataset = open_dataset(spec, TOPOLOGY, pathlib.Path(_DATA_DIR.value))
    faces = dataset.draw(jax.random.key(2**20), _NUM_TEST.value, test=True)

    def scores(method):
        (found,) = evaluate([method], faces, TOPOLOGY).values()
        return {"nme": float(found.nme.mean()), "mse": float(found.mse.mean()),
                "right_handed": float(found.right_handed.mean())}

    baselines = {m.title: scores(m) for m in (mean_shape(dataset.mean), posed_mean(dataset.mean))}
    rows = {name: [] for name, *_ in ROWS}
    rows["(the encoder of the last row alone)"] = []
    for seed in SEEDS:
        for trained, (method, config, training) in RUNS.items():
            run = Run(config, training, seed, NUM_TRAIN)
            workdir = pathlib.Path(_WORKDIR.value) / f"{trained}_{seed}"
            params = train(method, run, dataset, workdir)
            for name, of, other in ROWS:
                if of == trained:
                    changed = dataclasses.replace(
                        params, config=dataclasses.replace(params.config, **other))
                    rows[name].append(scores(method.as_method(changed)))
            if trained == ROWS[-1][1]:
                rows["(the encoder of the last row alone)"].append(scores(encoder_alone(params)))
        write(rows, baselines, len(faces.x2d))


def encoder_alone(params):
    def predict(faces):
        proposal = reconstruct_detailed(params, faces.x2d).proposal
        assert proposal is not None  # the anchored system has one
        return proposal

    return Method("encoder alone", predict, None)


def write(rows, baselines, num_faces):
    posed = baselines["posed mean"]["nme"]
    constant = baselines["mean shape"]["mse"]
    report = {"hardware": describe_hardware(), "num_test": num_faces, "baselines": baselines,
              "rows": rows}
    (RESULTS / "ablation.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = ["| | NME, % | of the posed mean's | MSE of the mean shape's | right-handed |",
             "|---|---|---|---|---|"]
    for name, found in (*((n, [b]) for n, b in baselines.items()), *rows.items()):
        if not found:
            continue
        nme, mse, right = (np.array([f[k] for f in found]) for k in ("nme", "mse", "right_handed"))
        lines.append(f"| {name} | {_spread(100 * nme, 2)} | {_spread(nme / posed, 3)} | "
                     f"{_spread(mse / constant, 3)} | {right.min():.4f} |")
    (RESULTS / "ablation.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _spread(values, digits):
    text = f"{values.mean():.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {values.std(ddof=1):.{digits}f}"


if __name__ == "__main__":
    app.run(main)
