"""Trains both networks on faces from a morphable model.

  bin/train --dataset=synthetic
  bin/train --dataset=ict --data_dir=ICT-FaceKit --topology=flame51 --accelerator=gpu

The same command, given again, goes on where an interrupted run stood.
"""

import pathlib

from absl import flags

from deepmds_jax.cli import common
from deepmds_jax.data import specs
from deepmds_jax.data.datasets import open_dataset
from deepmds_jax.models import FEATURE_SIZES
from deepmds_jax.reconstruct import Config
from deepmds_jax.training import Run, train
from deepmds_jax.training.train import WEIGHTS_FILE

_DEFAULTS = Run(Config("ibug68"))
_DATASET = flags.DEFINE_string("dataset", "synthetic", f"One of {specs.names()}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Its files; default: data/DATASET.")
_TOPOLOGY = flags.DEFINE_string("topology", None, "Landmarks; default: the dataset's first.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Checkpoints, curves and weights; default: runs/DATASET_TOPOLOGY."
)
_FEATURES = flags.DEFINE_enum(
    "features", "paper", list(FEATURE_SIZES), "Pair features: eq. 6 of the paper, or its release's."
)
_SEED = flags.DEFINE_integer("seed", _DEFAULTS.seed, "Of everything that is random.", 0, 2**32 - 1)
_NUM_TRAIN = flags.DEFINE_integer("num_train", None, "Faces; default: the dataset's.", 1)
_AUTOENCODER_EPOCHS = flags.DEFINE_integer(
    "autoencoder_epochs", _DEFAULTS.autoencoder_epochs, "Passes over the faces, 16 a step.", 1
)
_DISSIMILARITY_EPOCHS = flags.DEFINE_integer(
    "dissimilarity_epochs", _DEFAULTS.dissimilarity_epochs,
    "Passes over the faces, all pairs of one face a step.", 1,
)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", _DEFAULTS.learning_rate, "Adam's.", lower_bound=0
)


def main() -> None:
    """Trains as the flags say."""
    spec = specs.load_spec(_DATASET.value)
    topology = _TOPOLOGY.value or spec.topologies[0]
    folder = pathlib.Path(_DATA_DIR.value or f"data/{spec.name}")
    workdir = pathlib.Path(_WORKDIR.value or f"runs/{spec.name}_{topology}")
    dataset = open_dataset(spec, topology, folder)
    run = Run(
        Config(topology, features=_FEATURES.value),
        seed=_SEED.value,
        num_train=_NUM_TRAIN.value or spec.num_train,
        autoencoder_epochs=_AUTOENCODER_EPOCHS.value,
        dissimilarity_epochs=_DISSIMILARITY_EPOCHS.value,
        learning_rate=_LEARNING_RATE.value,
    )
    print(f"training on {spec.title}, {topology}; curves: tensorboard --logdir={workdir}")
    train(run, dataset, workdir)
    print(f"wrote {workdir / WEIGHTS_FILE}; score it: bin/eval --weights={workdir}")


def run() -> None:
    """Console script."""
    common.run(main)
