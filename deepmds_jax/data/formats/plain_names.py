"""Names that come from files, made safe to print and to write.

A name can hold whatever a file has: characters that steer a terminal or turn the direction of
writing, halves of characters that no file takes, and what a spreadsheet would compute.
"""

import re

# Control characters, marks of direction, ends of lines, and lone surrogates.
_STEERING = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
                       "\ud800-\udfff]")
_FORMULA = re.compile(r"'*[=+\-@]")  # what spreadsheets compute, also behind our own mark


def printable(text: str) -> str:
    r"""The text in one line, with escapes such as \x1b for what is not to be printed."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def to_cell(name: str) -> str:
    """A name for a cell of a .csv file: with ' before it where a spreadsheet would compute it."""
    name = printable(name)
    return f"'{name}" if _FORMULA.match(name) else name


def from_cell(cell: str) -> str:
    """The name that `to_cell` wrote, printable."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell
