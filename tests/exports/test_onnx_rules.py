"""The rules of ONNX, one by one, against JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deepmds_jax.exports import onnx_file
from deepmds_jax.exports.functions import Exported

pytestmark = pytest.mark.every_platform

onnx = pytest.importorskip("onnx", reason="needs deepmds-jax[export]")
pytest.importorskip("onnxruntime", reason="needs deepmds-jax[export]")

X = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
K = np.array([[2, 0], [5, 3], [1, 1]], np.int32)


def put(x, k):
    return lax.dynamic_update_slice(x, x[:, :2] * 9, (0, k[0]))


def loop(x, k):
    return lax.while_loop(lambda s: s[1] < jnp.sum(k) + 4, lambda s: (s[0] * 1.5, s[1] + 1),
                          (x, jnp.int32(0)))[0]


def dot(x, k):
    return jnp.einsum("ij,kj->ki", x, x[::-1] * 2), jnp.einsum("ij,ij->i", x, x), x @ x[0]


def part_of_a_constant(x, k):
    """Of one too large to be stored, which a loop gets from outside."""
    twos = jnp.full(5000, 2.0)
    return lax.while_loop(lambda s: s[1] < k[0], lambda s: (s[0] + twos[:6], s[1] + 1),
                          (x[0], jnp.int32(0)))[0]


def small_places(x, k):
    """Of 8 and 16 bits, along axes longer than 8 bits can count."""
    long = jnp.concatenate([x.ravel()] * 9)
    small = k.astype(jnp.int8)
    return (long.at[small].get(mode="promise_in_bounds", wrap_negative_indices=False),
            lax.dynamic_update_slice(x[1], x[0, :2], small[:1]), x[small[0] - 9],
            long[k.astype(jnp.uint8)], long.at[k.astype(jnp.int16) - 3].set(9.0))


FUNCTIONS = {
    "entries": lambda x, k: jnp.clip(x**-2 + x % 2 + jnp.sign(x) * jnp.exp(x), -3, 4),
    "logic": lambda x, k: jnp.where((x > 0) ^ (x < 1) | ~jnp.isfinite(x / 0), x != 1, x == x),
    "choose": lambda x, k: lax.select_n(jnp.clip(k[0], 0, 2), x, 2 * x, 3 * x),
    "layout": lambda x, k: jnp.pad(jnp.stack([x, x[::-1]], 1).reshape(2, -1).T, ((1, 0), (0, 2))),
    "spread": lambda x, k: lax.pad(x, jnp.float32(7), ((1, 2, 1), (0, 0, 0))),
    "reduce": lambda x, k: (jnp.mean(x, 0), jnp.any(x > 2, 1), jnp.all(x < 2), jnp.argmin(x, 1)),
    "to_integers": lambda x, k: tuple(
        (x * jnp.array([-1.5, 300, 1e20, jnp.nan, -jnp.inf, 1e9])).astype(dtype)
        for dtype in (jnp.int8, jnp.uint8, jnp.int16, jnp.int32, jnp.uint32)),
    "first": lambda x, k: (jnp.argmax(x > 0, 1), jnp.argmin(k.astype(jnp.uint32))),
    "clip_to_nan": lambda x, k: (jnp.clip(x, jnp.nan, 1), jnp.clip(x, -1, jnp.nan)),
    "dot": dot,
    "dot_in_another_dtype": lambda x, k: (
        lax.dot(x.astype(jnp.float16), x.T.astype(jnp.float16), preferred_element_type=jnp.float32),
        lax.dot((9 * x).astype(jnp.int8), jnp.ones((6, 2), jnp.int8),
                preferred_element_type=jnp.int32)),
    "shift": lambda x, k: ((k - 2) << 2, k.astype(jnp.uint8) << 7, k**k,
                           lax.shift_right_logical(k - 3, k)),
    "cross": lambda x, k: jnp.cross(x[:, :3], x[:, 3:]),
    "gelu": lambda x, k: jax.nn.gelu(x) + jax.nn.hard_swish(x),
    "nearly_gelu": lambda x, k: x * (0.5 * (1 + jnp.tanh(
        np.float32(np.sqrt(2 / np.pi)) * (x + x[::-1])))),
    "zeroth_power": lambda x, k: x**0 + lax.integer_pow(x, 0),
    "signs_of_zero": lambda x, k: 1 / (0 * x + jnp.array([0.0, -0.0, 0.0, -0.0, 0.0, 0.0])),
    "nothing": lambda x, k: x[2:2].reshape(6, 0),
    "take": lambda x, k: (x[:, k], x[k % 4, k], jnp.take_along_axis(x, x.argsort(1), 1)),
    "take_below": lambda x, k: (x[k[0] - 9], x[:, k - 9], x[k[1] + 9, k]),
    "small_places": small_places,
    "out_of_bounds": lambda x, k: x.at[:, k + 2].get(mode="fill", fill_value=8.0),
    "window": lambda x, k: lax.dynamic_slice(x, (k[1], 0), (1, 6)),
    "windows": lambda x, k: jax.vmap(
        lambda i: lax.dynamic_slice_in_dim(x, i, 3, axis=1), out_axes=1)(jnp.arange(5)),
    "put": put,
    "add_to_all": lambda x, k: (x.at[:].add(x**2), x.at[0:4].add(x), x[:1].at[0:1].add(x[1:2])),
    "put_outside": lambda x, k: (x.at[:, k - 3].set(9.0), x[0].at[k * 2 - 9].add(x[1, :2]),
                                 jax.ops.segment_sum(x[:2], k - 1, 3)),
    "scatter": lambda x, k: (jnp.zeros(9).at[k].set(x[0, :2]), jnp.zeros(9).at[k].add(1.0)),
    "sort": lambda x, k: lax.sort((jnp.sign(x), -x), dimension=1, num_keys=2),
    "cumulative": lambda x, k: (jnp.cumsum(x, 1), lax.cummin(x, 1), lax.cummax(x, 0, reverse=True)),
    "bits": lambda x, k: (lax.bitcast_convert_type(
        jnp.abs(x * jnp.array([0, 1, 1e30, 1e-30, 3, jnp.inf])), jnp.uint32) >> 3).astype(int),
    "loop": loop,
    "part_of_a_constant": part_of_a_constant,
    "scan": lambda x, k: lax.scan(lambda s, y: (s + y, s * y), x[0], jnp.concatenate([x, x])),
    "unrolled": lambda x, k: lax.scan(lambda s, y: (s + y, s * y), x[0], x, reverse=True),
    "branch": lambda x, k: lax.cond(k[0] > 1, lambda x: x + 1, lambda x: x * 2, x),
}


@pytest.mark.parametrize("batch", [1, None], ids=["one", "any"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_rule(name, batch):
    def of_one(x, k):
        return {f"out{i}": leaf for i, leaf in enumerate(jax.tree.leaves(FUNCTIONS[name](x, k)))}

    exported = Exported(name, of_one, {"x": (X.shape[1:], X.dtype), "k": (K.shape[1:], K.dtype)},
                        lambda *_: 1.0, lambda count: {}, {}, 1)
    run = onnx_file.runner(onnx_file.write(exported, batch, exact=True))
    rows = slice(None) if batch is None else slice(1, 2)
    found = run({"x": X[rows], "k": K[rows]})
    expected = jax.jit(exported.function)(X[rows], K[rows])
    for key, wanted in expected.items():
        assert found[key].dtype == wanted.dtype
        np.testing.assert_allclose(found[key], wanted, rtol=2e-5, atol=1e-6)


def test_a_branch_that_is_not_taken_is_not_computed():
    exported = Exported(
        "either", lambda x, k: {"y": lax.cond(k[0] > 1, jnp.exp, jnp.tanh, x)},
        {"x": ((2,), jnp.float32), "k": ((1,), jnp.int32)}, lambda *_: 1.0, lambda count: {}, {}, 1)
    graph = onnx.load_from_string(onnx_file.write(exported, 1, exact=True)).graph
    (branch,) = (node for node in graph.node if node.op_type == "If")
    assert {"Exp", "Tanh"}.isdisjoint(node.op_type for node in graph.node)
    taken = {body.name: [node.op_type for node in body.g.node] for body in branch.attribute}
    assert "Exp" in taken["then_branch"]
    assert "Tanh" in taken["else_branch"]


def test_what_has_no_rule_is_named():
    exported = Exported("none", lambda x: {"y": lax.erf_inv(x)}, {"x": ((2,), jnp.float32)},
                        lambda *_: 1.0, lambda count: {}, {}, 1)
    with pytest.raises(ValueError, match="onnx: no rule for the primitive erf_inv of JAX"):
        onnx_file.write(exported, 1, exact=True)
    exported = Exported("none", lambda x: {"y": (x.astype(jnp.bfloat16) * 3).astype(jnp.float32)},
                        {"x": ((2,), jnp.float32)}, lambda *_: 1.0, lambda count: {}, {}, 1)
    with pytest.raises(ValueError, match="onnx: no rule for bfloat16"):
        onnx_file.write(exported, 1, exact=True)
