import jax
import numpy as np

from deepmds_jax.mds import acceleration

# Compiled once, not operation by operation.
extend = jax.jit(acceleration.extend)
extrapolate = jax.jit(acceleration.extrapolate)


def iterate(jacobian, root, num_steps):
    """Points of the accelerated iteration x -> x + J (x - root), from zero."""
    def f(x):
        return jacobian @ (x - root)

    points = [np.zeros(3)]
    window = acceleration.empty_window(np.zeros(3))
    assert window.is_empty
    for _ in range(num_steps):
        x = points[-1]
        if len(points) > 1:
            window = extend(window, x - points[-2], f(x) - f(points[-2]))
            residuals = np.asarray(window.residuals)
            gram = residuals @ residuals.T
            used = min(len(points) - 1, 3)
            np.testing.assert_allclose(gram[:used, :used], np.eye(used), atol=1e-6)
        points.append(np.asarray(extrapolate(window, x + f(x), f(x))))
    return np.array(points)


def test_reaches_the_root_of_a_linear_map(x64):
    """Three directions tell all about three dimensions."""
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    jacobian = -q @ np.diag([0.02, 0.3, 0.9]) @ q.T
    root = np.array([1.0, -2, 3])
    points = iterate(jacobian, root, 4)
    np.testing.assert_allclose(points[4], root, atol=1e-9)
    assert np.linalg.norm(points[3] - root) > 1e-3  # and not before
    plain = np.zeros(3)
    for _ in range(4):
        plain = plain + jacobian @ (plain - root)
    assert np.linalg.norm(plain - root) > 0.1


def test_first_step_is_the_map(x64):
    root = np.array([1.0, 2, 3])
    np.testing.assert_allclose(iterate(-0.5 * np.eye(3), root, 1)[1], root / 2)


def test_forgets_all_where_the_objective_curves_downward(x64):
    window = acceleration.empty_window(np.zeros(3))
    step = np.array([1.0, 0, 0])
    window = extend(window, step, -0.5 * step)
    assert not window.is_empty
    np.testing.assert_allclose(window.residuals[0], -step)
    np.testing.assert_allclose(window.images[0], step)
    other = np.array([0.0, 1, 0])
    assert extend(window, other, 0.1 * other).is_empty
    assert extend(window, 0 * other, 0 * other).is_empty
