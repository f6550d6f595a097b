"""The Python of docs/mds.md runs as printed, to the stress that it names."""

import pathlib
import re

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "mds.md").read_text(encoding="utf-8")


def test_python_blocks_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    namespace = {}
    for block in blocks:
        exec(compile(block, "mds.md", "exec"), namespace)

    printed = re.findall(r"(0\.\d+) and 0\.\d+ for\s`(\w+)`", PAGE)
    assert [transform for _, transform in printed] == ["ratio", "ordinal"]
    for stress, transform in printed:
        result = namespace[transform]
        assert abs(result.stress.mean() - float(stress)) < 6e-4
        assert result.converged.all()
    assert (tmp_path / "mds_shepard.png").stat().st_size > 0
    gradient = np.asarray(namespace["gradient"])
    assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)
    assert np.all(gradient[0, 1:9] == 0)
