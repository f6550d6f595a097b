"""Says which files a dataset needs, and which of them are missing or damaged.

  bin/check --dataset=bfm
  bin/check --dataset=aflw2000 --data_dir=AFLW2000
  bin/check --dataset=shapes --data_dir=hands --topology=hand.toml

Exits with status 0 if the folder is good, and 1 otherwise.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from deepmds_jax.cli import program
from deepmds_jax.data import sources, specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.data.sources import checks

_FLAGS = program.new_flags()
_DATASET = flags.DEFINE_string(
    "dataset", None, f"One of {specs.names()}, or a spec of your own, NAME.toml.",
    flag_values=_FLAGS)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None,
    "Landmarks that the files have to be of, a name or a file NAME.toml; default: those of a "
    "spec of your own.",
    flag_values=_FLAGS)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None,
    "Its files; default: data/DATASET. Of a mix: a folder of data sets; default: data.",
    flag_values=_FLAGS)


def main(arguments: list[str]) -> None:
    """Checks the folder that the flags name."""
    del arguments
    spec = specs.load_spec(program.require(_DATASET, "NAME"))
    folder = pathlib.Path(_DATA_DIR.value or ("data" if spec.mix else f"data/{spec.name}"))
    if spec.mix:
        program.tell(f"{spec.name}: {spec.title}")
        found = [_check(part.spec, specs.find_folder(part.spec, folder)) for part in spec.mix]
        problems = [problem for part in found for problem in part]
    else:
        problems = _check(spec, folder)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ValueError(f"{folder}: {count}, see above")


def _check(spec: specs.DatasetSpec, folder: pathlib.Path) -> list[str]:
    """Prints what a data set needs and a line for each problem with its folder; returns these."""
    program.tell(f"{spec.name}: {spec.title}\nlicence: {spec.licence}")
    if not spec.obtain:
        program.tell("needs no files")
        return []
    program.tell(f"wanted: {spec.obtain}")
    if not folder.is_dir():
        raise ValueError(f"data_dir: no folder {folder}")
    found = sources.get(spec.source).check(folder) or _check_topologies(spec, folder)
    for problem in found:
        program.tell(f"problem: {problem}")
    if not found:
        program.tell(f"{folder}: nothing is missing or damaged")
    return found


def _check_topologies(spec: specs.DatasetSpec, folder: pathlib.Path) -> list[str]:
    """A line for each topology that is asked for and that the files, good as they are, are not of.

    The specs of this package name the topologies of their sources; those of others may err.
    """
    own = spec.name not in specs.names()
    wanted = [_TOPOLOGY.value] if _TOPOLOGY.value else spec.topologies if own else ()
    return checks.problems(wanted, lambda name: open_dataset(spec, name, folder))


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return program.run(main, _FLAGS, __doc__, arguments)
