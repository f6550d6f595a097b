"""What the folder layout promises: imports run downward, and everything is packaged."""

import ast
import configparser
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "deepmds_jax"
# Each floor may import those after it.
FLOORS = [
    "cli", "paper", "evaluation", "training", "methods", "weights", "video", "lifting", "data",
    "anchored", "models", "mds", "geometry", "topologies", "files", "extras",
]


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
