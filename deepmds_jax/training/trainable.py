"""What training, weights files and checkpoints ask of a method with networks."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np

from deepmds_jax.data.datasets import Dataset
from deepmds_jax.training.stage import FitStage


@dataclasses.dataclass(frozen=True)
class Run:
    """What makes a training run the same run.

    Attributes:
      config: of the method, a `Config`.
      training: of the method, a `Training`.
      seed: of initial weights, faces, views and the order of the faces.
      num_train: number of faces.
    """

    config: Any
    training: Any
    seed: int = 0
    num_train: int = 20_000


class TrainableMethod(Protocol):
    """A module, or any other object, with these attributes.

    Attributes:
      NAME: of the method, in flags, run descriptions and weights files.
      VARIANT: which of several methods of this name; "" where there is one.
      TITLE: for people.
      STAGES: names of the stages whose trained variables make up the parameters.
      Config: frozen dataclass, the static part of the parameters; it has a field `topology`.
      Training: frozen dataclass, the options of a training run. A field of Config or Training made
        by `options.option` becomes a flag of bin/train.
      Params: pytree of arrays with a static field `config`.
    """

    @property
    def NAME(self) -> str: ...

    @property
    def VARIANT(self) -> str: ...

    @property
    def TITLE(self) -> str: ...

    @property
    def STAGES(self) -> tuple[str, ...]: ...

    @property
    def Config(self) -> type: ...

    @property
    def Training(self) -> type: ...

    @property
    def Params(self) -> type: ...

    def init(self, config: Any, key: jax.Array) -> Any:
        """Parameters with fresh random networks."""
        ...

    def train(self, run: Run, dataset: Dataset, fit_stage: FitStage) -> Any:
        """Trains all stages of a run, one after the other; returns the parameters.

        Draws its faces before the first call of `fit_stage`, which makes the first file. Where
        several processes train together each calls this, so it draws by keys alone, writes no
        file, and calls `fit_stage` for the same stages in all.

        Raises:
          ValueError: the dataset cannot train the method, or there are too few faces.
        """
        ...

    def assemble(
        self, config: Any, trained: Mapping[str, Any], beside: Mapping[str, jax.Array]
    ) -> Any:
        """Parameters from the trained variables of each of `STAGES`, and what was kept beside."""
        ...

    def to_tree(self, params: Any) -> Any:
        """The arrays of parameters as nested dicts: the layout of a weights file."""
        ...

    def from_tree(self, config: Any, tree: Any) -> Any:
        """The parameters whose arrays `to_tree` gave."""
        ...

    def read_config(
        self, metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]
    ) -> Any:
        """The configuration of a weights file.

        Raises:
          ValueError, TypeError: it is not there, or not valid.
        """
        ...
