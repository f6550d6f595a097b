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
from collections.abc import Sequence

from absl import flags

from deepmds_jax.cli import program
from deepmds_jax.cli.outputs import check_folder
from deepmds_jax.data import specs
from deepmds_jax.evaluation import scoring, tables
from deepmds_jax.evaluation.setting import Setting
from deepmds_jax.files import all_or_none
from deepmds_jax.methods import registry, table
from deepmds_jax.paper.parameter_counts import parameter_rows
from deepmds_jax.paper.reproduction import ITEMS, reproduce

_FLAGS = program.new_flags()
_METHODS = flags.DEFINE_list(
    "methods", list(table.SCORED),
    f"What to score: names of {list(table.METHODS)}, with =FILE where weights or predictions are "
    "read. Under --reproduce the default is the methods of the paper's table.", flag_values=_FLAGS,
)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Landmarks: a name, or a file NAME.toml; default: those of --weights.",
    flag_values=_FLAGS)
_METRIC = flags.DEFINE_enum(
    "metric", "all", [*scoring.FIELDS, "params"],
    "What to print; all adds tables by pose, of significance and of parameters.",
    flag_values=_FLAGS,
)
_WEIGHTS = flags.DEFINE_string(
    "weights", None,
    f"Of {table.DEFAULT}: shipped (a topology), a .safetensors file, a training run's workdir, or "
    "released:FOLDER; default: those shipped for --topology, or for ibug68.", flag_values=_FLAGS,
)
_DATASET = flags.DEFINE_string(
    "dataset", "synthetic",
    f"Test faces: one of {specs.names()}, or a spec of your own, NAME.toml.", flag_values=_FLAGS)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None,
    "Its files; default: DATA_ROOT/DATASET. Of a mix: a folder of data sets; default: DATA_ROOT.",
    flag_values=_FLAGS)
_DATA_ROOT = flags.DEFINE_string(
    "data_root", "data", "Holds a folder of files per dataset.", flag_values=_FLAGS)
_REFERENCE = flags.DEFINE_string(
    "reference", None,
    "Dataset whose mean face and model methods take; default: those that the weights were trained "
    "on. Those of the test faces know what is asked for.", flag_values=_FLAGS,
)
_NUM_FACES = flags.DEFINE_integer(
    "num_faces", None, "Test faces; default: the dataset's.", 1, flag_values=_FLAGS)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the test faces.", 0, 2**32 - 1, flag_values=_FLAGS)
_REPORT = flags.DEFINE_string(
    "report", None, "Folder for an HTML page of the scores.", flag_values=_FLAGS)
_REPRODUCE = flags.DEFINE_enum(
    "reproduce", None, [*ITEMS, "all"],
    "A table or figure of the paper: on the paper's data where their folder is in --data_root, "
    "else on free ones; with the weights of the runs in runs/.", flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string(
    "out", "results", "Folder for tables and pictures.", flag_values=_FLAGS)


def main(arguments: list[str]) -> None:
    """Scores as the flags say."""
    del arguments
    check_folder("out", _OUT.value)  # before hours of work
    if _REPORT.value:
        check_folder("report", _REPORT.value)
    if _REPRODUCE.value:
        return _reproduce(_REPRODUCE.value)
    reports, left_out, scores = [], [], None
    if _METRIC.value == "params" and _REPORT.value:
        raise ValueError("report: it shows scores, and --metric=params has none")
    if _METRIC.value != "params":
        scores = scoring.score_methods(
            _setting(), registry.join_texts(_METHODS.value), _DATASET.value, _METRIC.value,
            topology=_TOPOLOGY.value, weights=_WEIGHTS.value, reference=_REFERENCE.value)
        left_out = scores.left_out
        program.tell(scores.heading, scores.verdict)
        reports += scores.tables
    if _METRIC.value in ("params", "all"):  # last: errors are told before this takes its time
        reports.insert(0, ("params", parameter_rows(), {}))
    for _, rows, _ in reports:
        program.tell(tables.to_text(rows), "")
    with all_or_none():
        written = [path for report in reports for path in tables.write(_OUT.value, *report)]
        if scores is not None and _REPORT.value:
            written.append(str(scores.write_report(_REPORT.value)))
    if left_out:
        program.tell("left out:", *(f"  {line}" for line in left_out))
    program.tell(f"wrote {' '.join(written)}")
    return None


def _setting() -> Setting:
    if _DATA_DIR.value and not _DATASET.present:
        raise ValueError("data_dir: name the dataset whose files they are, with --dataset")
    folders = {_DATASET.value: pathlib.Path(_DATA_DIR.value)} if _DATA_DIR.value else {}
    return Setting(
        data_root=pathlib.Path(_DATA_ROOT.value),
        folders=folders,
        methods=registry.join_texts(_METHODS.value) if _METHODS.present else (),
        num_faces=_NUM_FACES.value,
        seed=_SEED.value,
    )


def _reproduce(item: str) -> None:
    for flag in (_METRIC, _WEIGHTS, _TOPOLOGY, _REFERENCE, _REPORT):
        if flag.present:
            raise ValueError(f"{flag.name}: no flag of --reproduce")
    if _DATASET.present and not _DATA_DIR.value:
        raise ValueError("dataset: under --reproduce it only says whose files --data_dir holds")
    specs.load_spec(_DATASET.value)
    items = list(ITEMS) if item == "all" else [item]
    tell = functools.partial(print, flush=True)
    left_out = reproduce(items, _setting(), pathlib.Path(_OUT.value), tell)
    if left_out:
        program.tell("left out:", *(f"  {line}" for line in left_out))
    program.tell(f"wrote {_OUT.value}/{item}.md and the files it names")


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments)
