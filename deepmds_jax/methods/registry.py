"""Methods by the names that programs take: "aldrian", "zhao=runs/zhao_ict_ibug68", ..."""

import pathlib
from collections.abc import Callable, Sequence

from deepmds_jax import topologies, weights
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.morphable_model import MorphableModel
from deepmds_jax.data.recorded import Recordings
from deepmds_jax.methods.aldrian import aldrian
from deepmds_jax.methods.baselines import mean_shape, posed_mean
from deepmds_jax.methods.deep_mds import deep_mds
from deepmds_jax.methods.external import external
from deepmds_jax.methods.mediapipe import mediapipe, mediapipe_live
from deepmds_jax.methods.method import Method
from deepmds_jax.methods.mobileface import mobileface
from deepmds_jax.methods.observed import observed
from deepmds_jax.methods.zhao import zhao
from deepmds_jax.weights import keras as released
from deepmds_jax.weights.networks import load_network

_RELEASED = "released:"
# What `aldrian` takes for its noise: nothing but the camera is wrong for faces that a model made;
# elsewhere landmarks are, and the face is not in the model.
_NOISE_OF_MODEL, _NOISE_ELSEWHERE = 1e-3, 1e-2


def load(text: str, dataset: Dataset, reference: Dataset | None = None) -> Method:
    """A method that is ready to run on the faces of a dataset.

    Args:
      text: a name of `NAMES`, and after "=" what it needs:

        * `deep_mds`, or `deep_mds=` a topology with shipped weights, a weights file, or the folder
          of a training run; `deep_mds=released:FOLDER` for the authors' Keras weights.
        * `zhao=` and `mobileface=` a weights file or the folder of a training run, or
          `released:FOLDER`, of which MobileFace's is for the Basel Face Model 2009.
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
    if name not in METHODS:
        raise ValueError(f"methods: expected one of {list(NAMES)}, got {name!r}")
    reference = reference or dataset
    if reference.topology != dataset.topology:
        raise ValueError(f"reference: {reference.spec.name} is open with {reference.topology}, the "
                         f"faces have {dataset.topology}")
    try:
        return METHODS[name](argument, dataset, reference)
    except OSError as error:
        raise ValueError(f"{text}: {error}") from error


def load_each(
    texts: Sequence[str], load: Callable[[str], Method]
) -> tuple[dict[str, Method], list[str]]:
    """Methods by their text, and a line for each that cannot be loaded: it is left out.

    A title that another method has already gets what the text says after "=" behind it.

    Args:
      texts: as `load` takes them; the same one again is not looked at.
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


def _load_deep_mds(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    del reference
    argument = argument or dataset.topology
    path = pathlib.Path(argument)
    if argument.startswith(_RELEASED):
        params = released.load_released(argument.removeprefix(_RELEASED), dataset.topology)
    elif argument in (*topologies.TOPOLOGIES, *weights.pretrained_names()):
        params = weights.load_pretrained(argument)
    else:
        params = weights.load_params(path / weights.WEIGHTS_FILE if path.is_dir() else path)
    _check_topology(f"deep_mds={argument}", params.config.topology, dataset)
    return deep_mds(params)


def _load_zhao(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    del reference
    if argument.startswith(_RELEASED):
        folder = argument.removeprefix(_RELEASED)
        return zhao(released.load_released_zhao(folder, dataset.topology), y_up=True)
    return zhao(_load_network("zhao", argument, dataset))


def _load_mobileface(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    if argument.startswith(_RELEASED):
        variables = released.load_released_mobileface(argument.removeprefix(_RELEASED))
        if reference.spec.source != "bfm":
            raise ValueError("mobileface: the released network gives coefficients of the Basel "
                             f"Face Model 2009, not of {reference.spec.name}")
    else:
        variables = _load_network("mobileface", argument, dataset)
    return mobileface(variables, _model("mobileface", reference))


def _load_aldrian(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    exact = isinstance(dataset.source, MorphableModel) and not dataset.spec.noise
    noise = _NOISE_OF_MODEL if exact and reference is dataset else _NOISE_ELSEWHERE
    if argument:
        try:
            noise = float(argument)
        except ValueError as error:
            raise ValueError(f"aldrian: noise: expected a number, got {argument!r}") from error
        if not noise > 0:
            raise ValueError(f"aldrian: noise: expected a number above 0, got {argument}")
    return aldrian(_model("aldrian", reference), noise, expression=reference.spec.expression)


def _load_aldrian_observed(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    return observed(_load_aldrian(argument, dataset, reference))


def _load_mean_shape(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    del dataset
    _check_none("mean_shape", argument)
    return mean_shape(reference.mean)


def _load_posed_mean(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    del dataset
    _check_none("posed_mean", argument)
    return posed_mean(reference.mean)


def _load_external(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    del reference
    path, _, frame = argument.partition(",")
    _check_some("external", path, "a file or folder of predictions")
    names = _names("external", dataset)
    return external(path, names, dataset.topology, frame or "camera")


def _load_mediapipe(argument: str, dataset: Dataset, reference: Dataset) -> Method:
    del reference
    _check_some("mediapipe", argument, "its predictions, or its model file .task")
    if dataset.topology != "flame51":
        raise ValueError(f"mediapipe: its mesh has the landmarks of flame51, not of "
                         f"{dataset.topology}")
    names = _names("mediapipe", dataset)
    if not argument.endswith(".task"):
        return mediapipe(argument, names)
    if not isinstance(dataset.source, Recordings):
        raise ValueError(f"mediapipe: the dataset {dataset.spec.name} has no photographs")
    return mediapipe_live(argument, dataset.source.images, names)


METHODS = {
    "deep_mds": _load_deep_mds,
    "zhao": _load_zhao,
    "aldrian": _load_aldrian,
    "aldrian_observed": _load_aldrian_observed,
    "mobileface": _load_mobileface,
    "mean_shape": _load_mean_shape,
    "posed_mean": _load_posed_mean,
    "mediapipe": _load_mediapipe,
    "external": _load_external,
}
NAMES = tuple(METHODS)


def _load_network(method: str, argument: str, dataset: Dataset) -> dict:
    _check_some(method, argument, "a weights file, the folder of a training run, or "
                                  "released:FOLDER")
    found, topology, variables, _ = load_network(argument)
    if found != method:
        raise ValueError(f"{method}={argument}: the network of method {found}")
    _check_topology(f"{method}={argument}", topology, dataset)
    return variables


def _model(method: str, reference: Dataset) -> MorphableModel:
    if not isinstance(reference.source, MorphableModel):
        raise ValueError(f"{method}: the dataset {reference.spec.name} is no morphable model; "
                         "it needs one")
    return reference.source


def _names(method: str, dataset: Dataset) -> list[str]:
    if isinstance(dataset.source, MorphableModel):
        raise ValueError(f"{method}: predictions from elsewhere are for recorded faces, and those "
                         f"of {dataset.spec.name} are drawn from a model")
    return list(dataset.source.names)


def _check_topology(text: str, topology: str, dataset: Dataset) -> None:
    if topology != dataset.topology:
        raise ValueError(f"{text}: for topology {topology}, the faces have {dataset.topology}")


def _check_some(method: str, argument: str, what: str) -> None:
    if not argument:
        raise ValueError(f"{method}: expected {method}=PATH of {what}")


def _check_none(method: str, argument: str) -> None:
    if argument:
        raise ValueError(f"{method}: takes nothing after the name, got {argument!r}")
