"""What a user has to score methods with: data, training runs, and how much to compute."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import jax

from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset, open_dataset
from deepmds_jax.data.views import Faces
from deepmds_jax.methods import Method, table

# Test faces come from a key that no training seed gives.
_TEST_STREAM = 2**31 - 1


def test_key(seed: int) -> jax.Array:
    """PRNG key of the test faces; no training run draws from it."""
    return jax.random.fold_in(jax.random.key(_TEST_STREAM), seed)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the user has, and how much to compute.

    Attributes:
      data_root: holds a folder per dataset.
      folders: of datasets that lie elsewhere, by name.
      runs: holds a folder per training run, named as bin/train does.
      methods: as `methods.registry.load` reads them; empty for the paper's own of each table.
      num_faces: test faces; None for those of the dataset.
      seed: of the test faces.
    """

    data_root: pathlib.Path = pathlib.Path("data")
    folders: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    runs: pathlib.Path = pathlib.Path("runs")
    methods: Sequence[str] = ()
    num_faces: int | None = None
    seed: int = 0

    def folder(self, name: str) -> pathlib.Path:
        """Where a dataset lies; one of the same source shares its files."""
        source = specs.load_spec(name).source
        for other, folder in self.folders.items():
            if other == name or specs.load_spec(other).source == source:
                return folder
        own = self.data_root / name
        return own if own.is_dir() else self.data_root / source

    def open(self, name: str, topology: str) -> Dataset:
        """Reads a dataset; ValueError if it is not there."""
        return open_dataset(specs.load_spec(name), topology, self.folder(name))

    def run(self, method: str, dataset: str, topology: str) -> pathlib.Path:
        """The folder of the training run of a method on a dataset."""
        return self.runs / table.run_name(table.find(method), dataset, topology)


def draw_test_faces(
    dataset: Dataset, setting: Setting, methods: dict[str, Method], left_out: list[str]
) -> Faces:
    """The test faces of a setting, with pictures where a method looks at them.

    Args:
      dataset: to draw from.
      setting: how many, and the seed.
      methods: by the texts that `methods.registry.load` reads; loses those that look at pictures
        where none can be drawn.
      left_out: gets a line for each of these.

    Raises:
      ValueError: no method is left, or no faces can be drawn.
    """
    key, num_faces = test_key(setting.seed), setting.num_faces or dataset.spec.num_test
    looking = [text for text, method in methods.items() if method.needs_images]
    if looking:
        try:
            return dataset.draw(key, num_faces, test=True, images=True)
        except ValueError as error:
            for text in looking:
                del methods[text]
                left_out.append(f"{text.partition('=')[0]}: {error}")
            if not methods:
                raise
    return dataset.draw(key, num_faces, test=True)
