"""The contract of a method, and what methods give.

There are two kinds. A method without networks is a loader: a function from its argument and the
datasets to a `Method`. A method with networks is a module, or any object, with the attributes of
`TrainedMethod`: its options, its networks, its training stages and the layout of its weights file.
One that lifts landmarks by itself is a `LiftingMethod`. `table` lists all of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from deepmds_jax import mds
from deepmds_jax.data.datasets import Dataset
from deepmds_jax.data.views import Faces
from deepmds_jax.training.stage import FitStage
from deepmds_jax.training.trainable import TrainableMethod

MIN_LANDMARKS = 6  # visible ones that determine a pose and something of the face


class Params(Protocol):
    """Parameters that `reconstruct` takes: a pytree of arrays with a static part.

    Attributes:
      reference: (N, 3) mean shape of the training faces, head frame.
      config: the static part, a frozen dataclass; it has the name of the `topology`.
    """

    @property
    def reference(self) -> jax.Array: ...

    @property
    def config(self) -> Any: ...


class Method(NamedTuple):
    """A method, ready to run on faces.

    Attributes:
      title: for tables and pictures.
      predict: F `Faces` -> (F, N, 3) points, x right, y down, z away from the viewer, in any pose
        and unit; pure, works under `jit`.
      num_params: how many parameters were learnt, as Table 2 counts them; None is not known.
      needs_images: whether `predict` looks at `Faces.images`.
    """

    title: str
    predict: Callable[[Faces], jax.Array]
    num_params: int | None
    needs_images: bool = False


# From what follows "=" in the text of a method, the faces' dataset, and the one whose model or mean
# the method takes.
Loader = Callable[[str, Dataset, Dataset], Method]


@runtime_checkable
class TrainedMethod(TrainableMethod, Protocol):
    """A method with networks; see `TrainableMethod` for the attributes."""

    def as_method(self, params: Any, reference: Dataset) -> Method:
        """The method with these parameters, ready to run.

        Args:
          params: of the method.
          reference: the dataset whose model it takes, if it takes one.

        Raises:
          ValueError: the reference does not fit.
        """
        ...

    def load_released(self, folder: str, topology: str) -> Any:
        """Parameters from the Keras weights that the authors of Deep-MDS published.

        Raises:
          ValueError: they published none, or none for this topology, or a file is missing or
            damaged.
        """
        ...


class Reconstruction(NamedTuple):
    """What `reconstruct_detailed` returns; (...) are the leading axes of the landmarks.

    Attributes:
      points: (..., N, 3) head frame (x right, y down, z away from the viewer), frontal, centred,
        root-mean-square distance to the centroid 1.
      frontal: (..., N, 2) the first network's frontal view, x right, y down, min-max scaled.
      dissimilarities: (..., N, N) estimated 3D distances. Published system: in units of the min-max
        scaled shape; anchored system: of the root-mean-square distance to the centroid.
      stress: (...) Kruskal's stress-1 of the embedding.
      num_iters: (...) int32 SMACOF iterations.
      status: (...) int32 `mds.Status`. The anchored system also says INVALID where the landmarks
        are not those of a face seen from the front: mirrored (a selfie as the camera shows it), in
        another order, on a line, further than half a size from the mean face, or too few. Things
        seen from any side may be mirrored or far from the mean.
      std: (..., N, 3) standard deviations of `points`, same frame and unit, calibrated on faces
        like those of the training; 1, the size of the face, where the status is INVALID. None in
        the published system.
      proposal: (..., N, 3) the encoder's own estimate of the shape, frame and unit of `points`.
        None in the published system.
      rotation: (..., 3, 3) proper; turns head-frame column vectors into the camera frame, with
        account of perspective. None in the published system; `place_in_image` finds the pose of any
        shape.
      angle_std: (..., 3) standard deviations of the yaw, pitch and roll of the rotation, degrees,
        see `geometry.angles_from_rotation`; 180 where the status is INVALID. None in the published
        system.
    """

    points: jax.Array
    frontal: jax.Array
    dissimilarities: jax.Array
    stress: jax.Array
    num_iters: jax.Array
    status: jax.Array
    std: jax.Array | None = None
    proposal: jax.Array | None = None
    rotation: jax.Array | None = None
    angle_std: jax.Array | None = None

    @property
    def converged(self) -> jax.Array:
        """(...) bool: SMACOF met its tolerance."""
        return self.status == mds.Status.CONVERGED


@runtime_checkable
class LiftingMethod(TrainedMethod, Protocol):
    """A method with networks that `reconstruct` can run.

    Its Params have a field `reference`: (N, 3), the mean shape of the training faces, head frame.

    Attributes:
      TAKES_VISIBLE: whether landmarks may be missing.
      TAKES_INIT: whether the solver can start from a given shape.
    """

    @property
    def TAKES_VISIBLE(self) -> bool: ...

    @property
    def TAKES_INIT(self) -> bool: ...

    def lift(
        self, params: Any, x2d: jax.Array, visible: jax.Array | None, init: jax.Array | None
    ) -> Reconstruction:
        """Lifts landmarks; `reconstruct_detailed` has checked the arguments. Pure.

        Args:
          params: of the method.
          x2d: (..., N, 2), see `reconstruct`.
          visible: (..., N) or (N,) bool; None means all.
          init: (..., N, 3) head-frame points to start from; None means the method's own.
        """
        ...


@runtime_checkable
class AdaptableMethod(LiftingMethod, Protocol):
    """A lifting method that can learn new landmarks, see `adaptation`.

    Its Params have, beside `reference`, the field `modes`: (K, N, 3), changes of the reference that
    its training faces have, one standard deviation each.
    """

    def refine(
        self, params: Any, dataset: Dataset, key: jax.Array, fit_stage: FitStage, share: float
    ) -> Any:
        """The parameters after their networks were trained on, on other faces.

        Args:
          params: of the method.
          dataset: of the other faces; a morphable model.
          key: of the faces and their views.
          fit_stage: trains one stage.
          share: how far the networks go from where they were to where training takes them, 0 to 1.
        """
        ...
