"""The README's Python runs as printed, and its commands name what exists."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_python_blocks_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["x3d"].shape == (68, 3)
    assert namespace["placed"].points.shape == (68, 3)
    assert namespace["result"].embedding.shape == (512, 20, 2)


def test_files_and_programs_exist():
    for path in re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"(?<!/)\b(bin/\w+)", README):
        assert (ROOT / path).exists(), path


def test_the_test_command_is_what_ci_runs():
    command = re.search(r"```sh\n(.*-m pytest)\n```", README).group(1)
    ci = (ROOT / ".ci" / "run").read_text().replace(" --quiet", "")
    assert command in ci
