"""Numbers, tables, figures and claims in Markdown."""

import math
from base64 import b64decode
from pathlib import Path

import pandas as pd
import pytest

from vqlib.figures import metric_by, save_figure
from vqlib.report.words import (
    NOT_BORNE_OUT,
    data_title,
    figure,
    listed,
    number,
    rows,
    say,
    span,
    table,
)


def test_a_claim_that_holds_is_a_paragraph() -> None:
    assert say("It is so.", holds=True).data == "It is so."
    assert say("It is so.").data == "It is so."


def test_a_claim_that_does_not_hold_is_quoted_as_not_borne_out() -> None:
    told = say("It is so.", holds=False).data
    assert told.startswith(">")
    assert told.index(NOT_BORNE_OUT) < told.index("It is so.")


def test_a_figure_holds_its_picture_its_caption_its_label_and_its_alt_text(
    tmp_path: Path, summary: pd.DataFrame
) -> None:
    drawn = metric_by(summary)
    drawn.alt = 'A "quoted" word.'
    save_figure(drawn, tmp_path, "plot")
    shown = figure(tmp_path / "plot", "A caption.", "fig-plot").data
    before, _, after = shown.partition("data:image/svg+xml;base64,")
    content, _, end = after.partition(")")
    assert before == "![A caption.]("
    assert b64decode(content) == (tmp_path / "plot.svg").read_bytes()
    assert end == "{#fig-plot alt=\"A 'quoted' word.\"}"


def test_a_table_has_a_row_a_line_with_caption_and_label_below() -> None:
    frame = pd.DataFrame({"SSIM": ["0.4", "0.8"]}, index=pd.Index(["VAE", "VQ-VAE"], name="Model"))
    lines = ["| Model | SSIM |", "| :-- | --: |", "| VAE | 0.4 |", "| VQ-VAE | 0.8 |"]
    assert rows(frame) == lines
    assert table(frame, "A caption.", "tbl-ssim").data.splitlines() == [
        *lines,
        "",
        ": A caption. {#tbl-ssim}",
    ]


def test_an_index_without_a_name_is_no_column() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    assert rows(frame) == ["| a | b |", "| :-- | --: |", "| 1 | 3 |", "| 2 | 4 |"]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([0.4028, 0.3981], {}, "0.398 to 0.403"),
        ([0.3981, 0.3982], {}, "0.398"),
        ([0.3981], {"decimals": 4}, "0.3981"),
        ([0.189, 0.211], {"decimals": 0, "unit": "%"}, "19% to 21%"),
        ([0.2049, 0.2051], {"decimals": 0, "unit": "%"}, "20% to 21%"),
        ([7_840, 125_000], {"decimals": 0}, "7,840 to 125,000"),
        ([24.5, 26.0], {"decimals": 1, "unit": " dB"}, "24.5 dB to 26.0 dB"),
    ],
)
def test_a_span_is_lowest_and_highest_or_one_if_they_look_the_same(
    values: list[float], options: dict[str, object], expected: str
) -> None:
    assert span(pd.Series(values), **options) == expected


@pytest.mark.parametrize(
    ("mean", "deviation", "decimals", "expected"),
    [
        (0.88, 0.01414, 4, "0.8800 ± 0.0141"),
        (576.0, 0.0, 1, "576.0"),  # several that are the same
        (0.88, math.nan, 4, "0.8800"),  # a single one
        (125_000.0, math.nan, 0, "125,000"),
        (math.nan, math.nan, 4, "–"),
    ],
)
def test_a_number_is_a_mean_with_its_deviation_if_there_is_one(
    mean: float, deviation: float, decimals: int, expected: str
) -> None:
    assert number(mean, deviation, decimals) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([16], "16"), ([16, 64], "16 and 64"), (["a", "b", "c"], "a, b and c"), ([], "")],
)
def test_a_list_ends_with_and(values: list[object], expected: str) -> None:
    assert listed(values) == expected


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [("cifar10", "CIFAR-10"), ("/home/me/cats", "`cats`")],
)
def test_a_data_set_s_title_names_it_without_its_path(dataset: str, expected: str) -> None:
    assert data_title(dataset) == expected
    assert "scikit-image" in data_title("photos")
