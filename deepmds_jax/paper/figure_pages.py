"""Pages of figures 2 to 6."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deepmds_jax import topologies
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.data.rendering import render, sample_appearance
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import Faces, View, take_faces
from deepmds_jax.geometry import standardize
from deepmds_jax.geometry.similarity import align
from deepmds_jax.methods.deep_mds import dissimilarity_epochs, frontalize
from deepmds_jax.paper import paper_figures
from deepmds_jax.paper.experiments import Experiments, Prepared
from deepmds_jax.paper.page import Page
from deepmds_jax.paper.paper_figures import Picture, Points, Shape
from deepmds_jax.paper.photographs import (
    CELEBA,
    NUM_PHOTOGRAPHS,
    as_faces,
    open_photographs,
    read_row,
)
from deepmds_jax.paper.published import METHODS, SCORES, Data
from deepmds_jax.paper.score_pages import BASELINES, stands_in
from deepmds_jax.topologies import Topology

_NUM_ROWS = 6
_NUM_LOOKED_AT = 300  # test faces that rows are chosen from
_PICTURE_SIZE = 192  # pixels of a face drawn for a figure
# Figure 6: passes over the faces, the faces, and how many minibatches each point of a curve
# averages; and the faces that the error is measured on.
_EPOCHS, _EPOCH_FACES, _BLOCK, _HELD_OUT = 8, 1000, 40, 200


def views_page(experiments: Experiments) -> Page:
    """Figure 2: faces in several projections, and what each method makes of them."""
    table = SCORES["table1"]
    prepared = experiments.prepare(table.data, (*table.scores, *BASELINES))
    view = prepared.faces.view
    if view is None:
        raise ValueError("faces: expected known views, got faces without them")
    rows = _projections(take_faces(view, slice(_NUM_LOOKED_AT)))
    faces = take_faces(prepared.faces, rows)
    topology = topologies.get(prepared.data.topology)
    drawn = _Columns(experiments, prepared, faces, rows)
    drawn.add_pictures()
    drawn.columns["Landmarks"] = [Points(x2d) for x2d in np.asarray(faces.x2d)]
    drawn.add_truth("Truth")
    drawn.add_methods([name for name in prepared.methods if name != "deep_mds"])
    frontal = np.asarray(frontalize(experiments.params(prepared.data), faces.x2d))
    drawn.columns["Deep-MDS:\nfrontal view"] = [
        Points(made, true) for made, true in zip(
            frontal, np.asarray(faces.points)[..., :2], strict=True)]
    drawn.add_methods(["deep_mds"], {"deep_mds": "Deep-MDS:\n3D shape"})
    notes = [*prepared.notes, "Each shape is aligned to the true one by Procrustes (translation, "
             "rotation, scale) and turned by 55 degrees, the truth in grey behind it."]
    return Page("Figure 2: faces in several projections, and the shapes that each method finds",
                notes, figure=drawn.draw(_describe(faces), topology), left_out=prepared.left_out,
                **_whose(prepared))


def portraits_page(experiments: Experiments) -> Page:
    """Figure 3: photographs of CelebA and each method's shape."""
    table = SCORES["table3"]
    try:
        candidates = table.data[:1]
        experiments.choose(candidates)
    except ValueError:
        prepared = _prepare_photographs(experiments, None, table.scores, SCORES["table1"].data)
        truth = ""
    else:
        prepared = experiments.prepare(candidates, (*table.scores, *BASELINES))
        truth = "Fitted\nBasel face"
    return _photographs_page(
        experiments, prepared, truth,
        "Figure 3: photographs, and the shapes that each method finds")


def scans_page(experiments: Experiments) -> Page:
    """Figure 4: faces with poses and expressions, the truth and each method's shape."""
    table = SCORES["table4"]
    prepared = experiments.prepare(table.data, (*table.scores, *BASELINES))
    looked_at = take_faces(prepared.faces, slice(_NUM_LOOKED_AT))
    rows = _with_expressions(looked_at, _found(prepared, looked_at))
    faces = take_faces(looked_at, rows)
    drawn = _Columns(experiments, prepared, faces, rows if faces.row is None else faces.row)
    drawn.add_pictures()
    if faces.view is not None:
        drawn.columns["Landmarks"] = [Points(x2d) for x2d in np.asarray(faces.x2d)]
    drawn.add_truth("Truth")
    drawn.add_methods(list(prepared.methods))
    notes = [*prepared.notes, 'Rows differ in pose and expression. "N/A": the method found no face '
             "there. Shapes are aligned to the true one by Procrustes and turned by 55 degrees."]
    return Page("Figure 4: poses and expressions, and the shapes that each method finds", notes,
                figure=drawn.draw(_describe(faces, prepared.dataset),
                                  topologies.get(prepared.data.topology)),
                left_out=prepared.left_out, **_whose(prepared))


def expressions_page(experiments: Experiments) -> Page:
    """Figure 5: photographs with expressions and each method's FLAME landmarks."""
    table = SCORES["table4"]
    prepared = _prepare_photographs(experiments, "flame51", table.scores, table.data[1:])
    return _photographs_page(
        experiments, prepared, "",
        "Figure 5: photographs, and the FLAME landmarks that each method finds")


def minibatches_page(experiments: Experiments) -> Page:
    """Figure 6: pairs of one face against pairs shuffled over faces."""
    data, dataset, notes = experiments.choose(SCORES["table1"].data)
    params = experiments.params(data)
    faces = dataset.draw(jax.random.key(experiments.setting.seed), _EPOCH_FACES)
    others = dataset.draw(experiments.key(), _HELD_OUT, test=True)
    steps, epochs, rows = {}, {}, []
    for pairs, title in (("face", "pairs of one face"), ("shuffled", "pairs shuffled over faces")):
        key = jax.random.key(experiments.setting.seed)
        done = list(dissimilarity_epochs(params, faces, pairs, others, key=key,
                                         num_epochs=_EPOCHS))
        losses = np.concatenate([epoch.losses for epoch in done])
        blocks = losses.reshape(-1, _BLOCK).mean(1)
        steps[title] = (_BLOCK * np.arange(1, len(blocks) + 1), blocks)
        epochs[title] = (np.array([epoch.seconds for epoch in done]),
                         np.array([epoch.error for epoch in done]))
        rows.append({"minibatches": title,
                     "loss, last tenth": float(losses[-len(losses) // 10:].mean()),
                     "error on other faces": done[-1].error,
                     "seconds": done[-1].seconds})
    notes = [*notes, f"{_EPOCHS} passes over {_EPOCH_FACES:,} faces of {dataset.spec.title}, N² "
             "pairs a minibatch, from the same initial weights; on the left each point averages "
             f"{_BLOCK} minibatches. The training loss normalises each minibatch by its own "
             f"statistics; the error on {_HELD_OUT} other faces, on the right, does not. Squared "
             "distances are in units of the longest side of the face's box. Wall time on a machine "
             "that others used at the same time, without compilation. The paper finds that pairs "
             "of one face make better minibatches."]
    return Page("Figure 6: minibatches of the dissimilarity network", notes,
                {"Training": rows}, paper_figures.draw_training(steps, epochs),
                faces=dataset.spec.title, stands_in=stands_in(data))


class _Columns:
    """The columns of a figure, as they are added."""

    def __init__(self, experiments: Experiments, prepared: Prepared, faces: Faces,
                 rows: np.ndarray | jax.Array):
        self.columns: dict[str, list[Picture | Points | Shape | None]] = {}
        self._experiments, self._prepared = experiments, prepared
        self._faces, self._rows = faces, rows
        known = bool(np.isfinite(np.asarray(faces.points)).all())
        # To lay all shapes in one pose, whatever pose the source has them in.
        upright = standardize(synthetic.load(prepared.data.topology).mean)
        self._upright = jnp.broadcast_to(upright, faces.points.shape)
        self._truth = np.asarray(align(faces.points, self._upright)) if known else None

    def add_pictures(self) -> None:
        """Adds photographs with their landmarks, or pictures of a model, where there are some."""
        dataset, faces = self._prepared.dataset, self._faces
        if isinstance(dataset.source, Recordings):
            x2d = np.asarray(faces.x2d)
            pictures = []
            for i, row in enumerate(map(int, self._rows)):
                image = dataset.source.images[row] and read_row(dataset.source, row)
                pictures.append(Points(x2d[i]) if image is None else Picture(image, x2d[i]))
            self.columns["Photograph"] = pictures
            return
        try:
            dense = dataset.dense
        except ValueError:
            return  # the source has no surface
        look = sample_appearance(self._experiments.key(), dense, len(self._rows))
        images = render(dense, faces.identity, faces.expression, look, faces.view, _PICTURE_SIZE)
        self.columns["Picture"] = [Picture(image, None) for image in np.asarray(images)]

    def add_truth(self, title: str) -> None:
        """Adds the true shapes."""
        assert self._truth is not None
        self.columns[title] = [Shape(shape, is_truth=True) for shape in self._truth]

    def add_methods(self, names: Sequence[str], titles: Mapping[str, str] | None = None) -> None:
        """Adds the shapes of methods that learn, in the paper's order with Deep-MDS last."""
        for name in sorted(names, key=lambda name: name == "deep_mds"):
            method = self._prepared.methods.get(name)
            if method is None or name in BASELINES:
                continue
            shapes = jax.jit(method.predict)(self._faces)
            target = self._upright if self._truth is None else jnp.asarray(self._truth)
            laid = np.asarray(align(shapes, target))
            truth = [None] * len(laid) if self._truth is None else self._truth
            title = (titles or {}).get(name, method.title.replace(
                ", barely trained: ", ",\nbarely trained:\n"))
            self.columns[title] = [
                Shape(shape, true) if np.isfinite(shape).all() else None
                for shape, true in zip(laid, truth, strict=True)]

    def draw(self, names: Sequence[str], topology: Topology):
        """The figure."""
        cells = list(zip(*self.columns.values(), strict=True))
        return paper_figures.draw_faces(list(self.columns), names, cells, topology)


def _prepare_photographs(
    experiments: Experiments,
    topology: str | None,
    names: Mapping[str, object],
    candidates: tuple[Data, ...],
) -> Prepared:
    """Photographs without known shapes, and methods trained on the first available data."""
    dataset, notes = open_photographs(experiments.setting, topology)
    fitting = tuple(data for data in candidates if data.topology == dataset.topology)
    if not fitting:
        raise ValueError(f"photographs: nothing to train on has their landmarks, "
                         f"{dataset.topology}")
    train, _, _ = experiments.choose(fitting)
    data = Data("photographs", dataset.topology, train.train)
    texts = experiments.setting.methods or [name for name in METHODS if name in names]
    methods, left_out = experiments.load(data, dataset, texts)
    pictures = any(method.needs_images for method in methods.values())
    assert isinstance(dataset.source, Recordings)
    faces = as_faces(dataset, range(len(dataset.source.names)), pictures)
    return Prepared(data, dataset, faces, methods, (*notes, *experiments.weights_note(data)),
                    left_out)


def _photographs_page(
    experiments: Experiments, prepared: Prepared, truth: str, title: str
) -> Page:
    faces = take_faces(prepared.faces, slice(NUM_PHOTOGRAPHS))
    assert faces.row is not None
    drawn = _Columns(experiments, prepared, faces, faces.row)
    drawn.add_pictures()
    if truth:
        drawn.add_truth(truth)
    drawn.add_methods(list(prepared.methods))
    notes = [*prepared.notes, 'Shapes are turned by 55 degrees. "N/A": the method found no face '
             "there." if truth else "The true shapes are not known. All shapes are laid in one "
             'pose and turned by 55 degrees. "N/A": the method found no face there.']
    return Page(title, notes, left_out=prepared.left_out, **_whose(prepared),
                figure=drawn.draw(_describe(faces, prepared.dataset),
                                  topologies.get(prepared.data.topology)))


def _projections(view: View) -> np.ndarray:
    """Rows of different kinds of views: turned left, frontal and right, of each projection."""
    perspective, yaw = np.asarray(view.field_of_view) > 0, np.asarray(view.yaw)
    rows = []
    for group in (np.flatnonzero(~perspective), np.flatnonzero(perspective)):
        if group.size:
            rows += [int(group[i]) for i in spread(yaw[group], _NUM_ROWS // 2)]
    return np.array(list(dict.fromkeys(rows)))


def _found(prepared: Prepared, faces: Faces) -> np.ndarray:
    """(F,) whether all methods found the face."""
    found = np.ones(len(faces.x2d), bool)
    for name, method in prepared.methods.items():
        if name not in BASELINES:
            found &= np.isfinite(np.asarray(jax.jit(method.predict)(faces))).all((1, 2))
    return found


def _with_expressions(faces: Faces, found: np.ndarray) -> np.ndarray:
    """Rows that differ in pose, with strong expressions; one of them not found by some method."""
    num = len(found)
    if faces.view is not None and faces.expression is not None and faces.expression.shape[-1]:
        yaw, strength = np.asarray(faces.view.yaw), np.asarray(faces.expression).sum(1)
        strong = np.flatnonzero(strength >= np.median(strength))
        rows = [int(strong[i]) for i in spread(yaw[strong], _NUM_ROWS - 1)]
    else:
        rows = np.linspace(0, num - 1, min(num, _NUM_ROWS - 1)).round().astype(int).tolist()
    lost = np.flatnonzero(~found)[:1].tolist()
    return np.array(list(dict.fromkeys([*rows, *lost])))


def _describe(faces: Faces, dataset: Dataset | None = None) -> list[str]:
    """The view of each face in words, or its name."""
    if faces.view is None:
        assert dataset is not None
        assert isinstance(dataset.source, Recordings)
        assert faces.row is not None
        return [dataset.source.names[int(row)] for row in faces.row]
    kinds = ["perspective" if angle > 0 else "orthographic"
             for angle in np.asarray(faces.view.field_of_view)]
    return [f"yaw {yaw:+z.0f}°, pitch {pitch:+z.0f}°\n{kind}" for yaw, pitch, kind in zip(
        np.asarray(faces.view.yaw), np.asarray(faces.view.pitch), kinds, strict=True)]


def _whose(prepared: Prepared) -> dict[str, Any]:
    """Whose faces a page shows."""
    own = prepared.dataset.spec.title == CELEBA or not stands_in(prepared.data)
    return {"faces": prepared.dataset.spec.title, "stands_in": not own}


def spread(values: np.ndarray, num: int) -> np.ndarray:
    """Indices of `num` values that are spread evenly over their range."""
    targets = np.linspace(values.min(), values.max(), num)
    return np.abs(values - targets[:, None]).argmin(1)


PAGES: dict[str, Callable[[Experiments], Page]] = {
    "figure2": views_page,
    "figure3": portraits_page,
    "figure4": scans_page,
    "figure5": expressions_page,
    "figure6": minibatches_page,
}
