"""The limits that the paper states (section 4.6), measured: many landmarks, and mixed shapes.

  python benchmarks/limits.py --data_root=data

Times of each component of the published system for 51 to 2,000 landmarks, with the exponent that
fits them beside the paper's O(n^3); and the error of one network trained on two kinds of shapes,
beside that of networks trained on each. `data_root` has ICT-FaceKit as `ict/` and MakeHuman's heads
as `makehuman/`. Some ten minutes on two cores. Writes results/limits.{json,md,png}.
"""

import dataclasses
import json
import os
import pathlib
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads wait for each other on a busy machine

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from deepmds_jax import mds
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import Dataset, open_dataset
from deepmds_jax.data.recorded import ShapeSet
from deepmds_jax.evaluation import tables
from deepmds_jax.evaluation.figures import save_figure
from deepmds_jax.evaluation.hardware import describe_hardware
from deepmds_jax.evaluation.protocol import evaluate
from deepmds_jax.extras import require
from deepmds_jax.geometry import min_max, standardize
from deepmds_jax.methods import deep_mds
from deepmds_jax.methods.baselines import mean_shape, posed_mean
from deepmds_jax.methods.deep_mds.networks import (
    Autoencoder,
    DissimilarityNetwork,
    pair_features,
)
from deepmds_jax.training.loop import fit
from deepmds_jax.training.trainable import Run

RESULTS = pathlib.Path(__file__).parent / "results"
NUMBERS = (51, 68, 468, 1000, 2000)
FITTED_FROM = 468  # landmarks; below it fixed costs count
REPEATS, SECONDS = 3, 0.5  # at least as many runs, and as many as last so long
ITERATIONS = 20  # of SMACOF, that the time of one is taken from
NOISE = 0.05  # of the distances, about what the second network leaves
TOPOLOGY = "flame51"
NUM_TRAIN, NUM_TEST = 4000, 500  # shapes of each kind
# Of a network that is trained on two kinds; one of a single kind has twice the passes, and so as
# many steps.
TRAINING = deep_mds.Training(autoencoder_epochs=40, dissimilarity_epochs=3)

_PARTS = flags.DEFINE_list(
    "parts", ["times", "mixing"], "What to measure; the rest is taken from the last results.")
_DATA_ROOT = flags.DEFINE_string("data_root", "data", "Holds ict/ and makehuman/.")


def main(_):
    file = RESULTS / "limits.json"
    last = json.loads(file.read_text()) if file.exists() else {}
    found = times() if "times" in _PARTS.value else last["times"]
    mixed = mixing() if "mixing" in _PARTS.value else last["mixing"]
    write(found, mixed)


def times():
    """Rows: landmarks, component, seconds."""
    ict = np.load(pathlib.Path(_DATA_ROOT.value) / "ict" / "ict_face_dense.npz")
    mean = ict["mean"][ict["mean"][:, 2] > np.quantile(ict["mean"][:, 2], 0.3)] * [1, -1, -1]
    rng = np.random.default_rng(0)
    rows = []
    for num in NUMBERS:
        points = jnp.asarray(rng.permutation(mean)[:num], jnp.float32)
        frontal = min_max(points[None, :, :2])
        autoencoder, network = Autoencoder(num), DissimilarityNetwork()
        first = autoencoder.init(jax.random.key(0), frontal)
        second = network.init(jax.random.key(1), pair_features(frontal[:, :2]))
        factors = rng.lognormal(sigma=NOISE, size=(num, num)).astype(np.float32)
        noisy = mds.distances(min_max(points)) * jnp.sqrt(factors * factors.T)

        def embed(distances, max_iters=ITERATIONS, tolerance=0.0):
            return mds.smacof(distances, num_dims=3, transform="ordinal", max_iters=max_iters,
                              tolerance=tolerance)

        seconds = {
            "autoencoder": measure(autoencoder.apply, first, frontal),
            "dissimilarity network": measure(
                lambda v, x, net=network: net.apply(v, pair_features(x)), second, frontal),
            "classical scaling": measure(lambda d: mds.classical(d, num_dims=3), noisy),
            "a SMACOF iteration, ordinal": measure(lambda d: embed(d).embedding, noisy)
            / ITERATIONS,
            "all eigenvectors (LAPACK)": measure_host(np.linalg.eigh, np.asarray(noisy, float)),
        }
        done = embed(noisy, 300, 3e-4)
        for component, value in seconds.items():
            rows.append({"landmarks": num, "component": component, "seconds": value})
        rows.append({"landmarks": num, "component": "all of SMACOF, ordinal",
                     "seconds": seconds["a SMACOF iteration, ordinal"] * int(done.num_iters),
                     "iterations": int(done.num_iters)})
        print(tables.to_text([{k: v for k, v in r.items() if k != "iterations"}
                              for r in rows[-6:]]), flush=True)
    return rows


def measure(function, *arguments):
    """Least seconds of a compiled function."""
    run = jax.jit(function)
    return measure_host(lambda *a: jax.block_until_ready(run(*a)), *arguments)


def measure_host(function, *arguments):
    """Least seconds of a function that has run once."""
    function(*arguments)
    times: list[float] = []
    while len(times) < REPEATS or sum(times) < SECONDS:
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def exponents(rows):
    """By component, the power of the number of landmarks that the times grow with."""
    found = {}
    for component in dict.fromkeys(row["component"] for row in rows):
        pairs = [(row["landmarks"], row["seconds"]) for row in rows
                 if row["component"] == component and row["landmarks"] >= FITTED_FROM]
        x, y = np.log(np.array(pairs)).T
        found[component] = float(np.polyfit(x, y, 1)[0])
    return found


def mixing():
    """Rows: kind of test shapes, what the networks were trained on, errors."""
    kinds = {"ICT faces": faces_of("ict_expression", "ict"),
             "MakeHuman faces": faces_of("makehuman", "makehuman"),
             "vases": vases(NUM_TRAIN + NUM_TEST)}
    spec = dataclasses.replace(specs.load_spec("bfm"), topologies=(TOPOLOGY,))
    rows = []
    for trained in (["ICT faces"], ["MakeHuman faces"], ["vases"],
                    ["ICT faces", "MakeHuman faces"], ["ICT faces", "vases"]):
        dataset = as_dataset(spec, [kinds[kind] for kind in trained])
        factor = 2 // len(trained)
        training = dataclasses.replace(
            TRAINING, autoencoder_epochs=factor * TRAINING.autoencoder_epochs,
            dissimilarity_epochs=factor * TRAINING.dissimilarity_epochs)
        run = Run(deep_mds.Config(TOPOLOGY), training, 0, NUM_TRAIN * len(trained))
        start = time.perf_counter()
        params = deep_mds.train(run, dataset, fit_stage)
        print(trained, f"{time.perf_counter() - start:.0f} s", flush=True)
        for kind in trained:
            own = as_dataset(spec, [kinds[kind]])
            faces = own.draw(jax.random.key(7), NUM_TEST, test=True)
            method = deep_mds.as_method(params)
            found = evaluate([method, mean_shape(own.mean), posed_mean(own.mean)], faces, TOPOLOGY)
            rows.append({
                "tested on": kind, "trained on": " and ".join(trained),
                **{f"MSE x 1e-4, {title}": 1e4 * float(metrics.mse.mean())
                   for title, metrics in found.items()}})
            print(rows[-1], flush=True)
    return sorted(rows, key=lambda row: list(kinds).index(row["tested on"]))


def fit_stage(stage, variables, *, key, num_epochs, beside=None):
    del beside  # nothing is kept
    return fit(stage, variables, key=key, num_epochs=num_epochs, devices=jax.local_devices()[:1],
               progress=False)


def faces_of(name, folder):
    """(S, 51, 3) faces of a model with expressions, size 1."""
    dataset = open_dataset(specs.load_spec(name), TOPOLOGY,
                           pathlib.Path(_DATA_ROOT.value) / folder)
    points = dataset.draw(jax.random.key(3), NUM_TRAIN + NUM_TEST).points
    return np.asarray(standardize(points))


def vases(num):
    """(num, 51, 3) solids of revolution of random profiles: 17 heights, three points around."""
    rng = np.random.default_rng(0)
    height = np.repeat(np.linspace(-1, 1, 17), 3)
    around = np.tile(np.deg2rad([-60, 0, 60]), 17)
    waves = rng.normal(size=(num, 3)) * [0.12, 0.1, 0.06]
    profile = 0.6 + sum(w[:, None] * np.cos(k * np.pi * height + k)
                        for k, w in enumerate(waves.T, 1))
    stretch = rng.uniform(0.8, 1.25, (num, 1))
    points = np.stack([profile * np.sin(around), stretch * height, -profile * np.cos(around)], -1)
    return np.asarray(standardize(jnp.asarray(points, jnp.float32)))


def as_dataset(spec, sets):
    """Shapes of several kinds in equal parts, the last of each to test on."""
    points = np.concatenate(sets)
    is_test = np.tile(np.arange(NUM_TRAIN + NUM_TEST) >= NUM_TRAIN, len(sets))
    source = ShapeSet(jnp.asarray(points), is_test, [str(i) for i in range(len(points))], TOPOLOGY,
                      "sizes")
    return Dataset(spec, source, pathlib.Path())


def write(rows, mixed):
    """Writes numbers, tables and the figure of the times."""
    hardware, power = describe_hardware(), exponents(rows)
    (RESULTS / "limits.json").write_text(json.dumps(
        {"hardware": hardware, "times": rows, "exponents": power, "mixing": mixed},
        indent=1) + "\n")
    by_component = [
        {"component": component, **{
            f"{num:,}": next(1e3 * row["seconds"] for row in rows
                             if (row["landmarks"], row["component"]) == (num, component))
            for num in NUMBERS}, "exponent": round(power[component], 2)}
        for component in power]
    iterations = {row["landmarks"]: row["iterations"] for row in rows if "iterations" in row}
    lines = [f"{hardware['cores']} cores of {hardware['cpu']}.",
             "", "Milliseconds of one face, the least of some runs, by the number of landmarks:",
             "", tables.to_markdown(by_component),
             f"The exponent fits those from {FITTED_FROM} landmarks on. SMACOF took "
             + ", ".join(f"{n} iterations for {num:,}" for num, n in iterations.items())
             + " (300 at most).", "",
             f"Mixed shapes, {NUM_TRAIN:,} of each kind to train on and {NUM_TEST} to test on:", "",
             tables.to_markdown(mixed)]
    (RESULTS / "limits.md").write_text("\n".join(lines))
    figure = require("matplotlib.figure", "pictures").Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for component in power:
        pairs = [(r["landmarks"], r["seconds"]) for r in rows if r["component"] == component]
        axis.loglog(*zip(*pairs, strict=True), marker="o", markersize=3.5, linewidth=1.3,
                    label=f"{component}: n^{power[component]:.1f}")
    axis.set_xlabel("landmarks n")
    axis.set_ylabel("seconds of one face")
    axis.set_xticks(NUMBERS, [f"{num:,}" for num in NUMBERS], fontsize=8)
    axis.minorticks_off()
    axis.grid(True, color="#e3e6ea", linewidth=0.6)
    axis.legend(fontsize=7.5, frameon=False)
    save_figure(figure, RESULTS / "limits.png")
    print("\n".join(lines))


if __name__ == "__main__":
    app.run(main)
