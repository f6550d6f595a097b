"""Scores methods on faces they never saw, and reproduces the paper's tables and figures.

  bin/eval --metric=all                                  shipped weights, synthetic faces
  bin/eval --metric=depthcorr --weights=runs/ict_ibug68 --dataset=ict --data_dir=ICT-FaceKit
  bin/eval --methods=deep_mds,zhao=runs/zhao_ict_ibug68,aldrian --dataset=ict
  bin/eval --metric=params                               parameter counts, as in Table 2
  bin/eval --report=report                               a page with figures to turn, besides
  bin/eval --reproduce=table1                            as the paper's, its numbers beside ours
  bin/eval --reproduce=all --dataset=ict --data_dir=ICT-FaceKit
"""

import functools
import pathlib

import jax
import numpy as np
from absl import flags

from deepmds_jax import topologies
from deepmds_jax.cli import common
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.views import Faces
from deepmds_jax.evaluation import tables
from deepmds_jax.evaluation.metrics import CRITERIA, Metrics
from deepmds_jax.evaluation.protocol import (
    by_pose,
    describe_samples,
    draw_samples,
    evaluate,
    summarize,
)
from deepmds_jax.evaluation.report_page import write_report
from deepmds_jax.evaluation.significance import compare
from deepmds_jax.methods import Method, deep_mds, registry
from deepmds_jax.methods.external import FRAMES
from deepmds_jax.paper.experiments import Setting, draw_test_faces, test_key
from deepmds_jax.paper.parameter_counts import parameter_rows
from deepmds_jax.paper.reproduction import ITEMS, reproduce

_FIELDS = {
    "mse": ("mse",),
    "depthcorr": ("depthcorr", "depthcorr_share", "depth_correlation"),
    "nme": ("nme", "right_handed"),
    "all": tuple(criterion.field for criterion in CRITERIA),
}
_SHOWN = 12  # faces with 3D skeletons in the report

_METHODS = flags.DEFINE_list(
    "methods", ["deep_mds", "mean_shape", "posed_mean"],
    f"What to score: names of {list(registry.NAMES)}, with =FILE where weights or predictions are "
    "read. Under --reproduce the default is the methods of the paper's table.",
)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Landmarks; default: those of --weights."
)
_METRIC = flags.DEFINE_enum(
    "metric", "all", [*_FIELDS, "params"],
    "What to tell; all adds tables by pose, of significance and of parameters.",
)
_WEIGHTS = flags.DEFINE_string(
    "weights", None,
    "Of deep_mds: shipped (a topology), a .safetensors file, or a training run's workdir; default: "
    "those shipped for --topology, or for ibug68.",
)
_DATASET = flags.DEFINE_string("dataset", "synthetic", f"Test faces: one of {specs.names()}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Its files; default: DATA_ROOT/DATASET.")
_DATA_ROOT = flags.DEFINE_string("data_root", "data", "Holds a folder of files per dataset.")
_REFERENCE = flags.DEFINE_string(
    "reference", None,
    "Dataset whose mean face and model methods take; default: the test faces' own. Photographs "
    "have none.",
)
_NUM_FACES = flags.DEFINE_integer("num_faces", None, "Test faces; default: the dataset's.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the test faces.", 0, 2**32 - 1)
_REPORT = flags.DEFINE_string("report", None, "Folder for an HTML page of the scores.")
_REPRODUCE = flags.DEFINE_enum(
    "reproduce", None, [*ITEMS, "all"],
    "A table or figure of the paper: on the paper's data where their folder is in --data_root, "
    "else on free ones; with the weights of the runs in runs/.",
)
_OUT = flags.DEFINE_string("out", "results", "Folder for tables and pictures.")


def main() -> None:
    """Scores as the flags say."""
    common.check_writable("out", _OUT.value)  # before hours of work
    if _REPORT.value:
        common.check_writable("report", _REPORT.value)
    if _REPRODUCE.value:
        return _reproduce()
    reports, left_out = [], []
    if _METRIC.value in ("params", "all"):
        reports.append(("params", parameter_rows(), {}))
    if _METRIC.value != "params":
        reports += _scores(left_out)
    elif _REPORT.value:
        raise ValueError("report: it shows scores, and --metric=params has none")
    for _, rows, _ in reports:
        print(tables.to_text(rows), end="\n\n")
    written = [path for report in reports for path in tables.write(_OUT.value, *report)]
    if left_out:
        print("left out:", *left_out, sep="\n  ")
    print("wrote", *written)


def _setting() -> Setting:
    if _DATA_DIR.value and not _DATASET.present:
        raise ValueError("data_dir: name the dataset whose files they are, with --dataset")
    folders = {_DATASET.value: pathlib.Path(_DATA_DIR.value)} if _DATA_DIR.value else {}
    return Setting(
        data_root=pathlib.Path(_DATA_ROOT.value),
        folders=folders,
        methods=_method_texts() if _METHODS.present else (),
        num_faces=_NUM_FACES.value,
        seed=_SEED.value,
    )


def _method_texts() -> tuple[str, ...]:
    """The methods; a frame belongs to the predictions before it, "external=FILE,mesh"."""
    texts = []
    for text in _METHODS.value:
        if text in FRAMES and texts:
            texts[-1] += f",{text}"
        else:
            texts.append(text)
    return tuple(texts)


def _reproduce() -> None:
    for flag in (_METRIC, _WEIGHTS, _TOPOLOGY, _REFERENCE, _REPORT):
        if flag.present:
            raise ValueError(f"{flag.name}: no flag of --reproduce")
    if _DATASET.present and not _DATA_DIR.value:
        raise ValueError("dataset: under --reproduce it only says whose files --data_dir holds")
    specs.load_spec(_DATASET.value)
    items = list(ITEMS) if _REPRODUCE.value == "all" else [_REPRODUCE.value]
    tell = functools.partial(print, flush=True)
    left_out = reproduce(items, _setting(), pathlib.Path(_OUT.value), tell)
    if left_out:
        print("left out:", *left_out, sep="\n  ")
    print(f"wrote {_OUT.value}/{_REPRODUCE.value}.md and the files it names")


def _scores(left_out: list[str]) -> list[tuple[str, list[tables.Row], tables.Row]]:
    """Name, rows and description of each table; adds a line per method that cannot be run."""
    setting, texts = _setting(), _method_texts()
    topology, description, params = _TOPOLOGY.value, {}, None
    source = _WEIGHTS.value or topology or "ibug68"
    if topology is None or "deep_mds" in texts:
        params, description = common.load_weights(source)
        topology = topology or params.config.topology
        if params.config.topology != topology:
            raise ValueError(f"weights: {source} is for topology {params.config.topology}, "
                             f"--topology is {topology}")
    dataset = setting.open(_DATASET.value, topology)
    reference = setting.open(_REFERENCE.value, topology) if _REFERENCE.value else None
    methods, lines = registry.load_each(texts, lambda text: (
        deep_mds(params) if text == "deep_mds" else registry.load(text, dataset, reference)))
    left_out += lines
    faces = draw_test_faces(dataset, setting, methods, left_out)
    texts, methods = list(methods), list(methods.values())
    num_faces = len(faces.x2d)
    source = source if "deep_mds" in texts else None
    samples = draw_samples(test_key(setting.seed), num_faces)
    results = evaluate(methods, faces, topology)
    asked = [c.title for c in CRITERIA if c.field in _FIELDS[_METRIC.value]]
    kept = {"method", "not finite", *asked, *(f"{title} sd" for title in asked)}
    scores = [{key: value for key, value in row.items() if key in kept}
              for row in summarize(results, samples)]
    about = {
        "methods": texts, "left_out": left_out, "weights": source, "dataset": dataset.spec.name,
        "topology": topology, "num_faces": num_faces, "seed": setting.seed,
        "samples": describe_samples(samples, num_faces),
        "weights_metadata": description if source else {},
    }
    print(f"{about['samples']}, {dataset.spec.title}, topology {topology} "
          f"(N = {faces.x2d.shape[-2]}), weights {source or 'as given'}")
    found = {"": scores}
    if _METRIC.value == "all":
        found["by_pose"] = by_pose(results, faces.view)
        found["significance"] = compare(results, samples) if len(results) > 1 else []
    name = f"{dataset.spec.name}_{topology}_{_METRIC.value}"
    if _REPORT.value:
        print("wrote", _write_report(dataset, faces, methods, results, scores, about))
    return [(f"{name}_{kind}" if kind else name, rows, about)
            for kind, rows in found.items() if rows]


def _write_report(
    dataset: Dataset,
    faces: Faces,
    methods: list[Method],
    results: dict[str, Metrics],
    scores: list[tables.Row],
    about: tables.Row,
) -> pathlib.Path:
    first = jax.tree.map(lambda x: x[:_SHOWN], faces)
    return write_report(
        _REPORT.value,
        title=f"{', '.join(results)} on {dataset.spec.title}",
        about={key: "; ".join(value) if isinstance(value, list) else str(value)
               for key, value in about.items() if value and key != "weights_metadata"},
        tables={"Scores": scores},
        metrics=results,
        faces=faces,
        topology=topologies.get(dataset.topology),
        predictions={m.title: np.asarray(m.predict(first)) for m in methods},
    )


def run() -> None:
    """Console script."""
    common.run(main)
