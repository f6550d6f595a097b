"""What is installed and how a clone starts: dependencies, versions, addresses, launchers."""

import ast
import configparser
import pathlib
import re
import shutil
import subprocess
import sys
import venv

import pytest

import deepmds_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
EXTRAS = SETUP["options.extras_require"]
# Names of packages that are imported under another one.
INSTALLED_AS = {"PIL": "pillow", "absl": "absl-py", "ai_edge_litert": "ai-edge-litert",
                "orbax": "orbax-checkpoint", "sklearn": "scikit-learn"}


def requirements(text):
    """Name by name, without extras of a package, what a list of setup.cfg asks for."""
    return {re.match(r"[\w-]+", line)[0]: line for line in text.split("\n") if line.strip()}


def test_every_dependency_has_a_lower_bound():
    for section in (SETUP["options"]["install_requires"], *EXTRAS.values()):
        for name, line in requirements(section).items():
            assert name == "deepmds-jax" or re.search(r">=\d+(\.\d+)+$", line), line


def test_what_the_package_imports_is_a_dependency():
    declared = set(requirements(SETUP["options"]["install_requires"]))
    declared |= {name for text in EXTRAS.values() for name in requirements(text)}
    imported = set()
    for path in (ROOT / "deepmds_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                module, extra = [*node.args, *(k.value for k in node.keywords)]
                assert extra.value in EXTRAS, f"{path}: no extra {extra.value}"
                imported.add(module.value.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"deepmds_jax"}
    assert foreign >= {"jax", "flax", "orbax", "tensorboardX"}
    assert {INSTALLED_AS.get(name, name) for name in foreign} <= declared


def test_tests_get_what_training_needs():
    assert re.search(r"deepmds-jax\[.*\btrain\b.*\]", EXTRAS["all"])
    assert re.search(r"deepmds-jax\[.*\ball\b.*\]", EXTRAS["test"])


def test_versions_and_addresses_agree():
    version, address = SETUP["metadata"]["version"], SETUP["metadata"]["url"]
    assert deepmds_jax.__version__ == version
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {version}\n" in citation
    assert f"\nrepository-code: {address}\n" in citation
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
    for link in SETUP["metadata"]["project_urls"].split("\n"):
        assert address in link or "arxiv.org" in link or not link


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """An interpreter that has no packages at all."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


@pytest.fixture
def clone(tmp_path):
    shutil.copytree(ROOT / "bin", tmp_path / "clone" / "bin",
                    ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "clone"


def start(python, program, *arguments, cwd):
    done = subprocess.run([python, program, *arguments], cwd=cwd, env={}, capture_output=True,
                          text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_launchers_run_in_the_environment_of_their_clone(bare, clone, tmp_path):
    own = clone / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text('#!/bin/sh\necho "$0" "$@"\n')
    own.chmod(0o755)
    programs = [path for path in (clone / "bin").iterdir() if not path.suffix]
    assert len(programs) >= 5
    for path in programs:
        link = tmp_path / path.name
        link.symlink_to(path)
        code, out, err = start(bare, link.name, "--flag=a b", cwd=tmp_path)
        assert (code, out, err) == (0, f"{own} {path.name} --flag=a b\n", "")


def test_launchers_say_how_to_set_the_clone_up(bare, clone, tmp_path):
    code, out, err = start(bare, clone / "bin" / "check", cwd=tmp_path)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"error: .* has no JAX; set up this clone first: cd .*/clone && "
                        r"python3 -m venv \.venv && .*\n", err)


def test_launchers_do_not_restart_forever_in_an_empty_environment(clone, tmp_path):
    venv.create(clone / ".venv", with_pip=False, symlinks=True)
    code, _, err = start(clone / ".venv" / "bin" / "python", clone / "bin" / "check", cwd=tmp_path)
    assert code == 1
    assert "has no JAX" in err


def test_launchers_run_the_program_through_a_link(tmp_path):
    (tmp_path / "check").symlink_to(ROOT / "bin" / "check")
    code, out, err = start(sys.executable, "check", "--dataset=synthetic", cwd=tmp_path)
    assert code == 0, err
    assert out.endswith("needs no files\n")
