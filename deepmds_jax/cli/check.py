"""Says which files a dataset needs, and which of them are missing or damaged.

  bin/check --dataset=bfm
  bin/check --dataset=aflw2000 --data_dir=AFLW2000

Exits with status 0 if the folder is good, and 1 otherwise.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from deepmds_jax.cli import program
from deepmds_jax.data import sources, specs

_FLAGS = program.new_flags()
_DATASET = flags.DEFINE_string(
    "dataset", None, f"One of {specs.names()}, or a spec of your own, NAME.toml.",
    flag_values=_FLAGS)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Its files; default: data/DATASET.", flag_values=_FLAGS)


def main(arguments: list[str]) -> None:
    """Checks the folder that the flags name."""
    del arguments
    spec = specs.load_spec(program.require(_DATASET, "NAME"))
    folder = pathlib.Path(_DATA_DIR.value or f"data/{spec.name}")
    print(f"{spec.name}: {spec.title}\nlicence: {spec.licence}")
    if not spec.obtain:
        print("needs no files")
        return
    print(f"wanted: {spec.obtain}")
    if not folder.is_dir():
        raise ValueError(f"data_dir: no folder {folder}")
    problems = sources.get(spec.source).check(folder)
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ValueError(f"{folder}: {count}, see above")
    print(f"{folder}: nothing is missing or damaged")


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments)
