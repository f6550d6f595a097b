"""A valid file of each format that is read, ways to damage it, and what its reader may then do."""

import pathlib
import re
import tempfile
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import fuzz_seeds
import numpy as np

MAX_SECONDS = 15  # the readers end what takes longer than 10
NUMBER = re.compile(r"(?<![\w.#+-])[-+]?\d+(\.\d+)?(?![\w.])")
NOT_NUMBERS = ("abc", "x", "1.5x", "--", "#N/A", "12_5", "1.2.3", '"one"', "1e", "0x1F", "?")
NUMBERS = (
    "nan", "inf", "-inf", "1e400", "1e-400", "", "null", "99999999999999999999", "-0", "1e38")
PATTERNS = (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff" * 4, b"\0" * 4, b"\0\0\0\0\0\0\xf8\x7f",
            b"\0\0\0\0\0\0\xf0\x7f", b"\xff" * 8, b"\xff\xff\xff\x7f")


class Damaged(NamedTuple):
    """A damaged file.

    Attributes:
      content: of it.
      what: was done.
      word: the one number, by its place in the text, that is a word now; None if that is not all.
    """

    content: bytes
    what: str
    word: re.Match[str] | None = None


def try_case(kind: str, number: int, rng: np.random.Generator,
             keep: pathlib.Path | None = None) -> tuple[int, int, str]:
    """Damages a file of a kind and reads it.

    Args:
      kind: of `fuzz_seeds.kinds`.
      number: of the case.
      rng: what is done.
      keep: an empty folder for the file, which then stays.

    Returns:
      1 if it was read, 1 if it was refused as it should be, and else what happened.
    """
    seed = fuzz_seeds.kinds()[kind]
    name = sorted(seed.files)[rng.integers(len(seed.files))]
    damaged = damage(seed.files[name], seed.is_text, rng)
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or pathlib.Path(temporary)
        wrong, found = _read(seed, folder, {**seed.files, name: damaged.content})
        if not wrong and found is not None and seed.is_exact:
            wrong = _differs(found, _read(seed, folder, seed.files)[1])
        if not wrong and found is not None and damaged.word:
            wrong = _kept(seed, folder, name, damaged.word, found)
    if wrong:
        return 0, 0, f"{damaged.what} in {name}: {wrong}"
    return int(found is not None), int(found is None), ""


def _read(seed: fuzz_seeds.Kind, folder: pathlib.Path, files: Mapping[str, bytes]):
    """What is wrong with how a reader took files, and its arrays, None if it refused them."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    path = folder / seed.path
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            arrays = seed.read(path)
        except ValueError as error:
            text, arrays = str(error), None
            if type(error) is not ValueError:
                return f"{type(error).__name__}: {text}", None
            if "\n" in text or str(folder) not in text:
                return f"no line that names the file: {text!r}", None
        except Exception as error:
            return f"{type(error).__name__}: {error}", None
    if warned:
        return f"{warned[0].category.__name__}: {warned[0].message}", arrays
    for name, array in (arrays or {}).items():
        if array.dtype.kind not in "biuf" or np.isinf(array).any():
            return f"'{name}' is {array.dtype}, or infinite", arrays
    return "", arrays


def _differs(found, expected) -> str:
    same = found.keys() == expected.keys() and all(
        np.array_equal(array, expected[name]) for name, array in found.items())
    return "" if same else "silently other numbers than were written"


def _kept(seed, folder, name, word, found) -> str:
    """What is wrong where one number became a word: its place must be unknown or refused.

    Its place is where another number makes a difference.
    """
    text = seed.files[name].decode()
    other = f"{float(word[0]) + 0.5:.6g}"
    changed = text[: word.start()] + other + text[word.end():]
    before = _read(seed, folder, seed.files)[1]
    after = _read(seed, folder, {**seed.files, name: changed.encode()})[1]
    if len(found) < len(before):
        return ""  # the face was left out, which is told, and the others have numbers from 0 again
    for key in found.keys() & before.keys() & (after or {}).keys():
        if before[key].shape != after[key].shape:
            continue
        with np.errstate(invalid="ignore"):
            place = np.abs(before[key] - after[key]) > 0
        if place.any() and found[key].shape != place.shape:
            return f"'{key}' silently became {found[key].shape}, was {place.shape}"
        if place.any() and np.isfinite(found[key][place]).any():
            return f"'{key}' silently has {found[key][place]} where a word is"
    return ""


def damage(content: bytes, is_text: bool, rng: np.random.Generator) -> Damaged:
    """A file with something wrong; of texts in four cases of ten one number is a word."""
    if is_text and rng.random() < 0.4:
        return _one_word(content, rng)
    ways = TEXT_WAYS + BYTE_WAYS if is_text else BYTE_WAYS
    way = ways[rng.integers(len(ways))]
    return Damaged(way(content, rng), way.__name__.strip("_"))


def _one_word(content, rng):
    text = content.decode()
    numbers = list(NUMBER.finditer(text))
    chosen = numbers[rng.integers(len(numbers))]
    word = NOT_NUMBERS[rng.integers(len(NOT_NUMBERS))]
    text = text[: chosen.start()] + word + text[chosen.end():]
    return Damaged(text.encode(), f"{chosen[0]} -> {word}", chosen)


def _numbers(content, rng):
    """Some numbers are others, or none."""
    share, word = rng.choice([0.01, 0.1, 1]), NUMBERS[rng.integers(len(NUMBERS))]
    return NUMBER.sub(lambda match: word if rng.random() < share else match[0],
                      content.decode()).encode()


def _lines(content, rng):
    """Lines in another order, some lost or twice."""
    lines = content.splitlines(keepends=True)
    chosen = rng.choice(len(lines), len(lines), replace=bool(rng.integers(2)))
    return b"".join(lines[i] for i in chosen)


def _encoding(content, rng):
    codes = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp037", "utf-7")
    text = content.decode()
    if rng.integers(2):
        text = text.replace("a", "\u00e9\u4e2d", 1)
    return text.encode(codes[rng.integers(len(codes))], "replace")


def _marks(content, rng):
    """Marks that part cells, quote and bracket are others."""
    old, new = rng.choice(list(',;\t "[]{}:.\n=\0'), 2)
    count = int(rng.choice([1, 3, -1]))
    return content.decode().replace(str(old), str(new), count).encode()


def _bits(content, rng):
    changed = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(changed.size, size=rng.choice([1, 1, 2, 8, 64]))
    changed[places] ^= (1 << rng.integers(8, size=places.size)).astype(np.uint8)
    return changed.tobytes()


def _bytes(content, rng):
    changed = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(changed.size, size=rng.choice([1, 1, 2, 8, 64]))
    changed[places] = rng.integers(256, size=places.size)
    return changed.tobytes()


def _header(content, rng):
    """Bits of the beginning alone, where formats say how much there is."""
    return _bits(content[:128], rng) + content[128:]


def _cut(content, rng):
    return content[: rng.integers(len(content))]


def _twice(content, rng):
    start, end = _chunk(content, rng)
    return content[:end] + content[start:]


def _without(content, rng):
    start, end = _chunk(content, rng)
    return content[:start] + content[end:]


def _blank(content, rng):
    start, end = _chunk(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def _pattern(content, rng):
    """NaN, infinity, zero or the largest integers in the place of four or eight bytes."""
    pattern = PATTERNS[rng.integers(len(PATTERNS))]
    start = rng.integers(max(1, len(content) // 4)) * 4
    return content[:start] + pattern + content[start + len(pattern):]


def _chunk(content, rng):
    start = int(rng.integers(len(content)))
    return start, min(len(content), start + int(rng.choice([1, 8, 64, 512])))


TEXT_WAYS = [_numbers, _numbers, _lines, _encoding, _marks]
BYTE_WAYS = [_bits, _bytes, _header, _cut, _twice, _without, _blank, _pattern]


def kinds() -> list[str]:
    """Names of all kinds."""
    return list(fuzz_seeds.kinds())
