"""Multidimensional scaling as a scikit-learn estimator."""

import warnings
from numbers import Integral
from typing import Any

import jax
import numpy as np
from scipy.sparse import issparse
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from deepmds_jax.mds.inputs import (
    check_kind,
    check_labels,
    check_order,
    is_negative,
    missing_pairs,
    pairs_advice,
)
from deepmds_jax.mds.majorization import smacof
from deepmds_jax.mds.placement import place
from deepmds_jax.mds.solver import Status
from deepmds_jax.mds.transforms import TIES, TRANSFORMS

_OPTIONS = {"kind": TRANSFORMS, "ties": TIES, "init": ("classical_mds", "random")}


class MDS(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """`smacof` and `place` with scikit-learn's interface.

    Unlike `sklearn.manifold.MDS`, it places new points (`transform`), offers interval scaling,
    accepts NaN for missing dissimilarities and weights, and always reports stress-1. Parameters of
    the same name mean the same. Results have the dtype of the input, but float64 input is computed
    in float32 unless `jax_enable_x64` is on.

    Args:
      n_components: dimensions of the embedding, from 1 to n_samples - 1.
      kind: how distances follow the dissimilarities, a `transform` of `smacof`. "ratio":
        proportional; "interval": linear; "ordinal": in the same order.
      ties: how ordinal scaling treats equal dissimilarities. "primary": their disparities may
        differ; "secondary": their disparities are equal.
      n_init: number of random starts, of which the best is kept; ignored for "classical_mds".
      init: start of the iteration, "classical_mds" or "random"; give an array to `fit`.
      max_iter: maximum number of iterations per start.
      tol: tolerance of `smacof`.
      random_state: int, RandomState instance or None; for init="random".
      metric: "precomputed": X is (n_samples, n_samples) dissimilarities, symmetric, with NaN for
        missing ones; negative values up to 1e-4 of the largest are rounding, and zero. Else X is
        (n_samples, n_features), and the dissimilarities are what scikit-learn's
        `pairwise_distances` makes of it by this name or function of two samples. "seuclidean" and
        "mahalanobis" take the variances of the fitted samples, for new points too.
      metric_params: keyword arguments of the metric.

    Attributes:
      embedding_: (n_samples, n_components) centred points, in the unit of the dissimilarities for
        kind="ratio", otherwise with a root mean square distance of 1.
      stress_: Kruskal's stress-1.
      n_iter_: number of iterations from the best start.
      dissimilarity_matrix_: (n_samples, n_samples).
      disparities_: (n_samples, n_samples), 0 on the diagonal and for missing pairs.
      n_features_in_: number of columns of X.
      feature_names_in_: names of the columns of X, if it had any.
    """

    def __init__(
        self,
        n_components=2,
        *,
        kind="ratio",
        ties="primary",
        n_init=1,
        init="classical_mds",
        max_iter=3000,
        tol=2e-4,
        random_state=None,
        metric="euclidean",
        metric_params=None,
    ):
        self.n_components = n_components
        self.kind = kind
        self.ties = ties
        self.n_init = n_init
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.metric = metric
        self.metric_params = metric_params

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self._is_precomputed
        tags.input_tags.positive_only = self._is_precomputed
        tags.input_tags.allow_nan = self._takes_nan
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _is_precomputed(self):
        return isinstance(self.metric, str) and self.metric == "precomputed"

    @property
    def _takes_nan(self):
        return self._is_precomputed or self.metric == "nan_euclidean"

    @property
    def _n_features_out(self):
        return self.embedding_.shape[1]

    def fit(self, X, y=None, init=None, weights=None):
        """Embeds the samples.

        Args:
          X: (n_samples, n_features), or (n_samples, n_samples) if precomputed. Masked entries are
            missing.
          y: ignored.
          init: (n_samples, n_components) configuration to start from, of any size, instead of the
            parameter `init`.
          weights: (n_samples, n_samples) weights of the pairs' squared errors, 0 for missing ones;
            or (n_samples,) weights of the samples, of which a pair has the product: a sample of
            weight 2 counts as two equal ones.

        Returns:
          The estimator.

        Raises:
          ValueError: wrong options, or dissimilarities that are not square, asymmetric, negative,
            all zero, disconnected by missing ones, or too large for the dtype.
        """
        return self._fit(X, init, weights, stacklevel=3)

    def fit_transform(  # pyright: ignore[reportIncompatibleMethodOverride] (no parameters of fit)
        self, X, y=None, init=None, weights=None
    ):
        """Embeds the samples, see `fit`, and returns `embedding_`."""
        # scikit-learn wraps this method: one caller more.
        return self._fit(X, init, weights, stacklevel=4).embedding_

    def _fit(self, X, init, weights, stacklevel):
        check_labels("weights", weights, X)
        check_labels("init", init, X)
        X = self._validate(X, reset=True, ensure_min_samples=2)
        self._check_options(len(X))
        if self._is_precomputed:
            if X.shape[0] != X.shape[1]:
                raise ValueError(f"X: expected a square matrix if precomputed, got {X.shape}")
            self.dissimilarity_matrix_ = X
        else:
            self._fit_X = X
            self._metric_params = _with_derived(self.metric, self.metric_params or {}, X)
            self.dissimilarity_matrix_ = self._dissimilarities(X)
        start: dict[str, Any] = {}
        if init is not None:
            start = {"init": init}
        elif self.init == "random":
            seed = check_random_state(self.random_state).randint(2**31 - 1)
            start = {"key": jax.random.key(seed), "num_starts": self.n_init}
        self._weights = None if weights is None else _pair_weights(weights, len(X)).astype(X.dtype)
        result = smacof(
            self.dissimilarity_matrix_,
            self.n_components,
            transform=self.kind,
            ties=self.ties,
            weights=self._weights,
            max_iters=self.max_iter,
            tolerance=self.tol,
            **start,
        )
        if result.status == Status.NON_FINITE:
            largest = np.nanmax(self.dissimilarity_matrix_)
            raise ValueError(
                f"X: expected dissimilarities in the range of {result.embedding.dtype}, "
                f"got up to {largest:g}"
            )
        if result.status == Status.STEP_LIMIT:
            warnings.warn(
                f"max_iter={self.max_iter} reached before the tolerance tol={self.tol:g}",
                ConvergenceWarning,
                stacklevel=stacklevel,
            )
        self.embedding_ = np.array(result.embedding, X.dtype)
        self.disparities_ = np.array(result.disparities, X.dtype)
        self.stress_ = float(result.stress)
        self.n_iter_ = int(result.num_iters)
        return self

    def transform(self, X):
        """Places new points among the fitted ones, which do not move, see `place`.

        The disparities of a new point follow from its dissimilarities by the fitted line (ratio,
        interval) or the fitted Shepard diagram (ordinal), which is interpolated, and continued
        proportionally beyond the fitted dissimilarities. A point whose dissimilarity to a fitted
        one is 0 is placed on it, so the samples of the fit get their places in `embedding_`.

        Args:
          X: (m, n_features), or if precomputed (m, n_samples) dissimilarities to the samples of the
            fit, with NaN for missing ones.

        Returns:
          (m, n_components).

        Raises:
          ValueError: wrong shape, negative dissimilarities, or a point without any.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        dissimilarities = self._dissimilarities(X)
        unknown = np.isnan(dissimilarities).all(axis=1)
        if unknown.any():
            raise ValueError(f"X: expected some dissimilarity in each row, got none in row "
                             f"{np.argmax(unknown)}")
        embedding = self.embedding_
        # Only a dissimilarity of 0 may have disparity 0, which places the point on a fitted one.
        minimum = 1e-6 * np.ptp(embedding)
        disparities = np.maximum(self._disparities(dissimilarities), minimum)
        disparities = np.where(dissimilarities == 0, 0, disparities)
        return np.array(place(embedding, disparities), X.dtype)

    def _validate(self, X: Any, **options) -> np.ndarray:
        finite = "allow-nan" if self._takes_nan else True
        if np.ma.is_masked(X):
            if not self._takes_nan:
                raise ValueError(f"X: expected an array without a mask for metric={self.metric!r}, "
                                 f"got a masked one")
            X = np.ma.filled(np.ma.asarray(X, float), np.nan)
        if self._is_precomputed:
            _check_pairs(X, is_square=options["reset"])
        dtype = [np.float64, np.float32]
        # An array already; the declared result of `validate_data` includes cases with y.
        given: Any = X
        X = np.asarray(
            validate_data(self, given, dtype=dtype, ensure_all_finite=finite, **options)
        )
        if not self._is_precomputed:
            return X
        if np.any(is_negative(X)):
            # scikit-learn's checks look for the words in parentheses.
            raise ValueError(
                f"X: expected none < 0, got {np.nanmin(X):g} (Negative values in data)"
            )
        return np.where(X < 0, 0, X)  # rounding, as in 1 - cosine_similarity

    def _check_options(self, num_samples):
        for name, values in _OPTIONS.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in values:
                shown = (f"shape {value.shape}: give it to fit"
                         if isinstance(value, np.ndarray) else repr(value))
                raise ValueError(f"{name}: expected one of {list(values)}, got {shown}")
        if not isinstance(self.metric, str) and not callable(self.metric):
            raise ValueError(f"metric: expected a name or a function, got {self.metric!r}")
        for name, minimum in (("n_components", 1), ("n_init", 1), ("max_iter", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < minimum:
                raise ValueError(f"{name}: expected an integer >= {minimum}, got {value!r}")
        if self.n_components >= num_samples:
            raise ValueError(
                f"n_components: expected less than n_samples = {num_samples}, "
                f"got {self.n_components}"
            )

    def _dissimilarities(self, X):
        """(m, n_samples) between new samples and those of the fit."""
        if self._is_precomputed:
            return X
        if self.metric == "euclidean" and not self._metric_params:
            # Not scikit-learn's, which loses close points by subtracting squares.
            return cdist(X, self._fit_X).astype(X.dtype)
        # Samples of the fit among themselves: once each pair, and exactly 0 on the diagonal.
        others = None if X is self._fit_X else self._fit_X
        found = pairwise_distances(X, others, metric=self.metric, **self._metric_params)
        unknown = np.argwhere(np.isnan(found))
        if len(unknown) and not self._takes_nan:
            raise ValueError(f"X: expected samples that metric={self.metric!r} has distances for, "
                             f"got NaN for samples {unknown[0][0]} and {unknown[0][1]}")
        return found.astype(X.dtype)

    def _disparities(self, dissimilarities):
        """(m, n_samples) fitted transform of other dissimilarities, in the unit of the embedding.

        At the minimum of stress-1 the disparities are too small for the configuration, by a factor
        1 - stress^2. Without that factor, each fitted point is where its disparities place it.
        """
        observed = np.triu(~missing_pairs(self.dissimilarity_matrix_), 1)
        weights = np.ones(observed.shape) if self._weights is None else self._weights
        observed &= weights > 0
        weights = weights[observed]
        knots, ties = np.unique(self.dissimilarity_matrix_[observed], return_inverse=True)
        disparities = self.disparities_[observed] / (1 - self.stress_**2)
        disparities = np.bincount(ties, weights * disparities) / np.bincount(ties, weights)
        if self.kind == "interval" and len(knots) > 1:
            slope = (disparities[-1] - disparities[0]) / (knots[-1] - knots[0])
            return disparities[0] + slope * (dissimilarities - knots[0])
        beyond = dissimilarities > knots[-1]
        inside = np.interp(dissimilarities, np.r_[0, knots], np.r_[0, disparities])
        return np.where(beyond, disparities[-1] * dissimilarities / knots[-1], inside)


def _check_pairs(X, is_square):
    """ValueError for precomputed dissimilarities that would be taken for something else."""
    if issparse(X):
        raise ValueError("X: expected a dense array if precomputed, got a sparse one: give "
                         "X.toarray(), and NaN for pairs that are missing, for it has 0 there")
    shape = np.asarray(X).shape
    if advice := pairs_advice(shape):
        raise ValueError(f"X: expected a square matrix if precomputed, got {shape}{advice}")
    if is_square:
        check_order("X", X)


def _pair_weights(weights, num_samples):
    """(n, n) weights of pairs, from these or from weights of samples."""
    check_kind("weights", weights)
    check_order("weights", weights)
    weights = np.asarray(weights, float)
    if weights.shape == (num_samples,):
        if np.isnan(weights).any():
            raise ValueError("weights: expected numbers, got NaN")
        if not np.all(weights >= 0):
            raise ValueError(f"weights: expected none < 0, got {np.min(weights):g}")
        largest = np.max(weights)  # a common factor changes nothing; products might overflow
        weights = weights / largest if 0 < largest < np.inf else weights
        return np.outer(weights, weights)
    if weights.shape != (num_samples, num_samples):
        raise ValueError(f"weights: expected shape {(num_samples, num_samples)} or "
                         f"{(num_samples,)}, got {weights.shape}")
    return weights


def _with_derived(metric, params, X):
    """Parameters of a metric, with what scikit-learn takes from the samples if it is not given."""
    if metric == "seuclidean" and "V" not in params:
        return {**params, "V": np.var(X, axis=0, ddof=1)}
    if metric == "mahalanobis" and "VI" not in params:
        covariance = np.atleast_2d(np.cov(X.T))
        scale = np.sqrt(np.diag(covariance))  # the units of the features do not matter
        scale = np.outer(scale, scale) + (covariance == 0)
        if np.linalg.matrix_rank(covariance / scale) < len(covariance):
            raise ValueError("X: expected features of which none follows from others for "
                             "metric='mahalanobis', got some that do; give VI in metric_params")
        return {**params, "VI": np.linalg.inv(covariance).T}
    return params
