"""Pages that the paper does not have: what it leaves out, seen from closer."""

from collections.abc import Callable

import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.data.views import take_faces
from deepmds_jax.evaluation.figures import draw_reconstructions
from deepmds_jax.evaluation.protocol import sample_means
from deepmds_jax.geometry.similarity import align
from deepmds_jax.lifting import reconstruct_detailed
from deepmds_jax.methods.deep_mds import frontalize
from deepmds_jax.methods.saved import load_pretrained
from deepmds_jax.paper import own_figures
from deepmds_jax.paper.experiments import Experiments
from deepmds_jax.paper.figure_pages import spread
from deepmds_jax.paper.page import Page
from deepmds_jax.paper.photographs import CELEBA, open_photographs, read_row
from deepmds_jax.paper.published import SCORES, Data
from deepmds_jax.paper.replaced_parts import replaced_rows
from deepmds_jax.paper.score_pages import describe, stands_in, table_1
from deepmds_jax.weights.locate import shipped_names

_PARTS_DATA = (
    Data("bfm", "bfm72", "bfm"),
    Data("ict", "ibug68", "ict"),
    Data("ict_expression", "ibug68", "ict_expression"),
    Data("synthetic", "ibug68", "synthetic"),
)
_PARTS_FACES = 1000


def frontal_page(experiments: Experiments) -> Page:
    """Views, and the frontal view that the autoencoder makes of them, on the truth."""
    data, dataset, notes = experiments.choose(SCORES["table1"].data)
    faces = dataset.draw(experiments.key(), 300, test=True)
    if faces.view is None:
        raise ValueError("faces: expected known views, got faces without them")
    yaw, angles = np.asarray(faces.view.yaw), np.asarray(faces.view.field_of_view)
    rows = spread(yaw, 6)
    frontal = np.asarray(frontalize(experiments.params(data), faces.x2d[rows]))
    seen = [
        own_figures.SeenFace(
            f"yaw {yaw[row]:+z.0f}°, {'perspective' if angles[row] > 0 else 'orthographic'}",
            np.asarray(faces.x2d[row]), output, np.asarray(faces.points[row, :, :2]))
        for row, output in zip(rows, frontal, strict=True)]
    figure = own_figures.draw_frontal_views(seen, topologies.get(data.topology))
    return Page("Frontal views: what the autoencoder makes of views", notes, figure=figure,
                faces=dataset.spec.title, stands_in=stands_in(data))


def shapes_page(experiments: Experiments) -> Page:
    """Recovered shapes of all methods, those that learn nothing too, beside the truth."""
    scored = table_1(experiments)
    if scored.faces.view is None:
        raise ValueError("faces: expected known views, got faces without them")
    rows = spread(np.asarray(scored.faces.view.yaw[:300]), 3)
    faces = take_faces(scored.faces, rows)
    aligned, left_out = {}, list(scored.left_out)
    for method in scored.methods.values():
        points = method.predict(faces)
        shapes = np.asarray(align(points, faces.points))
        if np.isfinite(shapes).all():
            aligned[method.title] = shapes
        else:
            left_out.append(f"{method.title}: no prediction for at least one of the faces shown")
    figure = own_figures.draw_shapes(
        np.asarray(faces.points), aligned, topologies.get(scored.data.topology))
    return Page("Shapes: those of all methods beside the truth", describe(scored), figure=figure,
                left_out=left_out, faces=scored.dataset.spec.title,
                stands_in=stands_in(scored.data))


def samples_page(experiments: Experiments) -> Page:
    """The criteria of table 1 over its ten samples."""
    scored = table_1(experiments)
    means = {title: sample_means(metrics, scored.samples)
             for title, metrics in scored.results.items()}
    criteria = {
        "MSE, units of 1e-4": {title: 1e4 * np.asarray(m.mse) for title, m in means.items()},
        "DepthCorr / N": {title: np.asarray(m.depthcorr_share) for title, m in means.items()},
        "NME, per cent": {title: 100 * np.asarray(m.nme) for title, m in means.items()},
    }
    return Page("Samples: the criteria of table 1 over its samples", describe(scored),
                figure=own_figures.draw_samples(criteria), left_out=scored.left_out,
                faces=scored.dataset.spec.title, stands_in=stands_in(scored.data))


def photographs_page(experiments: Experiments) -> Page:
    """Photographs, their frontal views and their shapes from several sides, by Deep-MDS."""
    dataset, notes = open_photographs(experiments.setting, None)
    if f"{dataset.topology}_published" not in shipped_names():
        dataset, notes = open_photographs(experiments.setting, "flame51")
    topology, source = dataset.topology, dataset.source
    assert isinstance(source, Recordings)
    params = load_pretrained(f"{topology}_published")
    faces, images = {}, {}
    for row, (name, x2d) in enumerate(zip(source.names, np.asarray(source.x2d), strict=True)):
        found = reconstruct_detailed(params, x2d)
        faces[name] = {"x2d": x2d, "frontal": np.asarray(found.frontal),
                       "points": np.asarray(found.points)}
        images[name] = read_row(source, row)
    figure = draw_reconstructions(faces, topologies.get(topology), images)
    return Page("Photographs: their frontal views and their shapes, by Deep-MDS",
                [*notes, f"The weights are {topology}_published."], figure=figure,
                faces=dataset.spec.title, stands_in=dataset.spec.title != CELEBA)


def parts_page(experiments: Experiments) -> Page:
    """Where the published system loses its accuracy: parts replaced by the truth."""
    rows, notes, left_out = [], [], []
    setting = experiments.setting
    for data in _PARTS_DATA:
        try:
            dataset = experiments.open(data.dataset, data.topology)
            params = experiments.params(data)
        except ValueError as error:
            left_out.append(f"{data.dataset}: {str(error).partition('. ')[0]}")
            continue
        faces = dataset.draw(experiments.key(), setting.num_faces or _PARTS_FACES, test=True)
        rows += replaced_rows(params, dataset, faces, setting.seed)
        notes.append(f"{dataset.spec.title}: {len(faces.x2d):,} test faces, {data.topology}. "
                     + " ".join(experiments.weights_note(data)))
    if not rows:
        raise ValueError("; ".join(left_out))
    notes.append('"True frontal view": the second network sees x and y of the true shape instead '
                 "of the autoencoder's output; it was trained on that output, or anew on true "
                 'views, 5,000 steps. "True order": ordinal MDS of the true distances, of which it '
                 'keeps the order. "Metric": ratio MDS, which keeps the distances.')
    return Page("Parts: where Deep-MDS loses its accuracy", notes, {"Replaced parts": rows},
                own_figures.draw_replaced(rows), left_out,
                faces=f"{len({row['faces'] for row in rows})} data sets, see its page",
                stands_in=bool(left_out) and left_out[0].startswith(_PARTS_DATA[0].dataset))


PAGES: dict[str, Callable[[Experiments], Page]] = {
    "frontal_views": frontal_page,
    "shapes": shapes_page,
    "samples": samples_page,
    "photographs": photographs_page,
    "parts": parts_page,
}
