"""The data, weights and test faces that our runs of the paper's experiments use."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.views import Faces
from deepmds_jax.evaluation.metrics import Metrics
from deepmds_jax.evaluation.protocol import draw_samples, evaluate
from deepmds_jax.evaluation.setting import Setting, draw_test_faces, test_key
from deepmds_jax.methods import Method, deep_mds, registry, table
from deepmds_jax.methods.saved import load_weights, read_metadata
from deepmds_jax.paper.published import METHODS, Data
from deepmds_jax.paper.trivial_case import TrivialCase, trivial_case
from deepmds_jax.weights.locate import locate, shipped_names

_BARELY_TRAINED = 10_000  # steps of a stage, below which a run says little about its method


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Methods and the test faces to run them on.

    Attributes:
      data: the data that were chosen.
      dataset: dataset of the test faces.
      faces: F test faces.
      methods: name in the registry -> method, for those that could be loaded.
      notes: what the reader must know: which data were substituted, and why.
      left_out: a line per method that could not be loaded.
    """

    data: Data
    dataset: Dataset
    faces: Faces
    methods: Mapping[str, Method]
    notes: Sequence[str]
    left_out: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Scored(Prepared):
    """Scores of methods on test faces.

    Attributes:
      results: method title -> `Metrics` of the F faces.
      samples: (S, size) indices of the protocol's samples.
    """

    results: Mapping[str, Metrics]
    samples: np.ndarray


class Experiments:
    """Experiments of one setting; each is run once, however many items need it.

    Attributes:
      setting: the user's setting.
      missing: dataset name -> why it could not be read, for the datasets that were needed.
    """

    def __init__(self, setting: Setting):
        self.setting = setting
        self.missing: dict[str, str] = {}
        self.open = functools.cache(setting.open)
        self.choose = functools.cache(self._choose)
        self.trivial = functools.cache(self._trivial)
        self._prepare = functools.cache(self._prepare_anew)
        self._score = functools.cache(self._score_anew)

    def _choose(self, candidates: tuple[Data, ...]) -> tuple[Data, Dataset, tuple[str, ...]]:
        """The first data that are available, and notes on why earlier candidates are not.

        The paper's own data are taken if they load. Substitutes must also have weights of Deep-MDS,
        shipped or from a training run.

        Raises:
          ValueError: none are available.
        """
        notes = []
        for data in candidates:
            try:
                dataset = self.open(data.dataset, data.topology)
            except ValueError as error:
                self.missing[data.dataset] = str(error)
                notes.append(f"Not here: {str(error).partition('. ')[0]}.")
                continue
            trained = (_shipped(data) is not None
                       or self._run("deep_mds", data).is_dir())
            if data == candidates[0] or trained:
                if data != candidates[0]:
                    notes.insert(0, f"The paper's data are not here: {dataset.spec.title} "
                                    f"stand in, with the {data.topology} landmarks.")
                return data, dataset, tuple(notes)
            notes.append(f"No weights yet for dataset {data.dataset} with {data.topology}: "
                         f"bin/train --dataset={data.train} --topology={data.topology}")
        raise ValueError(" ".join(notes))

    def prepare(self, candidates: tuple[Data, ...], names: Sequence[str]) -> Prepared:
        """Loads methods, given by name, and draws the test faces of the first available data.

        Raises:
          ValueError: no data are available, or no method could be loaded.
        """
        data, _, notes = self.choose(candidates)
        texts = self._texts(names)
        if "deep_mds" in texts:
            notes = (*notes, *self.weights_note(data))
        return dataclasses.replace(self._prepare(data, texts), notes=notes)

    def score(self, candidates: tuple[Data, ...], names: Sequence[str]) -> Scored:
        """Scores methods on test faces; see `prepare`."""
        prepared = self.prepare(candidates, names)
        results, samples = self._score(prepared.data, self._texts(names))
        fields = {f.name: getattr(prepared, f.name) for f in dataclasses.fields(prepared)}
        return Scored(**fields, results=results, samples=samples)

    def _trivial(self, candidates: tuple[Data, ...], names: tuple[str, ...]) -> TrivialCase | None:
        """The trivial case of Deep-MDS on the faces of `prepare`; None where it is not run."""
        prepared = self.prepare(candidates, names)
        if "deep_mds" not in prepared.methods:
            return None
        return trivial_case(prepared.methods["deep_mds"], prepared.faces, prepared.data.topology)

    def _texts(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.setting.methods or (name for name in METHODS if name in names))

    def weights_note(self, data: Data) -> list[str]:
        """Which weights Deep-MDS has for some data, in words."""
        if self._run("deep_mds", data).is_dir():
            return [f"Deep-MDS has the weights of {self._run('deep_mds', data)}."]
        shipped = _shipped(data)
        if shipped is None:
            return []
        trained = read_metadata(locate(shipped).path).get("data", "other data")
        return [f"Deep-MDS has the shipped weights, trained on {trained}; for others: bin/train "
                f"--dataset={data.train} --topology={data.topology}."]

    def _prepare_anew(self, data: Data, texts: tuple[str, ...]) -> Prepared:
        dataset = self.open(data.dataset, data.topology)
        methods, left_out = self.load(data, dataset, texts)
        faces = draw_test_faces(dataset, self.setting, methods, left_out)
        return Prepared(data, dataset, faces, _by_name(methods), (), left_out)

    def _score_anew(
        self, data: Data, texts: tuple[str, ...]
    ) -> tuple[dict[str, Metrics], np.ndarray]:
        prepared = self._prepare(data, texts)
        results = evaluate(list(prepared.methods.values()), prepared.faces, data.topology)
        return results, draw_samples(self.key(), len(prepared.faces.x2d))

    def key(self) -> jax.Array:
        """PRNG key of the test faces."""
        return test_key(self.setting.seed)

    def params(self, data: Data) -> deep_mds.Params:
        """The weights of Deep-MDS for some data: of the training run on them, or shipped.

        Raises:
          ValueError: there are none, or they are not of the published system.
        """
        _, _, source = self._with_run("deep_mds", data).partition("=")
        params, _ = load_weights(source, topology=data.topology)
        if not isinstance(params, deep_mds.Params):
            raise ValueError(f"{source}: weights of {table.method_of(params).TITLE}; the figure "
                             "shows the networks of Deep-MDS as published")
        return params

    def _run(self, method: str, data: Data) -> pathlib.Path:
        return self.setting.run(method, data.train, data.topology)

    def load(
        self, data: Data, dataset: Dataset, texts: Sequence[str]
    ) -> tuple[dict[str, Method], list[str]]:
        """Methods by their text, and a line for each one that could not be loaded.

        A method given by its name alone gets the weights of its training run on these data; without
        such a run, Deep-MDS gets the shipped ones. One that was barely trained says so in its
        title.

        Raises:
          ValueError: none could be loaded.
        """
        reference = None
        if data.train != data.dataset:
            try:
                reference = self.open(data.train, data.topology)
            except ValueError as error:
                self.missing[data.train] = str(error)

        def load(text: str) -> Method:
            resolved = self._with_run(text, data)
            method = registry.load(resolved, dataset, reference)
            steps = _fewest_steps(pathlib.Path(resolved.partition("=")[2]))
            if steps is None or steps >= _BARELY_TRAINED:
                return method
            return method._replace(title=f"{method.title}, barely trained: {steps:,} steps")

        return registry.load_each(texts, load)

    def _with_run(self, text: str, data: Data) -> str:
        """The text of a method, with its training run where it is given by its name alone."""
        if text in table.trained_names():
            run = self._run(text, data)
            if run.is_dir():
                return f"{text}={run}"
            shipped = _shipped(data)
            if text == "deep_mds" and shipped is not None:
                return f"{text}={shipped}"
            raise ValueError(f"no training run {run}; bin/train --method={text} "
                             f"--dataset={data.train} --topology={data.topology}")
        if text in METHODS and text not in table.METHODS:
            raise ValueError("it runs elsewhere; add --methods=external=FILE of its predictions")
        return text


def _fewest_steps(run: pathlib.Path) -> int | None:
    """The steps of the stage of a training run that has had the fewest; None if it is no run."""
    stages = run.glob("*/") if run.name and run.is_dir() else ()
    steps = [[int(step.name) for step in stage.glob("*/") if step.name.isdigit()]
             for stage in stages]
    return min((max(found) for found in steps if found), default=None)


def _shipped(data: Data) -> str | None:
    """The name of the shipped weights of the published system for these data, if there are any."""
    name = f"{data.topology}_published"
    return name if name in shipped_names() else None


def _by_name(methods: Mapping[str, Method]) -> dict[str, Method]:
    """Methods by their name in the paper's tables; a second one of the same name by its text.

    Predictions read from a file count as the program that their title names, so that they stand
    beside the paper's numbers for it.
    """
    named: dict[str, Method] = {}
    for text, method in methods.items():
        name = text.partition("=")[0]
        name = method.title.lower() if name == "external" else name
        named[text if name in named else name] = method
    return named
