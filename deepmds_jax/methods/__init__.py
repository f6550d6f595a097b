"""The methods: each is a file or a folder that holds all that is its own; `table` lists them.

`contract` says what a method is, `registry` loads one by the text that programs take, and `saved`
reads and writes the weights of those that are trained.
"""

from deepmds_jax.methods.contract import LiftingMethod, Method, Reconstruction, TrainedMethod

__all__ = ["LiftingMethod", "Method", "Reconstruction", "TrainedMethod"]
