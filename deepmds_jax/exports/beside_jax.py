"""Whether a file computes what JAX computes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from deepmds_jax.exports.functions import Exported

# Where JAX itself differs more for inputs that differ by rounding, as the solutions of ordinal
# scaling do within its tolerance, so many times that: not the inputs alone are rounded.
_MARGIN = 10.0
_ROUNDING = 2.0**-23
# Of the items that lie at a threshold, one or the other may fall on the other side.
_MAX_SHARE_DIFFERING = 0.005

Runner = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class Expectation(NamedTuple):
    """Inputs, and what JAX makes of them.

    Attributes:
      exported: the function.
      inputs, outputs: by name.
      rounding: how far the outputs are from those of inputs that differ by rounding.
    """

    exported: Exported
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    rounding: "Agreement | None"

    def is_met_by(self, found: "Agreement") -> bool:
        """Whether a file that agrees so may be kept."""
        assert self.rounding is not None
        return found.is_within(self.exported.max_error, self.rounding)


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

    def is_within(self, max_error: float, rounding: "Agreement") -> bool:
        """Whether the file may be kept, where rounding makes so much of a difference to JAX."""
        limit = _MAX_SHARE_DIFFERING * self.num_items + _MARGIN * rounding.num_differing
        return self.num_differing <= limit and all(
            error <= max(max_error, _MARGIN * rounding.errors[name])
            for name, error in self.errors.items())

    def __str__(self) -> str:
        text = ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items())
        if self.num_differing:
            text += f", converged in {self.num_differing}"
        return f"largest differences over {self.num_items} items: {text}"

    def as_metadata(self) -> dict[str, str]:
        """Entries for a file."""
        return {
            "error": f"{self.error:.2e}",
            "error_of": f"largest difference from JAX {jax.__version__} over {self.num_items} "
                        "made-up items, in sizes of the result",
            "errors": ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items()),
            "converged_differs": f"{self.num_differing} of {self.num_items}",
        }


def expect(exported: Exported) -> Expectation:
    """Makes up inputs, and runs JAX on them and on inputs that differ by rounding."""
    inputs = exported.samples(exported.num_samples)
    function = jax.jit(exported.function)

    def run(inputs):
        return {name: np.asarray(x) for name, x in function(*inputs.values()).items()}

    expected = Expectation(exported, inputs, run(inputs), None)
    rng = np.random.default_rng(1)
    rounded = {name: _rounded(rng, array) for name, array in inputs.items()}
    return expected._replace(rounding=compare(expected, lambda _: run(rounded), None))


def _rounded(rng, array):
    if array.dtype.kind != "f":
        return array
    change = 1 + _ROUNDING * rng.uniform(-1, 1, array.shape)
    # A matrix stays symmetric.
    if array.ndim == 3 and array.shape[1] == array.shape[2]:
        change = np.sqrt(change * change.swapaxes(1, 2))
    return (array * change).astype(array.dtype)


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
