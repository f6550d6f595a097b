"""How fast Parquet files of made-up faces are lifted, beside the compiled loop alone.

  python benchmarks/many_faces.py

Draws faces of `synthetic` in its views, a million by default, into parts in a temporary folder.
Each part is lifted by the function behind `bin/reconstruct FILES --out=FOLDER` (read, lifted,
written), and then by the bare loop: the same compiled program over the same landmarks in memory, in
as many threads, whose results are dropped. Both are compiled before. Tells faces/s of both, the
memory of the process after the first and the last part, the size of the files, and what 100 million
faces would take. Writes results/many_faces.json and .md.
"""

import functools
import json
import pathlib
import resource
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tqdm
from absl import app, flags

from deepmds_jax.data import specs
from deepmds_jax.data.sources import synthetic
from deepmds_jax.data.views import sample_faces
from deepmds_jax.evaluation.hardware import describe_hardware
from deepmds_jax.evaluation.tables import to_markdown
from deepmds_jax.many import reconstruct_files
from deepmds_jax.many.columns import LANDMARKS, find_columns
from deepmds_jax.many.lift import BlockLift, lift_rows
from deepmds_jax.many.rows import read_block
from deepmds_jax.many.stream import run_parts
from deepmds_jax.methods.saved import load_pretrained

RESULTS = pathlib.Path(__file__).parent / "results"
MANY = 100_000_000
_DRAWN = 5000  # faces at once
_MB = 1e6

_NUM_FACES = flags.DEFINE_integer("num_faces", 1_000_000, "Faces in all.", 1)
_NUM_PARTS = flags.DEFINE_integer("num_parts", 10, "Files.", 1)
_TOPOLOGY = flags.DEFINE_string("topology", "ibug68", "Of the landmarks and the weights.")
_PRICE = flags.DEFINE_float("price", 0.05, "Of an hour of one core, in dollars.")


def main(_):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="many_faces-"))
    try:
        report = _measure(folder)
    finally:
        shutil.rmtree(folder)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "many_faces.json").write_text(json.dumps(report, indent=1) + "\n")
    table = to_markdown([{"what": key, "value": value} for key, value in report.items()
                         if not isinstance(value, dict)])
    (RESULTS / "many_faces.md").write_text(table)
    print(table)


def _measure(folder):
    parts = _draw_parts(folder / "in")
    params = load_pretrained(_TOPOLOGY.value)
    start = time.perf_counter()
    lift = BlockLift(params)
    num_landmarks = len(params.reference)
    empty = np.zeros((lift.block_rows, num_landmarks, 2), np.float32)
    lift(empty, None)
    compile_s = time.perf_counter() - start
    bare = functools.partial(jax.jit(lift_rows).lower(params, empty, None).compile(), params)
    engine = functools.partial(run_parts, lift)
    whole_s, bare_s, memory = [], [], []
    with tqdm.tqdm(total=_NUM_FACES.value, unit="face", unit_scale=True) as bar:
        for part in parts:
            start = time.perf_counter()
            done = reconstruct_files([part], folder / "out", params, engine=engine, progress=False)
            whole_s.append(time.perf_counter() - start)
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MB)
            bare_s.append(_time_bare(bare, lift, part, num_landmarks))
            bar.update(done.num_faces)
    hardware = describe_hardware()
    faces, cores = _NUM_FACES.value, hardware["cores"]
    hours = MANY / faces * sum(whole_s) / 3600
    size = {name: sum(file.stat().st_size for file in (folder / name).iterdir())
            for name in ("in", "out")}
    return {
        "hardware": hardware,
        "faces": faces,
        "parts": len(parts),
        "faces/s, files to files": round(faces / sum(whole_s)),
        "faces/s, bare loop": round(faces / sum(bare_s)),
        "share of the bare loop": round(sum(bare_s) / sum(whole_s), 3),
        "median share over parts": round(float(np.median(np.divide(bare_s, whole_s))), 3),
        "compilation and first block (s)": round(compile_s, 1),
        "peak memory after the first part (MB)": round(memory[0]),
        "peak memory after the last part, bare loop included (MB)": round(memory[-1]),
        "bytes per face, read": round(size["in"] / faces),
        "bytes per face, written": round(size["out"] / faces),
        "100 million faces, this machine (hours)": round(hours, 1),
        "100 million faces (core hours)": round(hours * cores, 1),
        f"100 million faces, at {_PRICE.value:g} $ an hour of a core ($)":
            round(hours * cores * _PRICE.value, 2),
        "100 million faces, read (GB)": round(MANY / faces * size["in"] / 1e9),
        "100 million faces, written (GB)": round(MANY / faces * size["out"] / 1e9),
    }


def _draw_parts(folder):
    """Writes the parts; each face has its number as `id`."""
    folder.mkdir()
    model = synthetic.load(_TOPOLOGY.value)
    views = specs.load_spec("synthetic").views
    sizes = [len(numbers) for numbers in np.array_split(range(_NUM_FACES.value), _NUM_PARTS.value)]
    key, first, paths = jax.random.key(0), 0, []
    with tqdm.tqdm(total=_NUM_FACES.value, desc="drawing", unit="face", unit_scale=True) as bar:
        for number, size in enumerate(sizes):
            paths.append(folder / f"part-{number:03}.parquet")
            writer = None
            for start in range(0, size, _DRAWN):
                drawn = sample_faces(jax.random.fold_in(key, first), model, views, _DRAWN).x2d
                x2d = np.asarray(drawn)[:size - start].reshape(-1, 2 * model.mean.shape[0])
                table = pa.table({
                    "id": np.arange(first, first + len(x2d)),
                    LANDMARKS: pa.FixedSizeListArray.from_arrays(x2d.ravel(), x2d.shape[1])})
                writer = writer or pq.ParquetWriter(paths[-1], table.schema)
                writer.write_table(table)
                first += len(x2d)
                bar.update(len(x2d))
            writer.close()
    return paths


def _time_bare(bare, lift, path, num_landmarks):
    """Seconds of the compiled program alone over the landmarks of a part, in blocks."""
    table = pq.read_table(path)
    x2d = read_block(table, find_columns(table.schema), num_landmarks, True).x2d
    rows = lift.block_rows
    blocks = [x2d[start:start + rows] for start in range(0, len(x2d), rows)]
    blocks[-1] = np.pad(blocks[-1], [(0, rows - len(blocks[-1])), (0, 0), (0, 0)])
    start = time.perf_counter()
    with ThreadPoolExecutor(lift.num_threads) as pool:
        for _ in pool.map(lambda block: jax.block_until_ready(bare(block, None)), blocks):
            pass
    return time.perf_counter() - start


if __name__ == "__main__":
    app.run(main)
