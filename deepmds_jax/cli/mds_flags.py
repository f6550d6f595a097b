"""The flags of bin/mds, and what it is to write."""

from collections.abc import Sequence

from absl import flags

from deepmds_jax.cli import program
from deepmds_jax.cli.outputs import check_distinct, check_file
from deepmds_jax.data.formats import dissimilarity_files as files
from deepmds_jax.evaluation import figures
from deepmds_jax.mds import similarities, transforms

MAX_SEARCHED = 500

FLAGS = program.new_flags()
DIMS = flags.DEFINE_integer("dims", 2, "Dimensions of the map.", 1, flag_values=FLAGS)
TRANSFORM = flags.DEFINE_enum(
    "transform", "ordinal", list(transforms.TRANSFORMS),
    "What distances have to follow: ordinal the order of the dissimilarities, spline a smooth "
    "curve that rises with them, interval these on a scale with any zero, ratio these themselves.",
    flag_values=FLAGS)
TIES = flags.DEFINE_enum(
    "ties", "primary", list(transforms.TIES),
    "Whether equal dissimilarities may have different distances in ordinal scaling (primary) or "
    "not (secondary).", flag_values=FLAGS)
SIMILARITIES = flags.DEFINE_string(
    "similarities", None, "The table holds similarities, and how these become dissimilarities: "
    f"{', '.join(similarities.SIMILARITIES)} (docs/mds_maps.md).", flag_values=FLAGS)
MEAN = flags.DEFINE_bool(
    "mean", False, "Takes the mean of both triangles, or both directions of a pair, where they "
    "differ.", flag_values=FLAGS)
SEARCH = flags.DEFINE_bool(
    "search", None, "Tries random starts until the best map is met twice, not only the classical "
    f"start; by default up to {MAX_SEARCHED} points.", flag_values=FLAGS)
SEED = flags.DEFINE_integer("seed", 0, "Of the random starts.", 0, flag_values=FLAGS)
OUT = flags.DEFINE_string("out", None, "Coordinates, .csv or .tsv.", flag_values=FLAGS)
PICTURES = {name: flags.DEFINE_string(name, None, text, flag_values=FLAGS) for name, text in (
    ("plot", "Picture of the map, its first two dimensions."),
    ("shepard", "Picture of the Shepard diagram: distances against dissimilarities."),
    ("stress_plot", "Picture of each point's share of the stress."),
    ("scree", "Picture of stress-1 in 1, 2, ..., 6 dimensions, each the best of its starts."),
)}


def check_outputs(paths: Sequence[str]) -> dict[str, str]:
    """Flag -> file of what is to be written; ValueError for what cannot be, before the work."""
    outputs = {name: flag.value for name, flag in (*PICTURES.items(), ("out", OUT))
               if flag.value is not None}
    for flag, path in outputs.items():
        (files if flag == "out" else figures).check_format(path)
    check_distinct(list(outputs.items()), paths)
    for flag, path in outputs.items():
        check_file(flag, path)
    return outputs
