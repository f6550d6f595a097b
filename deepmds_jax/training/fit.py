"""The training loop of one stage: a pure jitted chunk of steps, and the host around it."""

import time
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from deepmds_jax.training.checkpoints import Checkpoints
from deepmds_jax.training.stages import Stage

_MAX_CHUNK = 500  # steps between two looks at the loss
_SECONDS_BETWEEN_CHECKPOINTS = 10


@flax.struct.dataclass
class TrainState:
    """All that training changes.

    Attributes:
      step: () int32, steps done.
      variables: of the Flax module: params and batch_stats.
      opt_state: Adam's moments.
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
    learning_rate: float,
    devices: list[jax.Device],
    checkpoints: Checkpoints,
    writer: Any,
    interrupted: Callable[[], bool],
) -> Any:
    """Trains a stage from `variables`, or from where its checkpoint stands, to the end.

    Step t of a run is a function of (key, t) alone, so an interrupted run ends at the same
    numbers as one that was not.

    Args:
      stage: what to train.
      variables: the network's initial variables.
      key: order of the faces: a permutation of all of them per epoch.
      num_epochs: passes over the faces.
      learning_rate: Adam's.
      devices: the minibatch is sharded over all of them.
      checkpoints: where the state is kept.
      writer: `tensorboardX.SummaryWriter`, for the loss curve.
      interrupted: whether to stop; looked at after each chunk.

    Returns:
      The trained variables.

    Raises:
      FloatingPointError: the loss is not finite; names the step. The checkpoint stays as it was.
      KeyboardInterrupt: it was to stop; the checkpoint is of this moment.
    """
    num_faces = stage.data[0].shape[0]
    steps_per_epoch = num_faces // stage.faces_per_step
    if steps_per_epoch == 0:
        raise ValueError(f"num_train: a minibatch takes {stage.faces_per_step} faces, "
                         f"got {num_faces}")
    num_steps = num_epochs * steps_per_epoch
    chunk_size = max(c for c in range(1, _MAX_CHUNK + 1) if steps_per_epoch % c == 0)
    mesh = Mesh(np.array(devices), ("batch",))
    replicated = NamedSharding(mesh, P())

    optimizer = optax.adam(learning_rate)
    state = TrainState(jnp.int32(0), variables, optimizer.init(variables["params"]))
    state = jax.device_put(checkpoints.restore(stage.name, state), replicated)
    data = jax.device_put(stage.data, replicated)
    run_chunk = jax.jit(_chunk_of_steps(stage, optimizer, mesh, chunk_size, steps_per_epoch))

    saved_at, saved_step = time.monotonic(), int(state.step)
    bar = tqdm.tqdm(
        total=num_steps, initial=saved_step, desc=f"{stage.name} on {len(devices)} device(s)",
        unit="step", mininterval=0.5,
    )
    with bar:
        while state.step < num_steps:
            start = int(state.step)
            state, losses = jax.block_until_ready(run_chunk(state, data, key))
            _check_finite(stage.name, start, losses, saved_step)
            stop = interrupted()
            due = time.monotonic() - saved_at > _SECONDS_BETWEEN_CHECKPOINTS
            if due or stop or state.step == num_steps:
                saved_at, saved_step = time.monotonic(), int(state.step)
                checkpoints.save(stage.name, saved_step, state)
            loss = float(jnp.mean(losses))
            writer.add_scalar(f"{stage.name}/loss", loss, int(state.step))
            bar.set_postfix(loss=f"{loss:.2e}", refresh=False)
            bar.update(chunk_size)
            if stop:
                raise KeyboardInterrupt(f"at step {saved_step}; the same command goes on from here")
    return jax.device_get(state.variables)


def _chunk_of_steps(stage, optimizer, mesh, chunk_size, steps_per_epoch):
    """(state, data, key) -> the state after a chunk, and its losses (chunk_size,)."""
    sharded = NamedSharding(mesh, P("batch"))
    faces_per_chunk = chunk_size * stage.faces_per_step

    def loss_fn(params, batch_stats, inputs, targets):
        outputs, updates = stage.network.apply(
            {"params": params, "batch_stats": batch_stats}, inputs, train=True,
            mutable=["batch_stats"],
        )
        return jnp.mean((outputs - targets) ** 2), updates["batch_stats"]

    def step(data, state, rows):
        minibatch = stage.minibatch(jax.tree.map(lambda x: x[rows], data))
        inputs, targets = jax.lax.with_sharding_constraint(minibatch, sharded)
        params, batch_stats = state.variables["params"], state.variables["batch_stats"]
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, batch_stats), grads = grad_fn(params, batch_stats, inputs, targets)
        updates, opt_state = optimizer.update(grads, state.opt_state)
        params = optax.apply_updates(params, updates)
        variables = {"params": params, "batch_stats": batch_stats}
        return TrainState(state.step + 1, variables, opt_state), loss

    def run_chunk(state, data, key):
        epoch, step_in_epoch = jnp.divmod(state.step, steps_per_epoch)
        order = jax.random.permutation(jax.random.fold_in(key, epoch), data[0].shape[0])
        start = step_in_epoch * stage.faces_per_step
        rows = jax.lax.dynamic_slice_in_dim(order, start, faces_per_chunk)
        rows = rows.reshape(chunk_size, stage.faces_per_step)
        return jax.lax.scan(lambda state, r: step(data, state, r), state, rows)

    return run_chunk


def _check_finite(name: str, start: int, losses: jax.Array, saved_step: int) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        raise FloatingPointError(
            f"{name}: the loss is {losses[bad[0]]} at step {start + bad[0] + 1}; the checkpoint of "
            f"step {saved_step} is kept. Try a lower --learning_rate in a new --workdir"
        )
