"""The anchored system: Deep-MDS whose shape is anchored in what the image shows.

In the published system the second network does not know which landmarks it looks at, and x and y,
which the image shows, are guessed like depth. Here an encoder that knows the pose proposes a shape;
a pair network that knows the landmarks estimates their distances, and how certain all of this is;
and stress majorization finds the configuration that fits the distances, the proposal and the
visible landmarks, each weighted by its certainty. docs/anchored.md shows what each part is worth.

`parameters` has the options and the weights, `encoder` and `pairs` the two networks, `pipeline` the
way from landmarks to shape, `minibatches`, `losses` and `stages` the training. The budget is the
published system's: 27,505 numbers.
"""

from deepmds_jax.methods.anchored.parameters import (
    Config,
    Params,
    from_tree,
    init,
    load_released,
    read_config,
    to_tree,
)
from deepmds_jax.methods.anchored.pipeline import TITLE, Solution, as_method, lift, solve
from deepmds_jax.methods.anchored.stages import STAGES, Training, assemble, refine, train

NAME, VARIANT = "deep_mds", "anchored"
TAKES_VISIBLE = TAKES_INIT = True

__all__ = [
    "NAME",
    "STAGES",
    "TAKES_INIT",
    "TAKES_VISIBLE",
    "TITLE",
    "VARIANT",
    "Config",
    "Params",
    "Solution",
    "Training",
    "as_method",
    "assemble",
    "from_tree",
    "init",
    "lift",
    "load_released",
    "read_config",
    "refine",
    "solve",
    "to_tree",
    "train",
]
