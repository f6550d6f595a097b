"""Damaged files and bad inputs: no crash, no hang, no silent wrong answer, no neighbour touched.

  python benchmarks/fuzz.py                                   # 10,000 files, 100,000 inputs
  python benchmarks/fuzz.py --case="landmarks .csv, x y:17"   # one of them again

Files of every format are damaged (fuzz_files.py, fuzz_seeds.py), batches of inputs get bad rows
(fuzz_inputs.py), and processes that are watched read and solve them: one that dies, or does not
answer in time, counts as a failure and is started again. The same --seed draws the same cases.
Writes fuzz.json, with the failing cases, and fuzz.md.
"""

import collections
import concurrent.futures
import importlib
import json
import multiprocessing
import os
import pathlib
import resource
import tempfile
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tqdm
from absl import app, flags, logging

HERE = pathlib.Path(__file__).parent
START_SECONDS = 300  # to import all and write the valid files
MEMORY = 2**33  # bytes that a process may take, so that it ends before the machine does

_OUT = flags.DEFINE_string("results", str(HERE / "results"), "Folder for the results.")
_SEED = flags.DEFINE_integer("seed", 0, "Draws the cases.")
_NUM_FILES = flags.DEFINE_integer("num_files", 10_000, "Damaged files.", 0)
_NUM_INPUTS = flags.DEFINE_integer("num_inputs", 100_000, "Rows of batches.", 0)
_QUICK = flags.DEFINE_bool("few", False, "Few of both, to see that it runs.")
_CASE = flags.DEFINE_string("case", None, "KIND:NUMBER, this one alone, in this process.")


class Case(NamedTuple):
    """A damaged file, or a batch.

    Attributes:
      module: that tries it, fuzz_files or fuzz_inputs.
      kind: one of its kinds.
      number: with the kind and the seed it decides what is done.
    """

    module: str
    kind: str
    number: int


def try_case(case: Case, seed: int, **options) -> tuple[int, int, str]:
    """How many it read or solved, how many it refused, and what else happened."""
    rng = np.random.default_rng([seed, zlib.crc32(case.kind.encode()), case.number])
    return importlib.import_module(case.module).try_case(case.kind, case.number, rng, **options)


def _serve(connection, module, seed):
    """What a watched process does: answers cases."""
    logging.set_verbosity(logging.FATAL)  # readers say there what they leave out
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    importlib.import_module(module)
    connection.send("ready")
    while (case := connection.recv()) is not None:
        try:
            answer = try_case(case, seed)
        except Exception as error:  # it is counted, and the others go on
            answer = 0, 0, f"{type(error).__name__}: {error}"
        connection.send(answer)


class Watched:
    """A process that tries cases of a module."""

    def __init__(self, module: str, seed: int):
        self._arguments = module, seed
        self._limit = importlib.import_module(module).MAX_SECONDS
        self._process = None

    def try_case(self, case: Case) -> tuple[int, int, str]:
        """As `try_case`; a crash and a hang are told, too."""
        if self._process is None:
            self._start()
        try:
            self._connection.send(case)
            if self._connection.poll(self._limit):
                return self._connection.recv()
            return self._give_up(f"hang: no answer in {self._limit} s")
        except (EOFError, OSError):
            self._process.join()
            return self._give_up(f"crash: exit code {self._process.exitcode}")

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = None

    def _start(self):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, *self._arguments), daemon=False)
        self._process.start()
        theirs.close()
        if not self._connection.poll(START_SECONDS) or self._connection.recv() != "ready":
            raise RuntimeError("a process does not start")

    def _give_up(self, reason):
        self.stop()
        return 0, 0, reason


def plan(module: str, count: int, kinds: Sequence[str] | None = None) -> list[Case]:
    """So many cases, of each kind as many."""
    kinds = kinds or list(importlib.import_module(module).kinds())
    return [Case(module, kinds[i % len(kinds)], i // len(kinds)) for i in range(count)]


def run(cases: Sequence[Case], seed: int, num_processes: int) -> tuple[list[dict], list[dict]]:
    """Rows of the table, and the cases that failed."""
    if not cases:
        return [], []

    def work(some: Sequence[Case]) -> list[tuple[Case, tuple[int, int, str]]]:
        watched, answers = Watched(some[0].module, seed), []
        try:
            for case in some:
                answers.append((case, watched.try_case(case)))
                bar.update()
        finally:
            watched.stop()
        return answers

    parts = [part for i in range(num_processes) if (part := cases[i::num_processes])]
    with (tqdm.tqdm(total=len(cases), desc=cases[0].module) as bar,
          concurrent.futures.ThreadPoolExecutor(len(parts)) as pool):
        answers = [answer for some in pool.map(work, parts) for answer in some]
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    failed = []
    for case, (accepted, refused, wrong) in answers:
        counts[case.kind].update(tried=accepted + refused + bool(wrong), accepted=accepted,
                                 refused=refused, wrong=int(bool(wrong)))
        if wrong:
            failed.append({"case": f"{case.kind}:{case.number}", "what": wrong[:300]})
    rows = [{"kind": kind, **count} for kind, count in counts.items()]
    return rows, sorted(failed, key=lambda case: case["case"])


NOTES = """\
Each reader must give arrays of the right shape, finite or NaN, or a ValueError of one line that
names the file; no warning, no other error, no crash, within {seconds} s. Where one number of a text
became a word, the value in its place must not be known. A checkpoint has checksums: what is read
must be what was written. A .safetensors file has none: its header, names, shapes, types and that
all is finite are checked, so a bit that turns a weight into another finite number is not noticed.

Of inputs, each batch of {batch} is solved inside jit without and with bad rows, by one program.
Good rows must have the same bits in both; NaN must come with a status that says so; what is solved
must be finite, and stress, axes, places and fits must agree with NumPy, SciPy or LAPACK in float64.
What ended at the limit of steps, and says so, is checked like the rest and counts as solved.
A failure of a batch counts once, and its other rows are not counted then.
"""


def write(folder: pathlib.Path, seed: int, rows: dict[str, list[dict]], failed: list[dict]) -> None:
    """The JSON file and the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"seed": seed, **rows, "failed": failed}, indent=1)
    (folder / "fuzz.json").write_text(text + "\n")
    batch = importlib.import_module("fuzz_inputs").BATCH
    lines = ["# Fuzz", "", f"`python benchmarks/fuzz.py --seed={seed}`", "",
             NOTES.format(seconds=importlib.import_module("fuzz_files").MAX_SECONDS, batch=batch)]
    for title, some in rows.items():
        keys = ("tried", "accepted", "refused", "wrong")
        total = {"kind": "all", **{key: sum(row[key] for row in some) for key in keys}}
        lines += [f"| {title} | tried | {'read' if title == 'files' else 'solved'} | "
                  "refused, and told | anything else |", "|---|---:|---:|---:|---:|"]
        lines += [f"| {row['kind']} | " + " | ".join(f"{row[key]:,}" for key in keys) + " |"
                  for row in [*some, total]]
        lines.append("")
    if failed:
        lines += ["Failures; `--case` repeats one:", ""]
        lines += [f"- `{case['case']}`: {' '.join(case['what'].split())}" for case in failed]
    (folder / "fuzz.md").write_text("\n".join(lines).rstrip() + "\n")


def main(_):
    if _CASE.value:
        kind, _, number = _CASE.value.rpartition(":")
        is_file = kind in importlib.import_module("fuzz_seeds").kinds()
        options = {"keep": pathlib.Path(tempfile.mkdtemp())} if is_file else {}
        case = Case("fuzz_files" if is_file else "fuzz_inputs", kind, int(number))
        print(try_case(case, _SEED.value, **options), *options.values())
        return
    batch = importlib.import_module("fuzz_inputs").BATCH
    num_files, num_inputs = (100, 9 * batch) if _QUICK.value else (
        _NUM_FILES.value, _NUM_INPUTS.value)
    num_processes = min(2, os.cpu_count() or 1)
    files, failed = run(plan("fuzz_files", num_files), _SEED.value, num_processes)
    # XLA uses all cores in one process.
    inputs, more = run(plan("fuzz_inputs", -(-num_inputs // batch)), _SEED.value, 1)
    write(pathlib.Path(_OUT.value), _SEED.value, {"files": files, "inputs": inputs}, failed + more)
    print(f"{len(failed) + len(more)} failures; see {_OUT.value}/fuzz.md")


if __name__ == "__main__":
    app.run(main)
