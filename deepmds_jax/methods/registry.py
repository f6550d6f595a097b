"""Methods by the texts that programs take: "aldrian", "zhao=runs/zhao_ict_ibug68", ..."""

from collections.abc import Callable, Sequence

from deepmds_jax.data.datasets import Dataset
from deepmds_jax.geometry.frames import FRAMES
from deepmds_jax.methods import table
from deepmds_jax.methods.arguments import require_argument
from deepmds_jax.methods.contract import Method
from deepmds_jax.methods.saved import load_weights
from deepmds_jax.weights.locate import locate


def load(text: str, dataset: Dataset, reference: Dataset | None = None) -> Method:
    """A method that is ready to run on the faces of a dataset.

    Args:
      text: a name in `table.METHODS`, and after "=" its argument:

        * `deep_mds`, or `deep_mds=` weights as `weights.locate.locate` takes them; by default those
          shipped for the topology.
        * `zhao=` and `mobileface=` weights, likewise. The authors' MobileFace, `released:FOLDER`,
          is for the Basel Face Model 2009.
        * `aldrian`, or `aldrian=` its noise, see `aldrian.fit_shape`; by default 0.001 on faces
          drawn from a model without noise, 0.01 elsewhere.
        * `aldrian_observed`, likewise: that fit with the observed x and y.
        * `mean_shape`, `posed_mean`.
        * `external=` a file or folder of predictions, and, if it is not "camera", a comma and its
          frame, see `external.external`.
        * `mediapipe=` a folder or file of its predictions, or a model file `.task` to find the
          faces in the photographs now.
      dataset: whose faces they are.
      reference: whose model or mean `aldrian`, `mobileface`, `mean_shape` and `posed_mean` take,
        the dataset's own by default; photographs have none.

    Raises:
      ValueError: no such method; what it needs is missing, damaged, of another method or topology.
      ImportError: an optional package is missing.
    """
    name, _, argument = text.partition("=")
    entry = table.METHODS.get(name)
    if entry is None:
        raise ValueError(f"methods: expected one of {list(table.METHODS)}, got {name!r}")
    reference = reference or dataset
    if reference.topology != dataset.topology:
        raise ValueError(f"reference: {reference.spec.name} is open with {reference.topology}, the "
                         f"faces have {dataset.topology}")
    try:
        if not isinstance(entry, tuple):
            return entry(argument, dataset, reference)
        return _load_trained(name, argument, dataset, reference)
    except OSError as error:
        raise ValueError(f"{text}: {error}") from error


def load_each(
    texts: Sequence[str], load: Callable[[str], Method]
) -> tuple[dict[str, Method], list[str]]:
    """Methods by their text, and a line for each that is left out because it cannot be loaded.

    A title that another method has already is followed by what the text says after "=".

    Args:
      texts: as `load` takes them; repetitions are ignored.
      load: gives the method of a text.

    Raises:
      ValueError: none can be loaded.
    """
    methods, left_out = {}, []
    for text in dict.fromkeys(texts):
        name, _, argument = text.partition("=")
        try:
            method = load(text)
        except (ValueError, ImportError) as error:
            left_out.append(f"{name}: {error}")
            continue
        if method.title in [other.title for other in methods.values()]:
            method = method._replace(title=f"{method.title} ({argument or name})")
        methods[text] = method
    if not methods:
        raise ValueError("no method can be run: " + ("; ".join(left_out) or "none was asked for"))
    return methods, left_out


def join_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts of methods that were split at commas: "external=FILE,mesh" is one."""
    joined: list[str] = []
    for text in texts:
        if text in FRAMES and joined:
            joined[-1] += f",{text}"
        else:
            joined.append(text)
    return tuple(joined)


def _load_trained(name: str, argument: str, dataset: Dataset, reference: Dataset) -> Method:
    if name == table.DEFAULT:  # its weights are shipped
        argument = argument or dataset.topology
    require_argument(name, argument, "a weights file, the folder of a training run, or "
                                     "released:FOLDER")
    params, _ = load_weights(
        argument, method=name,
        topology=dataset.topology if locate(argument).kind == "released" else None)
    topology = params.config.topology
    if topology != dataset.topology:
        raise ValueError(f"{name}={argument}: for topology {topology}, the faces have "
                         f"{dataset.topology}")
    return table.method_of(params).as_method(params, reference)
