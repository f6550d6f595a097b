import csv
import json
import pathlib
import re

import numpy as np
import pytest

from deepmds_jax.evaluation import tables
from deepmds_jax.paper.parameter_counts import parameter_rows

ROWS = [{"method": "a", "mse": 0.00025, "faces": 5000}, {"method": "bb", "mse": 2.5, "faces": 1}]
HARD = [
    {"name": "a|b_c * <d> [e]\nf", "x": None, "ok": True},
    {"name": r"100 % & $5 {~^\} #1", "x": np.float32(-1234.5), "ok": np.bool_(False)},
]


def test_text_has_aligned_columns():
    assert tables.to_text(ROWS).splitlines() == [
        "method      mse  faces",
        "------  -------  -----",
        "a       0.00025  5,000",
        "bb          2.5      1",
    ]


def test_text_of_none_and_of_numpy_numbers():
    rows = [{"mse": None, "n": np.int64(4000)}, {"mse": np.float32(0.5), "n": 2}]
    assert tables.to_text(rows).splitlines() == [
        "mse      n", "---  -----", "  -  4,000", "0.5      2"]


def test_markdown():
    assert tables.to_markdown(ROWS).splitlines() == [
        "| method | mse | faces |",
        "| --- | ---: | ---: |",
        "| a | 0.00025 | 5,000 |",
        "| bb | 2.5 | 1 |",
    ]
    text = tables.to_markdown(HARD)
    lines = text.splitlines()
    assert len(lines) == 4
    # Cells end at a bar without a backslash; a backslash makes the next character plain.
    cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines]
    assert [len(row) for row in cells] == [3] * 4
    plain = [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in row] for row in cells]
    assert plain[2] == ["a|b_c * <d> [e] f", "-", "yes"]
    assert plain[3] == [r"100 % & $5 {~^\} #1", "-1,234", "no"]
    assert not re.search(r"(?<!\\)[*_<>\[\]]", text)


def test_latex():
    assert tables.to_latex(ROWS, "Scores, 50 %").splitlines() == [
        r"\begin{table}",
        r"  \centering",
        r"  \caption{Scores, 50 \%}",
        r"  \begin{tabular}{lrr}",
        r"    \toprule",
        r"    method & mse & faces \\",
        r"    \midrule",
        r"    a & 0.00025 & 5,000 \\",
        r"    bb & 2.5 & 1 \\",
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    lines = tables.to_latex(HARD, "c").splitlines()
    assert lines[7] == r"    a\textbar{}b\_c {*} \textless{}d\textgreater{} {[}e] f & - & yes \\"
    assert lines[8] == (r"    100 \% \& \$5 \{\textasciitilde{}\textasciicircum{}"
                        r"\textbackslash{}\} \#1 & $-$1,234 & no \\")


def test_files_hold_the_rows(tmp_path):
    paths = tables.write(tmp_path / "new", "scores", ROWS, {"dataset": "ict"}, "Scores")
    assert [pathlib.Path(p).name for p in paths] == [
        "scores.json", "scores.csv", "scores.md", "scores.tex"]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(
        pathlib.Path(p).name for p in paths)
    content = json.loads(pathlib.Path(paths[0]).read_text())
    assert content == {"dataset": "ict", "rows": ROWS}
    with open(paths[1], newline="") as file:
        assert list(csv.DictReader(file)) == [{k: str(v) for k, v in row.items()} for row in ROWS]
    assert pathlib.Path(paths[2]).read_text() == f"Scores\n\n{tables.to_markdown(ROWS)}"
    assert pathlib.Path(paths[3]).read_text() == tables.to_latex(ROWS, "Scores")


def test_json_is_valid_whatever_the_numbers(tmp_path):
    rows = [{"a": np.float32(0.5), "b": float("nan")}, {"a": np.int64(3), "b": np.float64("inf")}]
    paths = tables.write(tmp_path, "t", rows, {"size": np.int32(4)})

    def refuse(constant):
        raise AssertionError(constant)

    content = json.loads(pathlib.Path(paths[0]).read_text(), parse_constant=refuse)
    assert content == {"size": 4, "rows": [{"a": 0.5, "b": None}, {"a": 3, "b": None}]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows: expected at least one, got none"),
        ([{"a": 1, "b": 2}, {"a": 1}], r"rows: expected the keys \['a', 'b'\].*\['a'\] in row 1"),
        ([{"a": 1}, {"a": 1, "b": 2}], r"rows: expected the keys \['a'\].*\['a', 'b'\] in row 1"),
    ],
)
def test_refuses_rows_that_make_no_table(tmp_path, rows, message):
    for make in (tables.to_text, tables.to_markdown, lambda rows: tables.to_latex(rows, ""),
                 lambda rows: tables.write(tmp_path / "out", "t", rows, {})):
        with pytest.raises(ValueError, match=message):
            make(rows)
    assert not (tmp_path / "out").exists()


def test_the_order_of_keys_is_that_of_the_first_row():
    rows = [{"a": 1, "b": 2}, {"b": 4, "a": 3}]
    assert tables.to_markdown(rows).splitlines()[2:] == ["| 1 | 2 |", "| 3 | 4 |"]


def test_counts_are_those_of_table_2():
    rows = {(row["network"], row["N"]): row for row in parameter_rows()}
    release = rows["Deep-MDS, release features", 72]
    assert release["as Table 2"] == release["paper"] == 27_505
    assert rows["autoencoder", 72]["trainable"] == 24_880
    network = rows["dissimilarity, release features", 72]
    assert (network["trainable"], network["all"]) == (2_423, 2_625)
    # Equation 6 has one feature more than the release: 20 more weights.
    assert rows["Deep-MDS, paper features", 72]["as Table 2"] == 27_525
    assert rows["Zhao et al.", 72]["trainable"] == rows["Zhao et al.", 72]["paper"] == 114_840
