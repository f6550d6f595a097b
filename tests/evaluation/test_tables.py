import csv
import json
import pathlib

from deepmds_jax.evaluation import tables
from deepmds_jax.evaluation.counts import parameter_rows

ROWS = [{"method": "a", "mse": 0.00025, "faces": 5000}, {"method": "bb", "mse": 2.5, "faces": 1}]


def test_text_has_aligned_columns():
    assert tables.to_text(ROWS).splitlines() == [
        "method      mse  faces",
        "------  -------  -----",
        "a       0.00025  5,000",
        "bb          2.5      1",
    ]


def test_files_hold_the_rows(tmp_path):
    paths = tables.write(tmp_path / "new", "scores", ROWS, {"dataset": "ict"})
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["scores.csv", "scores.json"]
    content = json.loads(pathlib.Path(paths[0]).read_text())
    assert content == {"dataset": "ict", "rows": ROWS}
    with open(paths[1], newline="") as file:
        assert list(csv.DictReader(file)) == [{k: str(v) for k, v in row.items()} for row in ROWS]


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
