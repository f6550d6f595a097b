"""The training loop of one stage: a pure jitted chunk of steps, and the host around it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from deepmds_jax.training.processes import Processes
from deepmds_jax.training.stage import Stage

if TYPE_CHECKING:
    from deepmds_jax.training.checkpoints import Checkpoints

_SECONDS_BETWEEN_CHECKPOINTS = 10


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes.

    Attributes:
      step: () int32, steps done.
      variables: of the Flax module: params, and batch_stats where it has some.
      opt_state: of the optimizer.
    """

    step: jax.Array
    variables: Any
    opt_state: Any


def fit(
    stage: Stage,
    variables: Any,
    *,
    key: jax.Array,
    num_epochs: int,
    devices: Sequence[Any],
    checkpoints: Checkpoints | None = None,
    writer: Any = None,
    interrupted: Callable[[], bool] = lambda: False,
    progress: bool = True,
) -> Any:
    """Trains a stage from `variables`, or from where its checkpoint stands, to the end.

    Step t of a run is a function of (key, t) alone, so an interrupted run ends at the same
    numbers as one that was not.

    Where the devices are those of several processes, all of them call this; each has to be given
    the same, but for `writer` and `progress`. Only the first one touches the checkpoints.

    Args:
      stage: what to train.
      variables: the network's initial variables.
      key: of the order of the faces, one permutation per epoch, and of everything random in a step.
      num_epochs: passes over the faces.
      devices: the minibatch is sharded over all of them; of this process, or of all processes.
      checkpoints: where the state is kept; None for a training too short to be resumed.
      writer: `tensorboardX.SummaryWriter`, for the loss curve, if there shall be one.
      interrupted: says whether to stop; asked after each chunk. One process stops all.
      progress: whether to show a progress bar.

    Returns:
      The trained variables.

    Raises:
      ValueError: another process failed; its own error says why.
      FloatingPointError: the loss is not finite; names the step. The checkpoint stays as it was.
      KeyboardInterrupt: it was asked to stop; the checkpoint is of that moment.
    """
    num_steps = num_epochs * stage.steps_per_epoch
    mesh = Mesh(np.array(devices), ("batch",))
    replicated = NamedSharding(mesh, P())
    processes = Processes.of(devices)

    state = _start(stage, variables)
    if checkpoints is not None:
        state = processes.lead(checkpoints.restore, stage.name, state) or state
    state = processes.replicate(state, replicated)
    data = processes.replicate(stage.data, replicated)
    key = processes.replicate(key, replicated)
    run_chunk = jax.jit(_chunk_of_steps(stage, mesh), out_shardings=replicated)

    saved_at, saved_step = time.monotonic(), int(state.step)
    bar = tqdm.tqdm(
        total=num_steps, initial=saved_step, desc=f"{stage.name} on {len(devices)} device(s)",
        unit="step", mininterval=0.5, disable=not progress,
    )
    with bar:
        while state.step < num_steps:
            start = int(state.step)
            state, losses = jax.block_until_ready(run_chunk(state, data, key))
            _check_finite(stage.name, start, losses, _advice(checkpoints, saved_step))
            due = time.monotonic() - saved_at > _SECONDS_BETWEEN_CHECKPOINTS
            stop, due = processes.any(interrupted(), due)
            if checkpoints is not None and (due or stop or state.step == num_steps):
                saved_at, saved_step = time.monotonic(), int(state.step)
                processes.lead(checkpoints.save, stage.name, saved_step, state)
            loss = float(jnp.mean(losses))
            if writer is not None:
                writer.add_scalar(f"{stage.name}/loss", loss, int(state.step))
            bar.set_postfix(loss=f"{loss:.2e}", refresh=False)
            bar.update(stage.chunk_size)
            if stop:
                raise KeyboardInterrupt(f"at step {saved_step}; the same command goes on from here")
    return jax.device_get(state.variables)


@dataclasses.dataclass(frozen=True)
class Epoch:
    """A pass over the faces.

    Attributes:
      losses: (steps of an epoch,) float32, of each minibatch before its step.
      variables: after it.
      seconds: that training has taken up to its end, without compilation.
    """

    losses: np.ndarray
    variables: Any
    seconds: float


def fit_by_epochs(
    stage: Stage, variables: Any, *, key: jax.Array, num_epochs: int
) -> Iterator[Epoch]:
    """The steps of `fit` on one device, without files and progress bar, epoch by epoch.

    Args:
      stage: what to train.
      variables: the network's initial variables.
      key: as `fit`'s: the same key gives the same steps.
      num_epochs: passes over the faces.

    Raises:
      FloatingPointError: a loss is not finite; names the step.
    """
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("batch",))
    state, seconds = _start(stage, variables), 0.0
    run_chunk = jax.jit(_chunk_of_steps(stage, mesh)).lower(state, stage.data, key).compile()
    for epoch in range(num_epochs):
        curve = []
        for chunk in range(stage.steps_per_epoch // stage.chunk_size):
            start = time.perf_counter()
            state, losses = jax.block_until_ready(run_chunk(state, stage.data, key))
            seconds += time.perf_counter() - start
            first = epoch * stage.steps_per_epoch + chunk * stage.chunk_size
            _check_finite(stage.name, first, losses, "try a lower learning rate")
            curve.append(np.asarray(losses))
        yield Epoch(np.concatenate(curve), state.variables, seconds)


def _start(stage: Stage, variables: Any) -> TrainState:
    opt_state = jax.jit(stage.optimizer.init)(variables["params"])
    return TrainState(jnp.int32(0), variables, opt_state)


def _chunk_of_steps(stage, mesh):
    """(state, data, key) -> the state after a chunk, and its losses (chunk_size,)."""
    sharded = NamedSharding(mesh, P("batch"))

    def loss_fn(params, statistics, inputs, targets):
        # Only networks with batch statistics behave differently in training.
        options = {"train": True} if statistics else {}
        outputs, statistics = stage.apply(
            {"params": params, **statistics}, inputs, mutable=list(statistics), **options
        )
        return stage.loss(outputs, targets), statistics

    def step(data, key, state, rows):
        minibatch = stage.minibatch(data, rows, jax.random.fold_in(key, state.step))
        inputs, targets = jax.lax.with_sharding_constraint(minibatch, sharded)
        statistics = {k: v for k, v in state.variables.items() if k != "params"}
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, statistics), grads = grad_fn(state.variables["params"], statistics, inputs, targets)
        params = state.variables["params"]
        updates, opt_state = stage.optimizer.update(grads, state.opt_state, params)
        params = optax.apply_updates(params, updates)
        return TrainState(state.step + 1, {"params": params, **statistics}, opt_state), loss

    def run_chunk(state, data, key):
        epoch, step_in_epoch = jnp.divmod(state.step, stage.steps_per_epoch)
        order = jax.random.permutation(jax.random.fold_in(key, epoch), stage.num_faces)
        start = step_in_epoch * stage.faces_per_step
        shape = (stage.chunk_size, stage.faces_per_step)
        rows = jax.lax.dynamic_slice_in_dim(order, start, math.prod(shape)).reshape(shape)
        steps_key = jax.random.fold_in(key, 2**32 - 1)  # no epoch has this number
        if stage.chunk_size == 1:  # no loop, which slows convolutions on CPU
            state, loss = step(data, steps_key, state, rows[0])
            return state, loss[None]
        return jax.lax.scan(lambda state, r: step(data, steps_key, state, r), state, rows)

    return run_chunk


def _advice(checkpoints: Checkpoints | None, saved_step: int) -> str:
    if checkpoints is None:
        return "nothing is written; try another seed, or other landmarks"
    kept = (f"the checkpoint of step {saved_step} is kept" if saved_step
            else "there is no checkpoint yet")
    return f"{kept}. Try a lower --learning_rate in a new --workdir"


def _check_finite(name: str, start: int, losses: jax.Array, advice: str) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        raise FloatingPointError(
            f"{name}: the loss is {losses[bad[0]]} at step {start + bad[0] + 1}; {advice}"
        )
