"""Training by several processes: what the first does for all, and what they decide together.

Every process runs the same program on its own devices, so that all of them draw the same faces and
come to the same state; what the steps sum up goes over the network inside the compiled loop.
Outside of it processes have to meet here, all at the same place, or one waits in vain.
"""

import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process by itself, or together with all others of `jax.distributed`.

    Attributes:
      several: whether there are others.
    """

    several: bool

    @classmethod
    def of(cls, devices: Sequence[Any]) -> "Processes":
        """Those that own the devices of a training.

        Raises:
          ValueError: devices neither of this process nor of all.
        """
        owners = {device.process_index for device in devices}
        if owners not in ({jax.process_index()}, set(range(jax.process_count()))):
            raise ValueError(f"devices: expected those of this process, {jax.process_index()}, or "
                             f"of all {jax.process_count()}, got those of {sorted(owners)}")
        return cls(len(owners) > 1)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return not self.several or jax.process_index() == 0

    def any(self, *flags: bool) -> Sequence[bool]:
        """For each flag whether it is set in any process."""
        return np.any(self._gather(flags), axis=0).tolist() if self.several else flags

    def together(self, action: Callable[..., _T], *arguments: Any) -> _T:
        """The result of an action that every process takes; where it fails in one, none goes on.

        Raises:
          ValueError: it failed in another process.
          Exception: what the action raised in this one.
        """
        if not self.several:
            return action(*arguments)
        result, error = None, None
        try:
            result = action(*arguments)
        except Exception as raised:  # the others have to know before it goes on
            error = raised
        failed = np.flatnonzero(self._gather(error is not None))
        if error is not None:
            raise error
        if failed.size:
            raise ValueError(f"process {failed[0]} failed, and all stop; it says why")
        return result  # pyright: ignore[reportReturnType] (of the action, which did not fail)

    def lead(self, action: Callable[..., _T], *arguments: Any) -> _T | None:
        """The result of an action that the first process takes; None in others.

        Raises:
          ValueError: it failed, and this is another process.
          Exception: what the action raised, in the first.
        """
        return self.together(lambda: action(*arguments) if self.leads else None)

    def check_same(self, description: Mapping[str, Any]) -> None:
        """Raises ValueError where processes have got different runs (JSON-like) to do."""
        text = json.dumps(description, sort_keys=True).encode()
        checksums = self._gather(np.uint32(zlib.crc32(text))) if self.several else np.zeros(1)
        differing = np.flatnonzero(checksums != checksums[0])
        if differing.size:
            raise ValueError(f"process_id: process {differing[0]} has another run to train than "
                             "process 0; expected the same options in all")

    def replicate(self, tree: Any, sharding: NamedSharding) -> Any:
        """Arrays of the first process, whole on all devices of a sharding."""
        if not self.several:
            return jax.device_put(tree, sharding)

        # Processors of different make round differently: what the first has drawn goes to all.
        def spread(x):
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(
                    spread(jax.random.key_data(x)), impl=jax.random.key_impl(x))
            host = multihost_utils.broadcast_one_to_all(np.asarray(x))
            return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

        return jax.tree.map(spread, tree)

    def _gather(self, value: Any) -> np.ndarray:
        """(processes, ...): the value of each."""
        return multihost_utils.process_allgather(np.asarray(value))
