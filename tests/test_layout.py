"""What the folder layout promises: imports run downward, names are unique, all is packaged."""

import ast
import collections
import configparser
import importlib
import pathlib
import pkgutil
import types

import pytest

import deepmds_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "deepmds_jax"
# Each floor may import those after it.
FLOORS = [
    "cli", "paper", "exports", "evaluation", "many", "adaptation", "suspicions", "faces_by_name",
    "video",
    "surface", "lifting", "methods", "training", "weights", "data", "mds", "geometry",
    "landmark_order", "topologies", "files", "given_arrays", "loops", "programs", "extras",
]
# Files that each method's folder has, with one meaning.
METHOD_FILES = {"parameters", "pipeline", "stages"}


def imported_floors(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deepmds_jax"):
            below = node.module.split(".")[1:]
            yield from below[:1] or [alias.name for alias in node.names]


def test_imports_run_downward():
    seen = set()
    for path in PACKAGE.rglob("*.py"):
        floor = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if floor == "__init__":
            continue
        seen.add(floor)
        for other in imported_floors(path):
            assert FLOORS.index(floor) <= FLOORS.index(other), f"{path} imports {other}"
    assert seen == set(FLOORS)


def module_names():
    return [m.name for m in pkgutil.walk_packages(deepmds_jax.__path__, "deepmds_jax.")]


@pytest.mark.parametrize("name", module_names())
def test_no_module_is_hidden_by_a_name_of_its_package(name):
    module = importlib.import_module(name)
    package, _, last = name.rpartition(".")
    found = getattr(importlib.import_module(package), last)
    assert isinstance(found, types.ModuleType)
    assert found is module


def test_no_two_files_of_one_name_mean_different_things():
    paths = [p for p in PACKAGE.rglob("*.py") if p.stem != "__init__"]
    folders = [p for p in PACKAGE.rglob("*") if (p / "__init__.py").exists()]
    counts = collections.Counter(p.stem for p in paths + folders)
    # A program is called as the library's module that it runs.
    verbs = {p.stem for p in (PACKAGE / "cli").glob("*.py")}
    assert {stem for stem, count in counts.items() if count > 1} - METHOD_FILES - verbs == set()
    for stem in METHOD_FILES:
        assert all(p.parent.parent.name == "methods" for p in paths if p.stem == stem)


def test_public_names_are_there_and_load_on_demand():
    assert set(deepmds_jax.__all__) <= set(dir(deepmds_jax))
    for name in deepmds_jax.__all__:
        assert getattr(deepmds_jax, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        deepmds_jax.nothing  # noqa: B018


METHODS = "deep_mds", "anchored", "zhao", "mobileface", "aldrian", "mediapipe"


def test_what_serves_all_methods_names_none():
    """Apart from the table that lists them; the paper's tables are of certain methods."""
    folders = ["training", "weights", "data", "geometry", "mds"]
    files = [p for folder in folders for p in (PACKAGE / folder).rglob("*.py")]
    files += [PACKAGE / "lifting.py", PACKAGE / "video.py", PACKAGE / "faces_by_name.py",
              *(PACKAGE / "evaluation").glob("*.py"), *(PACKAGE / "cli").glob("*.py"),
              PACKAGE / "methods" / "saved.py", PACKAGE / "methods" / "contract.py"]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.ImportFrom, ast.Import)):
                named = getattr(node, "module", None) or ""
                imported = {alias.name for alias in node.names} | set(named.split("."))
                if "photos" not in path.parts and "photos" not in named:
                    assert imported.isdisjoint(METHODS), f"{path} imports {imported}"
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute):
                constants = {c.value for c in node.comparators if isinstance(c, ast.Constant)}
                assert constants.isdisjoint({*METHODS, "published"}), f"{path}: {node.lineno}"


def test_every_package_and_binary_is_installed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {f"deepmds_jax.{p.parent.relative_to(PACKAGE).as_posix().replace('/', '.')}"
             for p in PACKAGE.rglob("__init__.py") if p.parent != PACKAGE}
    assert listed == found | {"deepmds_jax", "deepmds_jax.data_specs"}
    scripts = config["options.entry_points"]["console_scripts"].split("\n")
    verbs = {s.split("=")[1].strip() for s in scripts if s}
    assert verbs == {f"deepmds_jax.cli.{p.name}:run" for p in (ROOT / "bin").iterdir()
                     if p.is_file() and not p.suffix}
