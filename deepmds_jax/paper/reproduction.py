"""Makes tables 1 to 4 and figures 2 to 6 of the paper, by name."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.formats.landmark_files import read_landmarks
from deepmds_jax.data.views import Faces, View
from deepmds_jax.evaluation import tables
from deepmds_jax.evaluation.figures import draw_reconstructions, save_figure
from deepmds_jax.evaluation.protocol import describe_samples, sample_means
from deepmds_jax.evaluation.setting import Setting
from deepmds_jax.evaluation.significance import compare
from deepmds_jax.evaluation.tables import Row
from deepmds_jax.extras import require
from deepmds_jax.files import replacing
from deepmds_jax.geometry import procrustes
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.methods.deep_mds import dissimilarity_curve, frontalize
from deepmds_jax.methods.saved import load_pretrained
from deepmds_jax.paper import paper_figures, paper_tables
from deepmds_jax.paper.experiments import Experiments, Scored
from deepmds_jax.paper.published import PARAMETERS_TITLE, SCORES, TRIVIAL
from deepmds_jax.weights.locate import shipped_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BASELINES = ("mean_shape", "posed_mean")
_EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
_PHOTOGRAPHS = 4
# Figure 6: number of minibatches of each kind, and how many of them each point of a curve averages.
_ABLATION_STEPS, _ABLATION_BLOCK = 3000, 30


@dataclasses.dataclass
class Page:
    """A table or a figure of the paper as we reproduce it.

    Attributes:
      title: with the paper's number.
      notes: on which data it was made, and what differs from the paper.
      tables: heading -> rows.
      figure: the picture; None for a table.
      left_out: a line per method that has no result here.
    """

    title: str
    notes: Sequence[str]
    tables: dict[str, Sequence[Row]] = dataclasses.field(default_factory=dict)
    figure: "Figure | None" = None
    left_out: Sequence[str] = ()


def reproduce(
    items: Sequence[str], setting: Setting, out: pathlib.Path, tell: Callable[[str], None] = print
) -> list[str]:
    """Makes tables and figures of the paper; one that cannot be made does not stop the others.

    Writes for each the page NAME.md; for a table also NAME.json, NAME.csv and NAME.tex, and its
    significance tests as NAME_significance in the same formats; for a figure also NAME.png and
    NAME.svg. With several items, all.md holds all pages.

    Args:
      items: names in `ITEMS`.
      setting: data, weights and sizes.
      out: folder for the files.
      tell: called with each page as text.

    Returns:
      What was left out and why, one line each.

    Raises:
      ValueError: none of the items could be made.
    """
    experiments = Experiments(setting)
    pages, left_out = [], []
    for item in items:
        try:
            page = ITEMS[item](experiments)
            pages.append(_write(out, item, page))
        except (ValueError, ImportError, OSError) as error:
            left_out.append(f"{item}: {error}")
            tell(f"{item} is left out: {error}\n")
            continue
        left_out += [f"{item}: {line}" for line in page.left_out]
        tell("\n\n".join([page.title, *page.notes, *(
            f"{heading}\n{tables.to_text(rows)}" for heading, rows in page.tables.items())]) + "\n")
    if not pages:
        raise ValueError("; ".join(left_out))
    left_out += [f"data: {error}" for error in experiments.missing.values()]
    if len(items) > 1:
        lines = "\n".join(f"- {line}" for line in left_out) or "Nothing."
        _write_text(out / "all.md", "\n".join([*pages, f"# Left out\n\n{lines}\n"]))
    return left_out


def _score_table(name: str) -> Callable[[Experiments], Page]:
    def make(experiments: Experiments) -> Page:
        table = SCORES[name]
        names = (*table.scores, *_BASELINES)
        scored = experiments.score(table.data, names)
        trivial = experiments.trivial(table.data, names) if TRIVIAL in table.scores else None
        notes = [*_notes(scored), f"{paper_tables.unit(table)}; ours: mean and standard deviation "
                 "over the samples. The trace (DepthCorr) is at most N, so compare trace/N."]
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
        page = Page(table.title, notes, {"Scores": paper_tables.score_rows(table, scored)},
                    left_out=scored.left_out)
        if len(scored.results) > 1:
            rows = compare(scored.results, scored.samples)
            page.tables["Significance, Wilcoxon's signed-rank test over the samples"] = (
                paper_tables.significance_rows(rows))
        return page

    return make


def _cost_table(experiments: Experiments) -> Page:
    scored = _table_1(experiments)
    rows = paper_tables.cost_rows(scored.methods, scored.faces)
    notes = [
        "Counted as the paper does: the autoencoder's trainable parameters and all numbers of the "
        "dissimilarity network, with the release's features.",
        f"Timed on {paper_tables.machine()}, without compilation, landmark detection and rendering "
        "of the images.",
    ]
    return Page(PARAMETERS_TITLE, notes, {"Cost": rows}, left_out=scored.left_out)


def _frontal_figure(experiments: Experiments) -> Page:
    data, dataset, notes = experiments.choose(SCORES["table1"].data)
    faces = dataset.draw(experiments.key(), 300, test=True)
    view = _known_view(faces)
    yaw = np.asarray(view.yaw)
    rows = _spread(yaw, 6)
    frontal = frontalize(experiments.params(data), faces.x2d[rows])
    seen = [
        paper_figures.SeenFace(
            f"yaw {yaw[row]:+.0f}°, {'perspective' if angle > 0 else 'orthographic'}",
            np.asarray(faces.x2d[row]), np.asarray(output), np.asarray(faces.points[row, :, :2]))
        for row, output, angle in zip(
            rows, frontal, np.asarray(view.field_of_view[rows]), strict=True)
    ]
    figure = paper_figures.draw_frontal_views(seen, topologies.get(data.topology))
    return Page("Figure 2: views, and the frontal view that the autoencoder makes of them",
                [*notes, _UNKNOWN_CAPTION], figure=figure)


def _shapes_figure(experiments: Experiments) -> Page:
    scored = _table_1(experiments)
    rows = _spread(np.asarray(_known_view(scored.faces).yaw[:300]), 3)
    faces = jax.tree.map(lambda x: x[rows], scored.faces)
    aligned, left_out = {}, list(scored.left_out)
    for method in scored.methods.values():
        points = method.predict(faces)
        shapes = np.asarray(procrustes(points, faces.points, reflection=False)(points))
        if np.isfinite(shapes).all():
            aligned[method.title] = shapes
        else:
            left_out.append(f"{method.title}: no prediction for at least one of the faces shown")
    figure = paper_figures.draw_shapes(
        np.asarray(faces.points), aligned, topologies.get(scored.data.topology))
    return Page("Figure 3: recovered shapes beside the truth",
                [*_notes(scored), _UNKNOWN_CAPTION], figure=figure, left_out=left_out)


def _samples_figure(experiments: Experiments) -> Page:
    scored = _table_1(experiments)
    means = {title: sample_means(metrics, scored.samples)
             for title, metrics in scored.results.items()}
    criteria = {
        "MSE, units of 1e-4": {title: 1e4 * np.asarray(m.mse) for title, m in means.items()},
        "DepthCorr / N": {title: np.asarray(m.depthcorr_share) for title, m in means.items()},
        "NME, per cent": {title: 100 * np.asarray(m.nme) for title, m in means.items()},
    }
    return Page("Figure 4: the criteria over the samples", [*_notes(scored), _UNKNOWN_CAPTION],
                figure=paper_figures.draw_samples(criteria), left_out=scored.left_out)


def _photographs_figure(experiments: Experiments) -> Page:
    image_module = require("PIL.Image", "pictures")
    topology, landmarks, paths, notes = _photographs(experiments.setting)
    params = load_pretrained(f"{topology}_published")
    results = {name: reconstruct_detailed(params, jnp.asarray(x2d))
               for name, x2d in landmarks.items()}
    faces = {name: {"x2d": landmarks[name], "frontal": np.asarray(found.frontal),
                    "points": np.asarray(found.points)} for name, found in results.items()}
    images = {}
    for name, path in paths.items():
        with image_module.open(path) as image:
            images[name] = np.asarray(image.convert("RGB"))
    figure = draw_reconstructions(faces, topologies.get(topology), images)
    return Page("Figure 5: photographs, their frontal views and their recovered shapes", notes,
                figure=figure)


def _ablation_figure(experiments: Experiments) -> Page:
    data, dataset, notes = experiments.choose(SCORES["table1"].data)
    params = experiments.params(data)
    faces = dataset.draw(jax.random.key(experiments.setting.seed), _ABLATION_STEPS)
    curves, rows = {}, []
    for pairs, title in (("face", "pairs of one face"), ("shuffled", "pairs shuffled over faces")):
        key = jax.random.key(experiments.setting.seed)
        losses = dissimilarity_curve(params, faces, pairs, key=key)
        losses = losses.reshape(-1, _ABLATION_BLOCK).mean(1)
        curves[title] = (_ABLATION_BLOCK * np.arange(1, len(losses) + 1), losses)
        rows.append({"minibatches": title, "loss, last tenth": float(
            losses[-len(losses) // 10:].mean())})
    notes = [*notes, f"{_ABLATION_STEPS:,} minibatches of N² pairs each, from the same initial "
             f"weights, on faces of {dataset.spec.title}; each point averages {_ABLATION_BLOCK} "
             "minibatches. This is the training loss, where each minibatch is normalised by its "
             "own statistics. The paper finds that pairs of one face make better minibatches."]
    return Page("Figure 6: minibatches of the dissimilarity network", notes,
                {"Training loss": rows}, paper_figures.draw_training(curves))


ITEMS: dict[str, Callable[[Experiments], Page]] = {
    "table1": _score_table("table1"),
    "table2": _cost_table,
    "table3": _score_table("table3"),
    "table4": _score_table("table4"),
    "figure2": _frontal_figure,
    "figure3": _shapes_figure,
    "figure4": _samples_figure,
    "figure5": _photographs_figure,
    "figure6": _ablation_figure,
}

_UNKNOWN_CAPTION = ("We do not have the paper's caption of this figure; what it shows here is our "
                    "choice.")


def _table_1(experiments: Experiments) -> Scored:
    table = SCORES["table1"]
    return experiments.score(table.data, (*table.scores, *_BASELINES))


def _notes(scored: Scored) -> list[str]:
    data = paper_tables.describe_landmarks(scored.data.topology)
    return [*scored.notes, f"{describe_samples(scored.samples, len(scored.faces.x2d))} of "
            f"{scored.dataset.spec.title}; {data}."]


def _known_view(faces: Faces) -> View:
    if faces.view is None:
        raise ValueError("faces: expected known views, got faces without them")
    return faces.view


def _photographs(
    setting: Setting,
) -> tuple[str, dict[str, np.ndarray], dict[str, pathlib.Path], list[str]]:
    """The photographs there are: topology, landmarks by name, image paths by name, and notes."""
    folder = setting.folder("celeba")
    images = [path for path in sorted(folder.glob("images/*.jp*g"))
              if (folder / "landmarks" / f"{path.stem}.npy").exists()][:_PHOTOGRAPHS]
    if images:
        files = [folder / "landmarks" / f"{path.stem}.npy" for path in images]
        notes = [f"Photographs of {folder}."]
    else:
        found = [(path, _landmark_file(path)) for path in sorted(_EXAMPLES.glob("*.jpg"))]
        images = [path for path, file in found if file is not None]
        files = [file for _, file in found if file is not None]
        notes = ["The paper's photographs are from CelebA-HQ. There is no images/NAME.jpg with "
                 f"landmarks/NAME.npy in {folder}, so photographs in the public domain are used "
                 "instead."]
    if not images:
        raise ValueError(f"no photographs: expected images/NAME.jpg and landmarks/NAME.npy in "
                         f"{folder}, or the examples of the repository in {_EXAMPLES}")
    landmarks = {path.stem: next(iter(read_landmarks(file).values())).points
                 for path, file in zip(images, files, strict=True)}
    known = {topology.num_landmarks: name for name, topology in topologies.TOPOLOGIES.items()
             if f"{name}_published" in shipped_names()}
    numbers = {len(x2d) for x2d in landmarks.values()}
    if len(numbers) > 1 or not numbers <= known.keys():
        raise ValueError(f"{folder}: expected one of {sorted(known)} landmarks for each "
                         f"photograph, got {sorted(numbers)}")
    return known[numbers.pop()], landmarks, {path.stem: path for path in images}, notes


def _landmark_file(image: pathlib.Path) -> pathlib.Path | None:
    """The landmark file beside a photograph; None if there is none."""
    files = (image.with_suffix(suffix) for suffix in (".pts", ".json"))
    return next((file for file in files if file.exists()), None)


def _spread(values: np.ndarray, num: int) -> np.ndarray:
    """Indices of `num` values that are spread evenly over their range."""
    targets = np.linspace(values.min(), values.max(), num)
    return np.abs(values - targets[:, None]).argmin(1)


def _write(out: pathlib.Path, item: str, page: Page) -> str:
    """Writes the files of a page and returns it as Markdown."""
    parts = [f"# {page.title}", *page.notes]
    for i, (heading, rows) in enumerate(page.tables.items()):
        name = item if i == 0 else f"{item}_significance"
        about = {"title": page.title, "notes": list(page.notes), "left_out": list(page.left_out)}
        tables.write(out, name, rows, about, page.title if i == 0 else f"{page.title}. {heading}")
        parts.append(f"## {heading}\n\n{tables.to_markdown(rows).rstrip()}")
    if page.figure is not None:
        for suffix in ("png", "svg"):
            save_figure(page.figure, out / f"{item}.{suffix}")
        parts.append(f"![{page.title}]({item}.png)")
    if page.left_out:
        parts.append("Left out:\n\n" + "\n".join(f"- {line}" for line in page.left_out))
    text = "\n\n".join(parts) + "\n"
    _write_text(out / f"{item}.md", text)
    return text


def _write_text(path: pathlib.Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
