"""Scores of methods on the test faces of a dataset, as tables and as a page."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.views import Faces, take_faces
from deepmds_jax.evaluation.metrics import CRITERIA, Metrics, error_unit, has_eye_corners
from deepmds_jax.evaluation.protocol import (
    by_pose,
    describe_samples,
    draw_samples,
    evaluate,
    summarize,
)
from deepmds_jax.evaluation.report_page import write_report
from deepmds_jax.evaluation.setting import (
    Setting,
    draw_test_faces,
    test_key,
    training_faces,
)
from deepmds_jax.evaluation.significance import compare
from deepmds_jax.evaluation.tables import Row
from deepmds_jax.methods import Method, registry, table
from deepmds_jax.methods.saved import load_weights

# Criteria by the name of a choice of them.
FIELDS = {
    "mse": ("mse",),
    "depthcorr": ("depthcorr", "depthcorr_share", "depth_correlation"),
    "nme": ("nme", "right_handed"),
    "all": tuple(criterion.field for criterion in CRITERIA),
}
_NUM_SHOWN = 12  # faces with 3D skeletons in the report


@dataclasses.dataclass(frozen=True)
class Scores:
    """Methods scored on test faces.

    Attributes:
      heading: what was scored on what, in words.
      tables: name, rows and description of each table.
      left_out: a line for each method that could not be run.
      dataset, faces: the test faces.
      methods: those that ran.
      results: by title, their `Metrics` of each face.
      summary: a row per method.
      about: the description of all tables.
    """

    heading: str
    tables: Sequence[tuple[str, Sequence[Row], Row]]
    left_out: list[str]
    dataset: Dataset
    faces: Faces
    methods: Sequence[Method]
    results: Mapping[str, Metrics]
    summary: Sequence[Row]
    about: Row

    @property
    def verdict(self) -> str:
        """Which method is best, in a line; empty if there is only one."""
        if len(self.results) < 2:
            return ""
        nme = {title: float(np.mean(found.nme)) for title, found in self.results.items()}
        best, *others = sorted(nme, key=lambda title: nme[title])
        rest = ", ".join(f"{title} {100 * nme[title]:.2f}" for title in others)
        return f"least NME: {best} with {100 * nme[best]:.2f} %; {rest}"

    def write_report(self, folder: str) -> pathlib.Path:
        """Writes a page of the scores, with faces to turn; returns its path."""
        first = take_faces(self.faces, slice(_NUM_SHOWN))
        return write_report(
            folder,
            title=f"{', '.join(self.results)} on {self.dataset.spec.title}",
            about={key: "; ".join(value) if isinstance(value, list) else str(value)
                   for key, value in self.about.items() if value and key != "weights_metadata"},
            tables={"Scores": self.summary},
            metrics=self.results,
            faces=self.faces,
            topology=topologies.get(self.dataset.topology),
            predictions={m.title: np.asarray(m.predict(first)) for m in self.methods},
        )


def score_methods(
    setting: Setting,
    texts: Sequence[str],
    dataset_name: str,
    metric: str,
    *,
    topology: str | None = None,
    weights: str | None = None,
    reference: str | None = None,
) -> Scores:
    """Runs methods over the test faces of a dataset.

    Args:
      setting: where the files lie, how many faces, the seed.
      texts: methods, as `methods.registry.load` takes them; the default method, by its name alone,
        takes `weights`.
      dataset_name: of the test faces.
      metric: which criteria, a key of `FIELDS`; "all" adds tables by pose and of significance.
      topology: of the landmarks; that of the weights by default.
      weights: see `weights.locate.locate`; those shipped for the topology, or for ibug68, by
        default.
      reference: name of the dataset whose mean face and model methods take; by default those of
        the weights' training faces, or the test faces' own where no weights are scored. A method
        that takes the test faces' own says so in its title.

    Raises:
      ValueError: the weights or the data cannot be read, or no method can be run.
    """
    topology = topology and topologies.get(topology).name
    source = weights or topology or "ibug68"
    if topology is None or table.DEFAULT in texts:
        params, description = _load_weights(source, topology)
        topology = str(params.config.topology)
    else:
        params, description = None, {}
    dataset = setting.open(dataset_name, topology)
    referred = setting.open(reference, topology) if reference else dataset
    known = referred if reference or params is None else training_faces(params, description)

    def load(text: str) -> Method:
        if text == table.DEFAULT:
            return table.method_of(params).as_method(params, referred)
        if text.partition("=")[0] not in table.FROM_REFERENCE:
            return registry.load(text, dataset, referred)
        method = registry.load(text, dataset, known)
        if known.spec.name == dataset.spec.name:
            return method._replace(title=f"{method.title}, knows the test faces")
        return method

    methods, left_out = registry.load_each(texts, load)
    faces = draw_test_faces(dataset, setting, methods, left_out)
    num_faces = len(faces.x2d)
    used = source if table.DEFAULT in methods else None
    samples = draw_samples(test_key(setting.seed), num_faces)
    results = evaluate(list(methods.values()), faces, topology)
    asked = [c.title for c in CRITERIA if c.field in FIELDS[metric]]
    kept = {"method", "not finite", *asked, *(f"{title} sd" for title in asked)}
    summary = [{key: value for key, value in row.items() if key in kept}
               for row in summarize(results, samples)]
    about = {
        "methods": list(methods), "left_out": left_out, "weights": used,
        "dataset": dataset.spec.name, "topology": topology, "num_faces": num_faces,
        "seed": setting.seed, "samples": describe_samples(samples, num_faces),
        "weights_metadata": dict(description) if used else {},
    }
    heading = (f"{about['samples']}, {dataset.spec.title}, topology {topology} "
               f"(N = {faces.x2d.shape[-2]}), weights {used or 'as given'}")
    if not has_eye_corners(topologies.get(topology)):
        heading += f"\nNME here is relative to {error_unit(topologies.get(topology))}"
        about["NME relative to"] = error_unit(topologies.get(topology))
    found: dict[str, Sequence[Row]] = {"": summary}
    if metric == "all":
        found["by_pose"] = by_pose(results, faces.view)
        found["significance"] = compare(results, samples) if len(results) > 1 else []
    name = f"{dataset.spec.name}_{topology}_{metric}"
    tables = [(f"{name}_{kind}" if kind else name, rows, about)
              for kind, rows in found.items() if rows]
    return Scores(heading, tables, left_out, dataset, faces, list(methods.values()), results,
                  summary, about)


def _load_weights(source: str, topology: str | None) -> tuple[Any, dict[str, Any]]:
    try:
        return load_weights(source, topology=topology)
    except ValueError as error:
        raise ValueError(f"weights: {error}") from error
