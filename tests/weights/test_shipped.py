"""The weights that are shipped."""

import jax
import pytest

from deepmds_jax import load_pretrained, topologies
from deepmds_jax.methods import anchored, deep_mds
from deepmds_jax.methods.saved import read_metadata
from deepmds_jax.weights.locate import locate, shipped_names


def test_weights_are_shipped_for_ibug68_and_flame51_only():
    assert shipped_names() == ["flame51", "flame51_published", "ibug68", "ibug68_published"]
    for name in ("bfm72", "bfm72_published", "../networks"):
        with pytest.raises(ValueError, match=f"name: weights are shipped for .*{name!r}"):
            load_pretrained(name)


@pytest.mark.parametrize(("suffix", "method"), [("", anchored), ("_published", deep_mds)])
@pytest.mark.parametrize("topology", ["flame51", "ibug68"])
def test_shipped_weights_are_small_credited_and_of_their_topology(topology, suffix, method):
    params = load_pretrained(f"{topology}{suffix}")
    assert type(params) is method.Params
    assert params.config == method.Config(topology)
    assert params.reference.shape == (topologies.get(topology).num_landmarks, 3)
    beside = params.reference.size  # what is no network
    if method is anchored:
        beside += params.modes.size + params.unexplained.size
    arrays = sum(x.size for x in jax.tree.leaves(params))
    assert arrays - beside <= 27_505
    path = locate(f"{topology}{suffix}").path
    assert path.stat().st_size < 300_000
    metadata = read_metadata(path)
    assert "MIT" in metadata["data_licence"]
    assert "ICT" in metadata["data"]
