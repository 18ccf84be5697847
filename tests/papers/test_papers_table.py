import pytest
from papers_tables import PARTED, PLAIN

from taskprism.errors import RecipeError, UnknownNameError
from taskprism.papers import load_table


def test_table_file_is_read(table_file):
    table = load_table(table_file)
    assert (table.name, table.title) == ("paper/1", "Made up")
    assert list(table.rows) == ["single", "multi", "coarse", "other"]
    part = table.part_of("multi")
    assert [column.key for column in part.columns] == ["semseg", "depth", "gain", "size"]
    assert part.column("size").form == "percent"
    assert [column.relative for column in part.columns] == [False, False, True, True]
    assert table.row("single").paper == {"semseg": 33.18, "depth": 0.667, "gain": 0.0}
    assert [row.trained for row in table.rows.values()] == [True, True, False, False]
    assert (table.row("single").label, table.row("multi").label) == ("Single task", "Multi")
    assert table.row("coarse").readout.of == "multi"
    assert (table.notes, part.notes) == (("About the table.",), ())


def test_table_with_several_parts_is_read(write):
    table = load_table(write("paper/2.yaml", PARTED))
    assert list(table.parts) == ["left", "right"]
    assert list(table.rows) == ["left_single", "left_multi", "right_single"]
    assert table.part_of("right_single").label == "Right"


def test_baseline_of_column_precedes_row_and_part(write):
    text = PLAIN.replace("quantity: gain, digits: 2", "quantity: gain, baseline: multi")
    text = text.replace("coarse: {", "coarse: {baseline: multi, ")
    part = load_table(write("paper/1.yaml", text)).parts[""]
    assert part.baseline_of("multi") == "single"
    assert part.baseline_of("coarse") == "multi"
    assert part.baseline_of("multi", part.column("gain")) == "multi"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: Made up", "", "key 'title' is missing"),
        (
            "title: Made up",
            "titel: Made up",
            "unknown key 'titel' at the top. Did you mean 'title'",
        ),
        ("digits: 3}", "digit: 3}", "unknown key 'digit' in 'columns.1'. Did you mean 'digits'"),
        ("as: percent", "as: share", "key 'columns.3.as': input should be 'absolute', 'ratio' or"),
        ("as: percent", "is: percent", "Keys there: key, header, task, metric, quantity, scale"),
        (
            "digits: 3}",
            "quantity: macs}",
            "key 'columns.1': a column needs either task and metric, or",
        ),
        (
            "metric: miou, ",
            "",
            "key 'columns.0': a column needs either task and metric, or quantity",
        ),
        (
            "paper: {semseg: 32",
            "paper: {seg: 32",
            "row 'multi' has 'paper' for unknown column 'seg'",
        ),
        ("paper: {semseg: 32", "paper: {semseg: x", "key 'rows.multi.paper.semseg': input should"),
        ("notes: [Looked", "note: [Looked", "unknown key 'note' in 'rows.coarse'. Did you mean"),
        (
            "of: multi",
            "of: other",
            "'coarse' is evaluated from 'other', which is not a trained row; the",
        ),
        ("initial_stride", "stride", "unknown key 'stride' in 'rows.coarse.readout'"),
        (
            "baseline: single",
            "baseline: solo",
            "unknown baseline row 'solo'; the rows are single, multi",
        ),
        ("other: {quoted", "other: {recipe: {epochs: 1}, quoted", "recipe, readout and quoted"),
        (
            "  multi: {",
            "  multi-task: {",
            "row key 'multi-task' must consist of letters, digits and",
        ),
        (
            "key: depth",
            "key: semseg",
            "several columns have the same key: semseg, semseg, gain, size",
        ),
    ],
)
def test_errors_name_the_file_and_the_key(write, old, new, message):
    assert old in PLAIN
    path = write("paper/1.yaml", PLAIN.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        load_table(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_row_keys_are_unique_across_parts(write):
    path = write("paper/2.yaml", PARTED.replace("right_single", "left_single"))
    with pytest.raises(RecipeError, match="row 'left_single' is in the parts 'left' and 'right'"):
        load_table(path)


def test_errors_in_parts_name_the_part(write):
    path = write("paper/2.yaml", PARTED.replace("label: Right", "lable: Right"))
    with pytest.raises(RecipeError, match=r"unknown key 'lable' in 'parts.right'"):
        load_table(path)


def test_unknown_names_suggest_similar_ones(table_file):
    table = load_table(table_file)
    with pytest.raises(
        UnknownNameError, match=r"row of table paper/1 'mutli'. Did you mean 'multi'"
    ):
        table.row("mutli")
    with pytest.raises(UnknownNameError, match="Unknown column 'seg'"):
        table.part_of("multi").column("seg")
    with pytest.raises(UnknownNameError, match="Unknown table 'mti_net/99'"):
        load_table("mti_net/99")
