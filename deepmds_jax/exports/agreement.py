"""Whether a file computes what JAX computes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from deepmds_jax.exports.functions import Exported

NUM_ITEMS = 1000
MAX_ERROR = 1e-4  # in sizes of the result
# Of the items that lie at a threshold, one or the other may fall on the other side.
_MAX_DIFFERING = 5

Runner = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class Expectation(NamedTuple):
    """Inputs, and what JAX makes of them."""

    exported: Exported
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


class Agreement(NamedTuple):
    """How far the results of a file are from those of JAX.

    Attributes:
      errors: by output, the largest difference in sizes of the result, of the items that have
        converged: what comes of others can be ill-determined, such as the pose of five landmarks.
        Infinite where, of any item, one has a number and the other none.
      num_differing: of how many items `converged` is not the same.
      num_items: of how many.
    """

    errors: Mapping[str, float]
    num_differing: int
    num_items: int

    @property
    def error(self) -> float:
        """The largest of all."""
        return max(self.errors.values())

    @property
    def is_good(self) -> bool:
        """Whether the file may be kept."""
        return self.error <= MAX_ERROR and self.num_differing <= _MAX_DIFFERING

    def __str__(self) -> str:
        worst = max(self.errors, key=lambda name: self.errors[name])
        text = f"largest difference {self.error:.1e} ({worst}; at most {MAX_ERROR:.0e})"
        if self.num_differing:
            text += f", converged differs for {self.num_differing}"
        return f"{text} of {self.num_items}"

    def as_metadata(self) -> dict[str, str]:
        """Entries for a file."""
        return {
            "error": f"{self.error:.2e}",
            "error_of": f"largest difference from JAX {jax.__version__} over {self.num_items} "
                        "made-up items, in sizes of the result",
            "errors": ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items()),
            "converged_differs": f"{self.num_differing} of {self.num_items}",
        }


def expect(exported: Exported, num_items: int = NUM_ITEMS) -> Expectation:
    """Makes up inputs and runs JAX on them."""
    inputs = exported.samples(num_items)
    outputs = jax.jit(exported.function)(*inputs.values())
    return Expectation(exported, inputs, {name: np.asarray(x) for name, x in outputs.items()})


def compare(expected: Expectation, run: Runner, batch: int | None) -> Agreement:
    """Runs a file beside JAX.

    Args:
      expected: inputs and outputs.
      run: takes inputs and gives outputs, by name.
      batch: how many items it takes at once; None is any number.
    """
    found = _run_all(expected.inputs, run, batch)
    converged = expected.outputs["converged"]
    counts = found["converged"] & converged
    errors = {}
    for name, wanted in expected.outputs.items():
        if name != "converged":
            unit = np.broadcast_to(expected.exported.unit_of(name, expected.outputs), counts.shape)
            errors[name] = _error(found[name], wanted, unit, counts)
    return Agreement(errors, int(np.sum(found["converged"] != converged)), len(converged))


def _run_all(inputs, run, batch):
    count = len(next(iter(inputs.values())))
    size = batch or count
    parts = []
    for start in range(0, count, size):
        rows = np.arange(start, start + size) % count  # the last part goes on with the first items
        parts.append(run({name: array[rows] for name, array in inputs.items()}))
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def _error(found, wanted, unit, counts):
    if found.shape != wanted.shape or not np.array_equal(np.isnan(found), np.isnan(wanted)):
        return np.inf
    unit = unit.reshape(-1, *(1,) * (wanted.ndim - 1))
    differences = np.abs(found - wanted.astype(np.float64)) / unit
    return float(np.max(differences[counts], initial=0))
