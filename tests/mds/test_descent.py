from typing import NamedTuple

import jax
import numpy as np
import pytest

from deepmds_jax import mds
from deepmds_jax.mds import individual, robust, unfolding
from deepmds_jax.mds.descent import one_by_one


class Options(NamedTuple):
    on_cpu: bool | None


@pytest.mark.every_platform
@pytest.mark.parametrize(("on_cpu", "expected"), [
    (True, {True}), (False, {False}), (None, {True, False}),
])
def test_only_the_device_that_is_known_is_traced(on_cpu, expected):
    traced = []

    def solve(options, x):
        traced.append(options.on_cpu)
        return x

    jax.eval_shape(jax.vmap(one_by_one(solve, Options(on_cpu))), np.ones((2, 3)))
    assert set(traced) == expected


@pytest.mark.parametrize(("module", "function", "shape"), [
    (robust, mds.smacof_robust, (4, 4)), (unfolding, mds.unfold, (4, 4)),
    (individual, mds.individual_differences, (2, 4, 4)),
])
def test_the_device_is_known_outside_jit(module, function, shape, monkeypatch):
    known = []

    def note(options, *_):
        known.append(options.on_cpu)
        raise StopIteration  # what follows takes long to compile

    monkeypatch.setattr(module, "_solve_batch", note)
    given = np.ones(shape, np.float32)
    for call in (function, jax.jit(function)):
        with pytest.raises(StopIteration):
            call(given)
    assert known == [jax.default_backend() == "cpu", None]
