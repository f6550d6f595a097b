"""Rules of primitives that read and write at places which an array says."""

import numpy as np
from jax.lax import GatherScatterMode

from deepmds_jax.exports.onnx_layout import pick, sliced
from deepmds_jax.exports.onnx_rules import as_known, by_entries, choose, rule, widened


@rule("gather")
def _gather(graph, inputs, eqn):
    x, indices = inputs
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    x, indices = graph.full(x, eqn.ins[0].shape), graph.full(indices, eqn.ins[1].shape)
    indices = widened(graph, indices)
    operand_shape = eqn.ins[0].shape
    batch = [int(a) for a in numbers.operand_batching_dims]
    index_batch = [int(a) for a in numbers.start_indices_batching_dims]
    mapped = [int(a) for a in numbers.start_index_map]
    collapsed = [int(a) for a in numbers.collapsed_slice_dims]
    # A window of the whole axis starts at 0, whatever the index says, for it is clipped.
    whole = [a for a in mapped if sizes[a] == operand_shape[a] and a not in collapsed]
    indexed = [a for a in mapped if a not in whole]
    if any(sizes[a] != 1 for a in indexed) or any(
            sizes[a] != operand_shape[a] for a in range(len(sizes))
            if a not in mapped and a not in batch and a not in collapsed):
        return _windows(graph, x, indices, eqn)
    lead = list(range(len(eqn.ins[1].shape) - 1))
    if not indexed and lead == index_batch == batch:
        return x
    if not indexed:
        raise ValueError("onnx: no rule for reading whole arrays several times")
    indices, missing = _in_bounds(graph, indices, mapped, indexed, eqn)
    offset = [int(a) for a in numbers.offset_dims]
    out_rank = len(eqn.outs[0].shape)
    places = [i for i in range(out_rank) if i not in offset]
    kept = [a for a in range(len(sizes)) if a not in collapsed and a not in batch]
    rest = [a for a in kept if a not in indexed]
    # Of the axes of what is found: where the indices' are, and those of x by their place in it.
    if not batch and len(indexed) == 1:
        axis = indexed[0]
        index = graph.squeeze(indices, [len(indices.shape) - 1])
        found = graph.emit(
            "Gather", [x, index], x.dtype,
            (*x.shape[:axis], *index.shape, *x.shape[axis + 1:]), axis=axis)
        before = [a for a in range(len(sizes)) if a < axis]
        axes = {a: a if a < axis else a - 1 + len(lead) for a in range(len(sizes)) if a != axis}
        lead_axes = [len(before) + i for i in lead]
    else:
        order = [*batch, *indexed, *rest]
        x = graph.transpose(x, order)
        other = [i for i in lead if i not in index_batch]
        indices = graph.transpose(indices, [*index_batch, *other, len(lead)])
        shape = (*indices.shape[:-1], *x.shape[len(batch) + len(indexed):])
        found = graph.emit("GatherND", [x, graph.cast(indices, np.int64)], x.dtype, shape,
                           batch_dims=len(batch))
        where = {axis: i for i, axis in enumerate([*index_batch, *other])}
        lead_axes = [where[i] for i in lead]
        axes = {a: len(lead) + i for i, a in enumerate(rest)}
    # The axes where JAX has them; kept axes that are indexed have length 1.
    out_places, new_axes = [], []
    kept_axes, lead_places = iter(kept), iter(lead_axes)
    for i in range(out_rank):
        if i in places:
            out_places.append(next(lead_places))
        elif (axis := next(kept_axes)) in indexed:
            new_axes.append(i)
        else:
            out_places.append(axes[axis])
    found = graph.transpose(found, out_places)
    found = graph.unsqueeze(found, new_axes)
    if missing is None:
        return found
    missing = graph.unsqueeze(missing, offset)
    fill = eqn.params["fill_value"]
    fill = np.nan if fill is None and found.dtype.kind == "f" else fill or 0
    return choose(graph, missing, np.array(fill, found.dtype), found, found.dtype)


def _in_bounds(graph, indices, mapped, indexed, eqn):
    """Indices of the indexed axes that lie in them, and (...) which did not, if that matters."""
    columns = [mapped.index(a) for a in indexed]
    if columns != list(range(len(mapped))):
        if isinstance(indices, np.ndarray):
            indices = indices[..., columns]
        else:
            last = len(indices.shape) - 1
            indices = graph.emit("Gather", [indices, np.array(columns)], indices.dtype,
                                 (*indices.shape[:-1], len(columns)), axis=last)
    limits = np.array([eqn.ins[0].shape[a] - 1 for a in indexed], indices.dtype)
    if isinstance(indices, np.ndarray):
        clipped = np.clip(indices, 0, limits)
        if np.array_equal(clipped, indices):
            return indices, None
    clipped = _clipped(graph, indices, limits)
    # To XLA, these are the same.
    if eqn.params["mode"] in (GatherScatterMode.CLIP, GatherScatterMode.PROMISE_IN_BOUNDS):
        return clipped, None
    differs = by_entries(graph, "Sub", [indices, clipped], indices.dtype)
    differs = by_entries(graph, "Abs", [differs], indices.dtype)
    most = graph.emit("ReduceMax", [differs, np.array([len(differs.shape) - 1], np.int64)],
                      differs.dtype, differs.shape[:-1], keepdims=0)
    return clipped, by_entries(graph, "Greater", [most, np.array(0, most.dtype)], bool)


def _windows(graph, x, indices, eqn):
    """Parts of x at places that are known now."""
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    mapped = [int(a) for a in numbers.start_index_map]
    cut = [a for a in mapped if sizes[a] != eqn.ins[0].shape[a]]
    if isinstance(indices, np.ndarray) and indices.ndim == 2 and len(cut) == 1 and not (
            numbers.collapsed_slice_dims):
        return _windows_of_axis(graph, x, indices[:, mapped.index(cut[0])], cut[0], eqn)
    if not isinstance(indices, np.ndarray) or indices.ndim > 1:
        raise ValueError(f"onnx: no rule for windows of {sizes}")
    starts = [0] * len(sizes)
    for axis, start in zip(numbers.start_index_map, indices, strict=True):
        starts[axis] = int(start)
    cut = [a for a, (full, size) in enumerate(zip(x.shape, sizes, strict=True)) if full != size]
    limits = [start if a not in cut else start + sizes[a] for a, start in enumerate(starts)]
    if any(starts[a] < 0 or limits[a] > x.shape[a] for a in cut):
        raise ValueError("onnx: no rule for windows that reach out")
    x = sliced(graph, x, cut, starts, limits, [1] * len(sizes), sizes)
    return graph.squeeze(x, numbers.collapsed_slice_dims)


def _windows_of_axis(graph, x, starts, axis, eqn):
    """Several parts of x that lie along one axis."""
    size, offset = eqn.params["slice_sizes"][axis], eqn.params["dimension_numbers"].offset_dims
    moved = np.clip(starts, 0, x.shape[axis] - size)
    if eqn.params["mode"] != GatherScatterMode.CLIP and not np.array_equal(moved, starts):
        raise ValueError("onnx: no rule for windows that reach out")
    starts = moved[:, None]
    # Added when the file is loaded: their sums are many numbers.
    places = graph.emit("Add", [starts, np.arange(size, dtype=starts.dtype)], starts.dtype,
                        (len(starts), size))
    found = graph.emit("Gather", [x, places], x.dtype,
                       (*x.shape[:axis], *places.shape, *x.shape[axis + 1:]), axis=axis)
    rest = iter(a for a in range(len(found.shape)) if a != axis)
    return graph.transpose(found, [
        next(rest) if a in offset else axis for a in range(len(found.shape))])


@rule("dynamic_slice")
def _dynamic_slice(graph, inputs, eqn):
    x, *starts = inputs
    shape, sizes = eqn.ins[0].shape, eqn.params["slice_sizes"]
    x = graph.full(x, shape)
    for axis, (start, length, size) in enumerate(zip(starts, shape, sizes, strict=True)):
        if length == size:
            continue
        places = _places(graph, start, length, size)
        x = graph.emit("Gather", [x, places], x.dtype,
                       (*x.shape[:axis], size, *x.shape[axis + 1:]), axis=axis)
    return x


def _places(graph, start, length, size):
    """(size,) the indices of a window of an axis, moved into it."""
    start = _clipped(graph, widened(graph, start), length - size)
    start = graph.unsqueeze(start, [0]) if len(start.shape) == 0 else start
    return by_entries(graph, "Add", [start, np.arange(size, dtype=start.dtype)], start.dtype)


def _clipped(graph, index, limit):
    index = by_entries(graph, "Max", [index, np.array(0, index.dtype)], index.dtype)
    return by_entries(graph, "Min", [index, np.array(limit, index.dtype)], index.dtype)


@rule("dynamic_update_slice")
def _dynamic_update(graph, inputs, eqn):
    x, update, *starts = inputs
    shape, sizes = eqn.ins[0].shape, eqn.ins[1].shape
    x, update = graph.full(x, shape), graph.full(update, sizes)
    cut = [axis for axis, (a, b) in enumerate(zip(shape, sizes, strict=True)) if a != b]
    if not cut:
        return update
    if len(cut) > 1:
        raise ValueError("onnx: no rule for putting a part in along several axes")
    axis, = cut
    places = _places(graph, starts[axis], shape[axis], sizes[axis])
    places = graph.unsqueeze(places, range(1, len(shape) - axis))
    return graph.emit("ScatterElements", [x, graph.full(places, sizes), update], x.dtype, shape,
                      axis=axis)


@rule("scatter", "scatter-add")
def _scatter(graph, inputs, eqn):
    x, indices, updates = (graph.full(value, aval.shape)
                           for value, aval in zip(inputs, eqn.ins, strict=True))
    indices = widened(graph, indices)
    numbers, shape = eqn.params["dimension_numbers"], eqn.ins[0].shape
    mapped, inserted, batch, index_batch, windows = ([int(axis) for axis in axes] for axes in (
        numbers.scatter_dims_to_operand_dims, numbers.inserted_window_dims,
        numbers.operand_batching_dims, numbers.scatter_indices_batching_dims,
        numbers.update_window_dims))
    lead = [axis for axis in range(len(updates.shape)) if axis not in windows]
    # Of each axis of x, the axis of the updates, if they have it.
    within = iter(windows)
    source = {axis: lead[index_batch[batch.index(axis)]] if axis in batch else next(within)
              for axis in range(len(shape)) if axis not in inserted}
    cut = [axis for axis in range(len(shape)) if axis not in batch and (
        axis in inserted or updates.shape[source[axis]] != shape[axis])]
    mode, adds = eqn.params["mode"], eqn.primitive == "scatter-add"
    may_drop = mode == GatherScatterMode.FILL_OR_DROP
    if not cut:
        if mapped and may_drop and not (isinstance(indices, np.ndarray) and not indices.any()):
            raise ValueError("onnx: no rule for putting all of an array at a place not known now")
        updates = graph.transpose(updates, [source[axis] for axis in range(len(shape))])
        return by_entries(graph, "Add", [x, updates], x.dtype) if adds else updates
    beside = [i for i in range(len(lead)) if i not in index_batch]
    axis = cut[0]
    if len(cut) > 1 or len(beside) > 1 or (beside and axis not in inserted):
        raise ValueError("onnx: no rule for putting parts in along several axes")
    if beside:
        source[axis] = lead[beside[0]]
    updates = graph.transpose(updates, [source[a] for a in range(len(shape)) if a in source])
    updates = graph.unsqueeze(updates, [] if axis in source else [axis])
    start = pick(graph, indices, len(indices.shape) - 1, mapped.index(axis))
    order = [index_batch[batch.index(a)] if a in batch else beside[0]
             for a in range(len(shape)) if a in batch or (a == axis and beside)]
    start = graph.transpose(start, order)
    start = graph.unsqueeze(start, [a for a in range(len(shape)) if a not in batch and not (
        a == axis and beside)])
    size = 1 if beside else updates.shape[axis]
    last = shape[axis] - size
    if mode == GatherScatterMode.CLIP:
        start = _clipped(graph, start, last)
    elif isinstance(start, np.ndarray) and np.all((start >= 0) & (start <= last)):
        may_drop = False
    whole = list(shape)
    if may_drop:  # what lies outside goes behind the end, which is cut off again
        is_inside = by_entries(graph, "And", [
            by_entries(graph, "GreaterOrEqual", [start, np.array(0, start.dtype)], bool),
            by_entries(graph, "LessOrEqual", [start, np.array(last, start.dtype)], bool)], bool)
        end = np.array(shape[axis], start.dtype)
        start = by_entries(graph, "Where", [is_inside, start, end], start.dtype)
        whole[axis] += size
        spare = graph.full(np.zeros((1,) * len(shape), x.dtype),
                           [size if a == axis else n for a, n in enumerate(shape)])
        x = as_known(graph, lambda x, spare: graph.emit(
            "Concat", [x, spare], x.dtype, whole, axis=axis), x, spare)
    count = np.arange(size, dtype=start.dtype).reshape(-1, *(1,) * (len(shape) - 1 - axis))
    places = by_entries(graph, "Add", [start, count], start.dtype)
    attributes = {"reduction": "add"} if adds else {}
    found = as_known(graph, lambda x, updates: graph.emit(
        "ScatterElements", [x, graph.full(places, updates.shape), updates], x.dtype, whole,
        axis=axis, **attributes), x, updates)
    if not may_drop:
        return found
    zeros, ones = (n * np.ones(len(shape), int) for n in (0, 1))
    return sliced(graph, found, [axis], zeros, shape, ones, shape)
