"""Weights as files: where they are, what a file holds, and the authors' Keras files.

The shipped weights lie in this folder. They are those of the anchored system, a file per topology,
and of the published system, whose results stand beside the paper's.
"""
