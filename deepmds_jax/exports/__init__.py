"""Lifting and scaling as files that run without this package, each checked against JAX."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from absl import logging

import deepmds_jax
from deepmds_jax.exports import beside_jax, instructions, sharing
from deepmds_jax.exports.functions import Exported, Smacof, file_name, lifting, scaling
from deepmds_jax.exports.targets import TABLE, Format, find
from deepmds_jax.files import replacing
from deepmds_jax.methods.contract import Params

__all__ = ["FORMATS", "HUB", "File", "Smacof", "export"]

FORMATS = tuple(TABLE)
HUB = "hf"
_SHARED = ("stablehlo", "onnx")  # with the weights of a folder for the hub


class File(NamedTuple):
    """A file that was written.

    Attributes:
      path: where it is.
      format: its name.
      batch: length of the batch axis; None is any.
      agreement: with JAX.
    """

    path: pathlib.Path
    format: str
    batch: int | None
    agreement: beside_jax.Agreement


def export(
    what: Params | Smacof,
    folder: str | os.PathLike,
    formats: Sequence[str] = FORMATS,
    *,
    name: str | None = None,
    batch: int | None = None,
    description: Mapping[str, Any] | None = None,
) -> list[File]:
    """Writes `reconstruct` with fixed parameters, or `mds.smacof` of one size, to files.

    Each runs without this package and takes and gives plain arrays with a leading batch axis:
    x2d (B, N, 2) float32 and, for the anchored system, visible (B, N) bool become points (B, N, 3),
    std, rotation (B, 3, 3), angle_std (B, 3) and converged (B,), see `Reconstruction`; the
    published system takes x2d alone and gives points, stress (B,) and converged. Dissimilarities
    (B, n, n) become embedding (B, n, k), stress (B,), converged and disparities. The outputs come
    in this order, and by name.

    Each is run on 1,000 made-up items beside JAX before it is written. The largest difference is in
    its metadata, with licence, topology, frame and units. Beside the files stands a README.md with
    code for each format.

    If one fails, those before it are kept, and none of the others is there that an earlier export
    left: NAME.onnx becomes NAME.onnx.old, so that nothing looks like what was to be written.

    Args:
      what: parameters, from `load_pretrained` or the like; or a `Smacof`.
      folder: for the files, NAME.stablehlo and the like; made if there is none.
      formats: some of `FORMATS`; "hf" makes the folder one that the Hugging Face Hub shares: with
        the weights, a model card, an example, and StableHLO and ONNX.
      name: of the files; by default the topology, or the transform and size.
      batch: length of the batch axis; by default any, or 1 where the format needs a fixed one.
      description: of the weights, as `load_weights` gives it: their data and licence.

    Returns:
      The files.

    Raises:
      ValueError: an unknown format, parameters of no method that lifts, or a file that does not
        agree with JAX, which is not kept.
      ImportError: a package that a format needs is not installed.
    """
    shares = HUB in formats
    formats = [text for text in formats if text != HUB]
    formats += [text for text in _SHARED if shares and text not in formats]
    if not formats:
        raise ValueError(f"format: expected some of {', '.join(FORMATS)}, got none")
    chosen = [find(text) for text in formats]
    if batch is not None and batch < 1:
        raise ValueError(f"batch: expected 1 or more, got {batch}")
    for module in chosen:
        module.check_installed()
    if isinstance(what, Smacof):
        if shares:
            raise ValueError(f"format: {HUB} shares weights, and smacof has none")
        exported = scaling(what)
    else:
        exported = lifting(what, file_name(name or what.config.topology), description or {})
    folder = pathlib.Path(folder)
    paths = [folder / f"{exported.name}{module.SUFFIX}" for module in chosen]
    all_paths = [*paths, *(folder / each for each in sharing.FILES if shares)]
    files = []
    try:
        expected = beside_jax.expect(exported)
        for text, module, path in zip(formats, chosen, paths, strict=True):
            length = batch or (1 if exported.one_by_one and module.LOCKSTEP else module.BATCH)
            data, found = _checked(module, expected, length)
            if not expected.is_met_by(found):
                raise ValueError(
                    f"{path}: not kept, for it does not agree with JAX: {found}; rounding of the "
                    f"inputs changes JAX's own results so much: {expected.rounding}")
            metadata = {**exported.metadata, **found.as_metadata(), **_arrays(exported),
                        "batch": "any" if length is None else str(length),
                        "made_by": f"deepmds_jax {deepmds_jax.__version__}"}
            with replacing(path) as temporary:
                temporary.write_bytes(module.with_metadata(data, metadata))
            files.append(File(path, text, length, found))
        if shares and not isinstance(what, Smacof):
            sharing.write(what, exported, folder, description or {})
    except BaseException:
        older = _set_aside(all_paths[len(files):])
        if files or older:
            _write_page(folder)
        raise
    _write_page(folder)
    return files


def _set_aside(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Renames what an earlier export left; returns what was there."""
    older = [path for path in paths if path.exists()]
    for path in older:
        os.replace(path, f"{path}.old")
        logging.warning("%s: of an earlier export, now %s.old", path, path.name)
    return older


def _write_page(folder: pathlib.Path) -> None:
    page = instructions.text(folder)
    if not page:
        _set_aside([folder / "README.md"])
        return
    with replacing(folder / "README.md") as temporary:
        temporary.write_text(page)


def _arrays(exported: Exported) -> dict[str, str]:
    """Dtype and shape, without the batch axis, of each input and output, as JSON."""
    arrays = {"inputs": exported.specs(1), "outputs": jax.eval_shape(
        exported.function, *exported.specs(1).values())}
    return {key: json.dumps({name: [str(x.dtype), *x.shape[1:]] for name, x in specs.items()})
            for key, specs in arrays.items()}


def _checked(
    module: Format, expected: beside_jax.Expectation, batch: int | None
) -> tuple[bytes, beside_jax.Agreement]:
    """The bytes of a file, and whether they agree; as few of them as do."""
    data = module.write(expected.exported, batch, exact=False)
    found = beside_jax.compare(expected, module.runner(data), batch)
    if module.COMPACT and not expected.is_met_by(found):
        data = module.write(expected.exported, batch, exact=True)
        found = beside_jax.compare(expected, module.runner(data), batch)
    return data, found
