"""Training both networks by the paper's losses and minibatch scheme."""

from deepmds_jax.training.checkpoints import load_checkpoint
from deepmds_jax.training.train import Run, train

__all__ = ["Run", "load_checkpoint", "train"]
