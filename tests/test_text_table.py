"""Tables of texts in the terminal and in Markdown."""

import io

import pytest
from rich.console import Console

from taskprism.text_table import TextTable

TABLE = TextTable(
    "one [title]",
    ["row", "first", "second", "third", "fourth"],
    [["a [x]", "1", "2|2", "3", "4" * 8], ["b", "5", "6", "7", "8"]],
    best=frozenset({(0, 2), (1, 4)}),
    notes=["See `this` and [that]."],
    groups=[2, 2],
)


def test_markdown_marks_the_best_cells_and_escapes_bars():
    assert TABLE.markdown().splitlines() == [
        "| row | first | second | third | fourth |",
        "| :--- | ---: | ---: | ---: | ---: |",
        "| a [x] | 1 | **2\\|2** | 3 | 44444444 |",
        "| b | 5 | 6 | 7 | **8** |",
    ]


def test_selecting_and_transposing_keep_the_best_cells():
    chosen = TABLE.columns([0, 4, 2])
    assert chosen.rows == [["a [x]", "44444444", "2|2"], ["b", "8", "6"]]
    assert chosen.best == {(0, 2), (1, 1)}
    turned = chosen.transposed("metric")
    assert turned.headings == ["metric", "a [x]", "b"]
    assert turned.rows == [["fourth", "44444444", "8"], ["second", "2|2", "6"]]
    assert turned.best == {(1, 1), (0, 2)}


def printed(table, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True)
    table.print(console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [10, 40, 200])
def test_printing_shows_every_cell_and_note(width):
    text = printed(TABLE, width)
    for part in (*TABLE.headings, "a [x]", "2|2", "44444444", *TABLE.notes):
        assert part in text
    assert text.count("a [x]") == (1 if width == 200 else 2)  # split between the groups


def test_a_table_without_groups_is_transposed_in_a_narrow_terminal():
    text = printed(TABLE.columns(range(5)), 36)
    (line,) = [line for line in text.splitlines() if "fourth" in line]
    assert "44444444" in line
