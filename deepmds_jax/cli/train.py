"""Trains Deep-MDS, or a network that it is compared with, on faces from a dataset.

  bin/train --dataset=synthetic
  bin/train --dataset=ict --data_dir=ICT-FaceKit --topology=flame51 --accelerator=gpu
  bin/train --method=zhao --dataset=synthetic --topology=bfm72
  bin/train --method=mobileface --dataset=ict --data_dir=ICT-FaceKit --accelerator=gpu

The same command, given again, goes on where an interrupted run stood.
"""

import pathlib

from absl import flags

from deepmds_jax.cli import common
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.lifting import VARIANTS, Config
from deepmds_jax.models import FEATURE_SIZES
from deepmds_jax.training import EPOCHS, NetworkRun, Run, run_name, train, train_network
from deepmds_jax.training.stages import PAIRS
from deepmds_jax.weights import WEIGHTS_FILE
from deepmds_jax.weights.networks import METHODS

_DEFAULTS = Run(Config("ibug68"))
_METHOD = flags.DEFINE_enum(
    "method", "deep_mds", ["deep_mds", *METHODS],
    "What to train; mobileface needs a dataset with a dense model, to draw photographs of.",
)
_DATASET = flags.DEFINE_string("dataset", "synthetic", f"One of {specs.names()}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Its files; default: data/DATASET.")
_TOPOLOGY = flags.DEFINE_string("topology", None, "Landmarks; default: the dataset's first.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None,
    "Checkpoints, curves and weights; default: runs/DATASET_TOPOLOGY for deep_mds, "
    "runs/METHOD_DATASET_TOPOLOGY for the others, runs/anchored_DATASET_TOPOLOGY for that variant.",
)
_SEED = flags.DEFINE_integer("seed", _DEFAULTS.seed, "Of everything that is random.", 0, 2**32 - 1)
_NUM_TRAIN = flags.DEFINE_integer("num_train", None, "Faces; default: the dataset's.", 1)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", _DEFAULTS.learning_rate, "Adam's; RMSprop's for zhao.", lower_bound=0
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", NetworkRun("zhao", "ibug68").epochs,
    "zhao, mobileface: passes over the faces, 16 a step.", 1,
)
_VARIANT = flags.DEFINE_enum(
    "variant", None, list(VARIANTS),
    "deep_mds: as published, or anchored in what the image shows; default: the dataset's.",
)
_FEATURES = flags.DEFINE_enum(
    "features", "paper", list(FEATURE_SIZES),
    "deep_mds as published: pair features, eq. 6 of the paper, its release's, or the paper's with "
    "the identity of the landmarks.",
)
_AUTOENCODER_EPOCHS = flags.DEFINE_integer(
    "autoencoder_epochs", None,
    "deep_mds: passes over the faces in the first stage, 16 a step (anchored: 256); default: "
    f"{EPOCHS['published'][0]} (anchored: {EPOCHS['anchored'][0]}).", 1,
)
_DISSIMILARITY_EPOCHS = flags.DEFINE_integer(
    "dissimilarity_epochs", None,
    "deep_mds: passes over the faces in the second stage, all pairs of one face a step (anchored: "
    f"64 faces, both networks); default: {EPOCHS['published'][1]} "
    f"(anchored: {EPOCHS['anchored'][1]}).", 1,
)
_END_TO_END = flags.DEFINE_bool(
    "end_to_end", _DEFAULTS.end_to_end,
    "deep_mds, anchored: whether the second stage learns through stress majorization.",
)
_PAIRS = flags.DEFINE_enum(
    "pairs", _DEFAULTS.pairs, list(PAIRS),
    "deep_mds as published: a step's pairs are those of one face, or shuffled over all faces "
    "(Fig. 6).",
)
_OF_PUBLISHED, _OF_ANCHORED = (_FEATURES, _PAIRS), (_END_TO_END,)
_OF_DEEP_MDS = (
    _VARIANT, _AUTOENCODER_EPOCHS, _DISSIMILARITY_EPOCHS, *_OF_PUBLISHED, *_OF_ANCHORED
)
_OF_OTHERS = (_EPOCHS,)


def main() -> None:
    """Trains as the flags say."""
    method = _METHOD.value
    for flag in _OF_OTHERS if method == "deep_mds" else _OF_DEEP_MDS:
        if flag.present:
            raise ValueError(f"{flag.name}: no flag of --method={method}")
    spec = specs.load_spec(_DATASET.value)
    variant = _VARIANT.value or spec.variant
    for flag in _OF_ANCHORED if variant == "published" else _OF_PUBLISHED:
        if flag.present:
            raise ValueError(f"{flag.name}: no flag of --variant={variant}")
    topology = _TOPOLOGY.value or spec.topologies[0]
    folder = pathlib.Path(_DATA_DIR.value or f"data/{spec.name}")
    named = "anchored" if (method, variant) == ("deep_mds", "anchored") else method
    workdir = pathlib.Path(_WORKDIR.value or f"runs/{run_name(named, spec.name, topology)}")
    common.check_writable("workdir", workdir)
    options = {"seed": _SEED.value, "num_train": _NUM_TRAIN.value or spec.num_train,
               "learning_rate": _LEARNING_RATE.value}
    dataset = open_dataset(spec, topology, folder)
    print(f"training on {spec.title}, {topology}; curves: tensorboard --logdir={workdir}")
    if method == "deep_mds":
        run = Run(
            Config(topology, variant, features=_FEATURES.value),
            autoencoder_epochs=_AUTOENCODER_EPOCHS.value or EPOCHS[variant][0],
            dissimilarity_epochs=_DISSIMILARITY_EPOCHS.value or EPOCHS[variant][1],
            pairs=_PAIRS.value,
            end_to_end=_END_TO_END.value,
            **options,
        )
        train(run, dataset, workdir)
    else:
        train_network(NetworkRun(method, topology, epochs=_EPOCHS.value, **options), dataset,
                      workdir)
    scored = (f"--weights={workdir}" if method == "deep_mds"
              else f"--methods={method}={workdir} --topology={topology}")
    print(f"wrote {workdir / WEIGHTS_FILE}; score it: bin/eval {scored}")


def run() -> None:
    """Console script."""
    common.run(main)
