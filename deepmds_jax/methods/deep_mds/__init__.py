"""Deep-MDS as published: frontal view, pairwise distances, non-metric MDS.

`parameters` has the options and the weights, `networks` the two networks, `pipeline` the way from
landmarks to shape, `stages` the training.

Source: Kamyab & Azimifar (2022), "Deep-MDS framework for recovering the 3D shape of 2D landmarks
from a single image", arXiv:2210.15200.
"""

from deepmds_jax.methods.deep_mds.parameters import (
    Config,
    Params,
    from_tree,
    init,
    load_released,
    read_config,
    to_tree,
)
from deepmds_jax.methods.deep_mds.pipeline import (
    TITLE,
    as_method,
    dissimilarities,
    embed,
    frontalize,
    lift,
)
from deepmds_jax.methods.deep_mds.stages import (
    STAGES,
    Training,
    assemble,
    dissimilarity_epochs,
    dissimilarity_stage,
    train,
)

NAME, VARIANT = "deep_mds", "published"
TAKES_VISIBLE = TAKES_INIT = False

__all__ = [
    "NAME",
    "STAGES",
    "TAKES_INIT",
    "TAKES_VISIBLE",
    "TITLE",
    "VARIANT",
    "Config",
    "Params",
    "Training",
    "as_method",
    "assemble",
    "dissimilarities",
    "dissimilarity_epochs",
    "dissimilarity_stage",
    "embed",
    "from_tree",
    "frontalize",
    "init",
    "lift",
    "load_released",
    "read_config",
    "to_tree",
    "train",
]
