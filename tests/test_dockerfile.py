"""What can be known of the image without a container engine: its steps, its files, its command."""

import configparser
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def read_steps():
    """(instruction, rest) of each step of the Dockerfile, continuation lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.split("\n"))]


STEPS = read_steps()


def steps(instruction):
    return [rest for word, rest in STEPS if word == instruction]


def is_ignored(path):
    """Whether .dockerignore keeps `path`, relative to the clone, out; the last match decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        at_any_depth = pattern.startswith("**/")
        pattern = pathlib.PurePath(pattern.removeprefix("**/"))
        if any(part.match(str(pattern)) and (at_any_depth or len(part.parts) == len(pattern.parts))
               for part in (path, *path.parents)):
            ignored = not line.startswith("!")
    return ignored


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The working directory of the image, as its COPY steps fill it."""
    folder = tmp_path_factory.mktemp("image")
    for copied in steps("COPY"):
        *sources, target = copied.split()
        assert target in (".", "./")
        for source in sources:
            assert (ROOT / source).exists(), source
            top = ROOT.iterdir() if source == "." else [ROOT / source]
            for entry in top:
                if is_ignored(entry.relative_to(ROOT)):
                    assert source == ".", f"{source} is named, but .dockerignore keeps it out"
                    continue
                for path in entry.rglob("*") if entry.is_dir() else [entry]:
                    relative = path.relative_to(ROOT)
                    if path.is_file() and not is_ignored(relative):
                        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy2(path, folder / relative)
    return folder


def test_the_base_is_a_pinned_python_that_the_package_supports():
    (base,) = steps("FROM")
    version, system = re.fullmatch(r"python:(3\.\d+)-slim-(\w+)", base).groups()
    assert f"Programming Language :: Python :: {version}" in SETUP["metadata"]["classifiers"]
    assert system


def test_the_command_is_the_first_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.search(r"```sh\n(.*?)\n```", readme, re.DOTALL)[1]
    installed, _, command = first.rpartition(" && .venv/bin/python ")
    (run,) = steps("CMD")
    assert json.loads(run) == command.split()
    assert re.search(r"'\.(\[\w+\])'", installed)[1] in " ".join(steps("RUN"))


def test_it_runs_without_rights_and_what_it_writes_to_is_writable_for_all():
    words = [word for word, _ in STEPS]
    (user,) = steps("USER")
    assert int(user.partition(":")[0]) > 0
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    assert any("--mode=1777 out" in run for run in steps("RUN"))
    (home,) = re.findall(r"HOME=(\S+)", " ".join(steps("ENV")))
    assert f"chmod 1777 {home}" in " ".join(steps("RUN"))


def test_dependencies_come_before_the_code_and_are_those_of_setup_cfg(tmp_path):
    words = [word for word, _ in STEPS]
    first, second = (i for i, word in enumerate(words) if word == "COPY")
    sources = STEPS[first][1].split()[:-1]
    assert sources == ["pyproject.toml", "setup.cfg"]
    (install,) = (rest for word, rest in STEPS[first:second] if word == "RUN")
    strip, _, pip = install.partition("&&")
    assert pip.split()[:2] == ["pip", "install"] and '"jax[$JAX]"' in pip
    assert STEPS[words.index("ARG")] == ("ARG", "JAX=cpu")
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    subprocess.run(["sh", "-c", strip], cwd=tmp_path, check=True)
    left = configparser.ConfigParser()
    left.read(tmp_path / "setup.cfg")
    assert "packages" not in left["options"]
    assert left["options"]["install_requires"] == SETUP["options"]["install_requires"]
    assert left["options.extras_require"] == SETUP["options.extras_require"]


def test_nothing_private_and_all_that_is_installed_goes_in(image):
    names = {path.name for path in image.iterdir()}
    assert names == {"bin", "data_specs", "deepmds_jax", "examples", "LICENSE", "README.md",
                     "pyproject.toml", "setup.cfg"}
    assert not list(image.rglob("__pycache__"))
    for package in SETUP["options"]["packages"].split():
        folder = "data_specs" if package.endswith("data_specs") else package.replace(".", "/")
        assert any((image / folder).iterdir()), package
    for name in SETUP["metadata"]["license_files"].split():
        assert (image / name).is_file()


@pytest.mark.parametrize("command", [json.loads(steps("CMD")[0]), ["bin/check", "--help"]])
def test_commands_run_with_no_more_than_these_files(image, tmp_path, command):
    """With this interpreter and its packages; another user's home, and no other folder of ours."""
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    kept = {name: value for name, value in os.environ.items()
            if name.startswith(("JAX_", "XLA_"))}  # of the tests: what is compiled serves others
    done = subprocess.run(
        command, cwd=image, capture_output=True, text=True, timeout=120,
        env=kept | {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    if "--help" not in command:
        assert "2 faces" in done.stdout
        assert {path.name for path in (image / "out").iterdir()} == {"faces.npz", "faces.png"}
