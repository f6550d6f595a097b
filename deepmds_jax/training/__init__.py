"""Training: Deep-MDS by the paper's losses and minibatches, and the networks compared with it."""

from deepmds_jax.training.checkpoints import load_checkpoint
from deepmds_jax.training.train import (
    EPOCHS,
    NetworkRun,
    Run,
    dissimilarity_curve,
    run_name,
    train,
    train_network,
)

__all__ = [
    "EPOCHS",
    "NetworkRun",
    "Run",
    "dissimilarity_curve",
    "load_checkpoint",
    "run_name",
    "train",
    "train_network",
]
