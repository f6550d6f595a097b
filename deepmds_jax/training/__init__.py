"""Training: stages, the loop over their steps, checkpoints. Names no network.

`trainable` says what a method must have to be trained.
"""
