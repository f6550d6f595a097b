"""Scores weights on faces they never saw, beside predictors that learn nothing.

  bin/eval --metric=all                                  shipped weights, synthetic faces
  bin/eval --metric=depthcorr --weights=runs/ict_ibug68 --dataset=ict --data_dir=ICT-FaceKit
  bin/eval --metric=params                               parameter counts, as in Table 2
"""

import pathlib

import jax
import numpy as np
from absl import flags

from deepmds_jax.cli import common
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.evaluation import tables
from deepmds_jax.evaluation.counts import parameter_rows
from deepmds_jax.evaluation.protocol import evaluate
from deepmds_jax.methods import deep_mds, mean_shape, posed_mean

# Test faces come from a key that no training seed gives.
_TEST_STREAM = 2**31 - 1
_COLUMNS = {
    "mse": {"MSE": "mse"},
    "depthcorr": {
        "DepthCorr (trace)": "depthcorr",
        "trace/N": "depthcorr_share",
        "depth correlation": "depth_correlation",
    },
}
_COLUMNS["all"] = _COLUMNS["mse"] | _COLUMNS["depthcorr"]

_METRIC = flags.DEFINE_enum("metric", "all", ["mse", "depthcorr", "params", "all"], "What to tell.")
_WEIGHTS = flags.DEFINE_string(
    "weights", "ibug68", "Shipped (a topology), a .safetensors file, or a training run's workdir."
)
_DATASET = flags.DEFINE_string("dataset", "synthetic", f"Test faces: one of {specs.names()}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Its files; default: data/DATASET.")
_NUM_FACES = flags.DEFINE_integer("num_faces", None, "Test faces; default: the dataset's.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the test faces.", 0, 2**32 - 1)
_OUT = flags.DEFINE_string("out", "results", "Folder for the JSON and CSV files.")


def main() -> None:
    """Scores as the flags say."""
    reports = []
    if _METRIC.value in ("params", "all"):
        reports.append(("params", parameter_rows(), {}))
    if _METRIC.value != "params":
        reports.append(_scores())
    for _, rows, _ in reports:
        print(tables.to_text(rows), end="\n\n")
    print("wrote", *(path for report in reports for path in tables.write(_OUT.value, *report)))


def _scores() -> tuple[str, list[tables.Row], tables.Row]:
    params, about = common.load_weights(_WEIGHTS.value)
    topology = params.config.topology
    spec = specs.load_spec(_DATASET.value)
    folder = pathlib.Path(_DATA_DIR.value or f"data/{spec.name}")
    dataset = open_dataset(spec, topology, folder)
    num_faces = _NUM_FACES.value or spec.num_test
    key = jax.random.fold_in(jax.random.key(_TEST_STREAM), _SEED.value)
    faces = dataset.draw(key, num_faces, test=True)
    methods = [deep_mds(params), mean_shape(dataset.mean), posed_mean(dataset.mean)]
    rows = []
    for name, metrics in evaluate(methods, faces).items():
        finite = np.isfinite(metrics.mse)
        row = {"method": name}
        for title, field in _COLUMNS[_METRIC.value].items():
            row[title] = float(np.mean(getattr(metrics, field)[finite]))
        rows.append(row | {"not finite": int(np.sum(~finite))})
    print(f"{num_faces} faces of {spec.title}, topology {topology} "
          f"(N = {faces.x2d.shape[-2]}), weights {_WEIGHTS.value}")
    about = {
        "weights": _WEIGHTS.value, "dataset": spec.name, "topology": topology,
        "num_faces": num_faces, "seed": _SEED.value, "weights_metadata": about,
    }
    return f"{spec.name}_{topology}_{_METRIC.value}", rows, about


def run() -> None:
    """Console script."""
    common.run(main)
