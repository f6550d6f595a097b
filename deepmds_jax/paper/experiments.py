"""The data, weights and test faces that our runs of the paper's experiments use."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from deepmds_jax import weights
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset, open_dataset
from deepmds_jax.data.views import Faces
from deepmds_jax.evaluation.metrics import Metrics
from deepmds_jax.evaluation.protocol import draw_samples, evaluate
from deepmds_jax.lifting import Params
from deepmds_jax.methods import Method, registry
from deepmds_jax.paper.published import METHODS, Data
from deepmds_jax.training import run_name
from deepmds_jax.weights import networks

# Test faces are drawn from a key that no training seed leads to.
_TEST_STREAM = 2**31 - 1


def test_key(seed: int) -> jax.Array:
    """PRNG key of the test faces, which no training run draws from."""
    return jax.random.fold_in(jax.random.key(_TEST_STREAM), seed)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where the user keeps data and training runs, and how much to compute.

    Attributes:
      data_root: folder with one folder per dataset.
      folders: dataset name -> folder, for datasets that are elsewhere.
      runs: folder with one folder per training run, named as bin/train names them.
      methods: methods as `methods.registry.load` reads them; empty for those of each paper table.
      num_faces: number of test faces; None for the number that the dataset defines.
      seed: seed of the test faces.
    """

    data_root: pathlib.Path = pathlib.Path("data")
    folders: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    runs: pathlib.Path = pathlib.Path("runs")
    methods: Sequence[str] = ()
    num_faces: int | None = None
    seed: int = 0

    def folder(self, name: str) -> pathlib.Path:
        """Folder of a dataset; datasets of one source share their files."""
        source = specs.load_spec(name).source
        for other, folder in self.folders.items():
            if other == name or specs.load_spec(other).source == source:
                return folder
        own = self.data_root / name
        return own if own.is_dir() else self.data_root / source

    def open(self, name: str, topology: str) -> Dataset:
        """Reads a dataset; ValueError if it is missing."""
        return open_dataset(specs.load_spec(name), topology, self.folder(name))

    def run(self, method: str, data: Data) -> pathlib.Path:
        """Folder of a method's training run."""
        return self.runs / run_name(method, data.train, data.topology)


def draw_test_faces(
    dataset: Dataset, setting: Setting, methods: dict[str, Method], left_out: list[str]
) -> Faces:
    """Draws the test faces of a setting, with images if a method needs them.

    Args:
      dataset: where the faces come from.
      setting: their number and seed.
      methods: text that `methods.registry.load` reads -> method. If no images can be drawn, the
        methods that need them are removed from it.
      left_out: a line for each removed method is added to it.

    Raises:
      ValueError: no method is left, or no faces can be drawn.
    """
    key, num_faces = test_key(setting.seed), setting.num_faces or dataset.spec.num_test
    looking = [text for text in methods if text.partition("=")[0] == "mobileface"]
    if looking:
        try:
            return dataset.draw(key, num_faces, test=True, images=True)
        except ValueError as error:
            for text in looking:
                del methods[text]
                left_out.append(f"mobileface: {error}")
            if not methods:
                raise
    return dataset.draw(key, num_faces, test=True)


@dataclasses.dataclass
class Scored:
    """Scores of methods on test faces.

    Attributes:
      data: the data that were chosen.
      dataset: dataset of the test faces.
      faces: F test faces.
      methods: name in the registry -> method, for those that could be loaded.
      results: method title -> `Metrics` of the F faces.
      samples: (S, size) indices of the protocol's samples.
      notes: what the reader must know: which data were substituted, and why.
      left_out: a line per method that could not be loaded.
    """

    data: Data
    dataset: Dataset
    faces: Faces
    methods: Mapping[str, Method]
    results: Mapping[str, Metrics]
    samples: np.ndarray
    notes: Sequence[str]
    left_out: Sequence[str]


class Experiments:
    """Experiments of one setting; each is run once, however many items need it.

    Attributes:
      setting: the user's setting.
      missing: dataset name -> why it could not be read, for the datasets that were needed.
    """

    def __init__(self, setting: Setting):
        self.setting = setting
        self.missing: dict[str, str] = {}
        self.choose = functools.cache(self._choose)
        self._scored: dict[tuple, Scored] = {}

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
                dataset = self.setting.open(data.dataset, data.topology)
            except ValueError as error:
                self.missing[data.dataset] = str(error)
                notes.append(f"Not here: {str(error).partition('. ')[0]}.")
                continue
            trained = (weights.published(data.topology) in weights.pretrained_names()
                       or self.setting.run("deep_mds", data).is_dir())
            if data == candidates[0] or trained:
                if data != candidates[0]:
                    notes.insert(0, f"The paper's data are not here: {dataset.spec.title} "
                                    f"stand in, with the {data.topology} landmarks.")
                return data, dataset, tuple(notes)
            notes.append(f"No weights yet for dataset {data.dataset} with {data.topology}: "
                         f"bin/train --dataset={data.train} --topology={data.topology}")
        raise ValueError(" ".join(notes))

    def score(self, candidates: tuple[Data, ...], names: Sequence[str]) -> Scored:
        """Scores methods, given by name, on the test faces of the first available data.

        Raises:
          ValueError: no data are available, or no method could be loaded.
        """
        data, dataset, notes = self.choose(candidates)
        texts = tuple(self.setting.methods or (name for name in METHODS if name in names))
        if (data, texts) not in self._scored:
            self._scored[data, texts] = self._score(data, dataset, texts)
        if "deep_mds" in texts:
            notes = (*notes, *self._weights_note(data))
        return dataclasses.replace(self._scored[data, texts], notes=notes)

    def _weights_note(self, data: Data) -> list[str]:
        if self.setting.run("deep_mds", data).is_dir():
            return [f"Deep-MDS has the weights of {self.setting.run('deep_mds', data)}."]
        shipped = weights.published(data.topology)
        if shipped not in weights.pretrained_names():
            return []
        trained = weights.pretrained_metadata(shipped).get("data", "other data")
        return [f"Deep-MDS has the shipped weights, trained on {trained}; for others: bin/train "
                f"--dataset={data.train} --topology={data.topology}."]

    def _score(self, data: Data, dataset: Dataset, texts: tuple[str, ...]) -> Scored:
        methods, left_out = self.load(data, dataset, texts)
        faces = draw_test_faces(dataset, self.setting, methods, left_out)
        methods = _by_name(methods)
        results = evaluate(list(methods.values()), faces, data.topology)
        samples = draw_samples(self.key(), len(faces.x2d))
        return Scored(data, dataset, faces, methods, results, samples, (), left_out)

    def key(self) -> jax.Array:
        """PRNG key of the test faces."""
        return test_key(self.setting.seed)

    def params(self, data: Data) -> Params:
        """Weights of Deep-MDS for some data: of the training run on them, or shipped.

        Raises:
          ValueError: there are none.
        """
        _, _, run = self._with_run("deep_mds", data).partition("=")
        if run:
            return weights.load_params(pathlib.Path(run) / weights.WEIGHTS_FILE)
        return weights.load_pretrained(weights.published(data.topology))

    def load(
        self, data: Data, dataset: Dataset, texts: Sequence[str]
    ) -> tuple[dict[str, Method], list[str]]:
        """Methods by their text, and a line for each one that could not be loaded.

        A method given by its name alone gets the weights of its training run on these data; without
        such a run, Deep-MDS gets the shipped ones.

        Raises:
          ValueError: none could be loaded.
        """
        reference = None
        if data.train != data.dataset:
            try:
                reference = self.setting.open(data.train, data.topology)
            except ValueError as error:
                self.missing[data.train] = str(error)
        return registry.load_each(
            texts, lambda text: registry.load(self._with_run(text, data), dataset, reference))

    def _with_run(self, text: str, data: Data) -> str:
        """The text of a method, with its training run added if it is only a name."""
        run = self.setting.run(text, data)
        if text in ("deep_mds", *networks.METHODS) and run.is_dir():
            return f"{text}={run}"
        shipped = weights.published(data.topology)
        if text == "deep_mds" and shipped in weights.pretrained_names():
            return f"{text}={shipped}"
        if text in ("deep_mds", *networks.METHODS):
            raise ValueError(f"no training run {run}; bin/train --method={text} "
                             f"--dataset={data.train} --topology={data.topology}")
        if text in METHODS and text not in registry.NAMES:
            raise ValueError("it runs elsewhere; add --methods=external=FILE of its predictions")
        return text


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
