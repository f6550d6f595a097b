import hashlib
import os
import subprocess
import sys

import numpy as np
import safetensors.numpy

from deepmds_jax.weights.tensors import read_tensors, write_tensors

WRITE = """
import sys, numpy as np
from deepmds_jax.weights.tensors import write_tensors
tree = {"b": {"x": np.arange(6, dtype=np.float32)}, "a": np.array([[1.5]], np.float32)}
write_tensors(sys.argv[1], tree, {name: "é" + name for name in "qwertyuiop"})
"""


def test_two_processes_write_the_same_bytes(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    digests = set()
    for i in range(2):
        path = tmp_path / f"{i}.safetensors"
        subprocess.run([sys.executable, "-c", WRITE, path], env=environment, check=True)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_what_was_written_is_read_whatever_the_order_it_came_in(tmp_path):
    tree = {"b": {"x": np.arange(6, dtype=np.float32)}, "a": np.array([[1.5]], np.float32)}
    entries = {"z": "1", "é": 'a "quoted"\nline', "a": "2"}
    write_tensors(tmp_path / "1.safetensors", tree, entries)
    write_tensors(tmp_path / "2.safetensors", dict(reversed(tree.items())),
                  dict(reversed(entries.items())))
    content = (tmp_path / "1.safetensors").read_bytes()
    assert content == (tmp_path / "2.safetensors").read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0
    metadata, tensors = read_tensors(tmp_path / "1.safetensors")
    assert metadata == {**entries, "format": "deepmds_jax"}
    np.testing.assert_array_equal(tensors["b/x"], tree["b"]["x"])
    others = safetensors.numpy.load_file(tmp_path / "1.safetensors")
    np.testing.assert_array_equal(others["a"], tree["a"])
