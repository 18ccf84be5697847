import pytest

from taskprism.errors import RecipeError, UnknownNameError
from taskprism.training import list_recipes, load_recipe


def test_row_is_merged_into_the_common_recipe(table_file):
    recipe = load_recipe(table_file.parent / "1" / "multi", {"seed": 3})
    assert (recipe.name, recipe.model.name, recipe.seed) == ("multi", "multi_task", 3)
    assert (recipe.epochs, recipe.optimizer.lr, recipe.tasks) == (7, 0.01, ["semseg", "depth"])
    assert recipe.model.options["neck_channels"] == 32  # of rooms/_data, through _shared


def test_row_with_extends_replaces_the_common_recipe(write, table_file):
    text = table_file.read_text().replace("{model: {name: multi_task}}", "{extends: rooms/ctal}")
    recipe = load_recipe(write("paper/2.yaml", text).with_suffix("") / "multi")
    common = load_recipe("rooms/ctal").model_dump()
    assert recipe.model_dump() == {**common, "name": "multi"}


def test_row_can_extend_a_row(write, table_file):
    row = "{extends: 1/single, epochs: 9, model: {options: {neck_channels: 8}}}"
    text = table_file.read_text().replace("{model: {name: multi_task}}", row)
    recipe = load_recipe(write("paper/2.yaml", text).with_suffix("") / "multi")
    assert (recipe.name, recipe.model.name, recipe.epochs) == ("multi", "single_task", 9)
    assert recipe.model.options == {"neck_channels": 8, "head": "high_resolution"}


def test_file_can_extend_a_row(write, table_file):
    recipe = load_recipe(write("mine.yaml", "extends: paper/1/single\nepochs: 1"))
    assert (recipe.name, recipe.model.name, recipe.epochs) == ("mine", "single_task", 1)


def test_circular_extends_raise(write, table_file):
    row = "{extends: 1/multi}"
    text = table_file.read_text().replace("{model: {name: multi_task}}", row)
    table = write("paper/1.yaml", text).with_suffix("")
    with pytest.raises(RecipeError, match=r"circle: .*row 'multi'\) -> .*row 'multi'\)"):
        load_recipe(table / "multi")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("1/other", RecipeError, "only quotes its authors (figures of their authors)"),
        ("1/coarse", RecipeError, "is evaluated from the run of row 'multi'; train that one"),
        ("1/mutli", UnknownNameError, "Did you mean 'multi'? Known: single, multi, coarse, other"),
        ("1", RecipeError, "is a whole table: run it with `taskprism reproduce"),
        ("1.yaml", RecipeError, "is a whole table; name one of its rows"),
        ("2/single", UnknownNameError, "Unknown recipe"),
    ],
)
def test_rows_that_cannot_be_trained_raise(table_file, name, kind, message):
    with pytest.raises(kind) as caught:
        load_recipe(table_file.parent / name)
    assert message in str(caught.value)


def test_tables_are_not_listed_as_recipes():
    folders = {name.split("/")[0] for name in list_recipes()}
    assert folders >= {"rooms", "osd"}
    assert not folders & {"papers", "budgets", "data"}
