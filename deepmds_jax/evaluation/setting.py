"""What a user has to score methods with: data, training runs, and how much to compute."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deepmds_jax.data import specs
from deepmds_jax.data.augmentation import NO_AUGMENTATION
from deepmds_jax.data.datasets import Dataset, open_dataset
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.views import Faces
from deepmds_jax.methods import Method, table

# Test faces are drawn from a key that no training seed leads to.
_TEST_STREAM = 2**31 - 1
_MAX_PICTURES = 5000  # of test faces, where no number is asked for: they are in memory together


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
        spec = specs.load_spec(name)
        for other, folder in self.folders.items():
            if other == name or specs.load_spec(other).source == spec.source:
                return folder
        return specs.find_folder(spec, self.data_root)

    def open(self, name: str, topology: str) -> Dataset:
        """Reads a dataset; ValueError if it is missing."""
        return open_dataset(specs.load_spec(name), topology, self.folder(name))

    def run(self, method: str, dataset: str, topology: str) -> pathlib.Path:
        """Folder of a method's training run on a dataset."""
        return self.runs / table.run_name(table.find(method), dataset, topology)


def draw_test_faces(
    dataset: Dataset, setting: Setting, methods: dict[str, Method], left_out: list[str]
) -> Faces:
    """Draws the test faces of a setting, with images if a method needs them.

    Args:
      dataset: where the faces come from.
      setting: their number and seed. Where a method needs images, and no number is asked for, there
        are 5,000 at most.
      methods: text that `methods.registry.load` reads -> method. If no images can be drawn, the
        methods that need them are removed from it.
      left_out: a line for each removed method is added to it.

    Raises:
      ValueError: no method is left, or no faces can be drawn.
    """
    key, num_faces = test_key(setting.seed), setting.num_faces or dataset.spec.num_test
    looking = [text for text, method in methods.items() if method.needs_images]
    if looking:
        num_faces = setting.num_faces or min(num_faces, _MAX_PICTURES)
        try:
            return dataset.draw(key, num_faces, test=True, images=True)
        except ValueError as error:
            for text in looking:
                del methods[text]
                left_out.append(f"{text.partition('=')[0]}: {error}")
            if not methods:
                raise
            num_faces = setting.num_faces or dataset.spec.num_test
    return dataset.draw(key, num_faces, test=True)


def training_faces(params: Any, description: Mapping[str, Any]) -> Dataset:
    """The faces that weights were trained on, as far as the weights know them: mean and modes.

    Args:
      params: with a `reference`, and `modes` if they have some.
      description: of the weights; says from which dataset they come.
    """
    mean = params.reference
    none = jnp.zeros((0, *mean.shape), mean.dtype)
    model = MorphableModel(mean, getattr(params, "modes", none), none, params.config.topology,
                           "size of the face")
    name = str(description.get("dataset"))
    augmentation = specs.load_spec(name).augmentation if name in specs.names() else NO_AUGMENTATION
    spec = specs.DatasetSpec(
        name="the weights' training faces", title="the faces that the weights were trained on",
        source="", licence=str(description.get("data_licence", "")), obtain="",
        topologies=(params.config.topology,), expression=False, num_train=0, num_test=0,
        augmentation=augmentation)
    return Dataset(spec, model, pathlib.Path())
