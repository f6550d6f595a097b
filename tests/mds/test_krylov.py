import jax
import numpy as np
import pytest

from deepmds_jax.mds.krylov import solve_in_unit

MATRIX = np.diag([1.0, 2, 3, 5]) + 0.3


@pytest.mark.parametrize("unit", [1, 1e-12, 1e-20, 1e-35, 1e20, 1e37])
def test_squares_of_the_right_hand_side_may_leave_the_range_of_float32(unit):
    rhs = np.array([1.0, -2, 0.5, 3])
    matrix = MATRIX.astype(np.float32)
    solve = jax.jit(lambda rhs: solve_in_unit(lambda x: matrix @ x, rhs, max_iters=20))
    found = solve(np.float32(unit * rhs))
    np.testing.assert_allclose(found / unit, np.linalg.solve(MATRIX, rhs), rtol=1e-4)
