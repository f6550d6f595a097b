"""Pages of tables 1 to 4."""

import dataclasses
from collections.abc import Callable

import numpy as np

from deepmds_jax.evaluation.protocol import describe_samples
from deepmds_jax.evaluation.significance import compare
from deepmds_jax.paper import paper_tables
from deepmds_jax.paper.experiments import Experiments, Scored
from deepmds_jax.paper.page import Page
from deepmds_jax.paper.published import PARAMETERS_TITLE, SCORES, TRIVIAL, Data

BASELINES = ("mean_shape", "posed_mean")


def score_page(name: str) -> Callable[[Experiments], Page]:
    """What makes the page of table 1, 3 or 4."""

    def make(experiments: Experiments) -> Page:
        table = SCORES[name]
        names = (*table.scores, *BASELINES)
        scored = experiments.score(table.data, names)
        trivial = experiments.trivial(table.data, names) if TRIVIAL in table.scores else None
        notes = [*describe(scored), f"{paper_tables.unit(table)}; ours: mean and standard "
                 "deviation over the samples. The trace (DepthCorr) is at most N, so compare "
                 "trace/N."]
        if table.remark:
            notes.append(table.remark)
        if name != "table1" and scored.data == experiments.choose(SCORES["table1"].data)[0]:
            notes.insert(1, "They are the same faces as in table 1.")
        if "aldrian" in scored.methods and scored.data.train == scored.data.dataset:
            notes.append("Aldrian & Smith fits the same model that these faces are drawn from.")
        if "mean_shape" in scored.methods:
            notes.append("The mean shape and the posed mean learn nothing from the landmarks; the "
                         "paper has no such rows.")
        if trivial is not None:
            notes.append(
                "The paper's trivial case lets the method \"only output one specific solution for "
                f"all test inputs\". Ours is the output of Deep-MDS for one of the first "
                f"{trivial.num_outputs} test faces, that with the median MSE; by face it is "
                f"{trivial.lowest / table.unit:.2g} to {trivial.highest / table.unit:.2g}.")
            scored = dataclasses.replace(
                scored, methods={**scored.methods, TRIVIAL: trivial.method},
                results={**scored.results, trivial.method.title: trivial.metrics})
        rows = paper_tables.score_rows(table, scored)
        page = Page(table.title, notes, {"Scores": rows}, left_out=scored.left_out,
                    faces=scored.dataset.spec.title, stands_in=scored.data != table.data[0],
                    unit=f"{table.unit:.0e}".replace("e-0", "e-"), reasons=_reasons(scored))
        if len(scored.results) > 1:
            rows = compare(scored.results, scored.samples)
            page.tables["Significance, Wilcoxon's signed-rank test over the samples"] = (
                paper_tables.significance_rows(rows))
        return page

    return make


def _reasons(scored: Scored) -> list[str]:
    """Why the order of the methods may not be the paper's, as far as our own runs tell."""
    reasons = [f"{method.title.replace(', barely', ' is barely')}."
               for name, method in scored.methods.items()
               if "barely" in method.title and name != TRIVIAL]
    if "aldrian" in scored.methods and scored.data.train == scored.data.dataset:
        reasons.append("Aldrian & Smith fits the very model that the faces are drawn from.")
    errors = {name: float(np.nanmean(scored.results[method.title].mse))
              for name, method in scored.methods.items()}
    if "deep_mds" in errors:
        beaten_by = [scored.methods[name].title for name in BASELINES
                     if errors.get(name, np.inf) < errors["deep_mds"]]
        if beaten_by:
            reasons.append(f"Deep-MDS is behind what learns nothing: {' and '.join(beaten_by)}.")
    return reasons


def cost_page(experiments: Experiments) -> Page:
    """Table 2: parameters and times."""
    scored = table_1(experiments)
    rows = paper_tables.cost_rows(scored.methods, scored.faces)
    notes = [
        "Counted as the paper does: the autoencoder's trainable parameters and all numbers of the "
        "dissimilarity network, with the release's features.",
        f"Timed on {paper_tables.machine()}, without compilation, landmark detection and rendering "
        "of the images.",
    ]
    return Page(PARAMETERS_TITLE, notes, {"Cost": rows}, left_out=scored.left_out,
                faces=scored.dataset.spec.title, stands_in=stands_in(scored.data))


def table_1(experiments: Experiments) -> Scored:
    """The methods of table 1 and the baselines, scored."""
    table = SCORES["table1"]
    return experiments.score(table.data, (*table.scores, *BASELINES))


def describe(scored: Scored) -> list[str]:
    """Notes on the data and the samples."""
    data = paper_tables.describe_landmarks(scored.data.topology)
    return [*scored.notes, f"{describe_samples(scored.samples, len(scored.faces.x2d))} of "
            f"{scored.dataset.spec.title}; {data}."]


def stands_in(data: Data) -> bool:
    """Whether data are none of those that the paper's tables are about."""
    return data not in [table.data[0] for table in SCORES.values()]


PAGES: dict[str, Callable[[Experiments], Page]] = {
    "table1": score_page("table1"),
    "table2": cost_page,
    "table3": score_page("table3"),
    "table4": score_page("table4"),
}
