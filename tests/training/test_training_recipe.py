from pathlib import Path

import pytest
import yaml

from taskprism.errors import InputError, RecipeError, UnknownNameError
from taskprism.recipes import files, register_recipes
from taskprism.recipes.files import parse_value, to_yaml
from taskprism.recipes.schema import Recipe
from taskprism.training import list_recipes, load_recipe


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_defaults_are_those_of_the_papers(write):
    recipe = load_recipe(write("mine.yaml", ""))
    assert recipe.name == "mine"
    optimizer, schedule = recipe.optimizer, recipe.schedule
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adam", 1e-4, 1e-4)
    assert (schedule.name, schedule.power) == ("poly", 0.9)
    assert (recipe.epochs, recipe.data.batch_size) == (100, 8)


def test_extends_merges_level_by_level(write):
    write("base.yaml", "epochs: 3\ntasks: [a, b]\noptimizer: {lr: 1e-3, momentum: 0.5}")
    write("deep/middle.yaml", "extends: ../base.yaml\nepochs: 4")
    path = write("deep/top.yaml", "extends: middle\noptimizer: {momentum: 0.1}\ntasks: [c]")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.epochs, recipe.tasks) == ("top", 4, ["c"])
    assert (recipe.optimizer.lr, recipe.optimizer.momentum) == (1e-3, 0.1)


def test_extends_a_shipped_recipe(write):
    shipped = list_recipes()[0]
    recipe = load_recipe(write("mine.yaml", f"extends: {shipped}\nseed: 7"))
    base = load_recipe(shipped).model_dump()
    assert recipe.model_dump() == {**base, "seed": 7, "name": "mine"}


def test_circles_are_refused(write):
    write("a.yaml", "extends: b")
    with pytest.raises(RecipeError, match=r"circle: .*b\.yaml -> .*a\.yaml -> .*b\.yaml"):
        load_recipe(write("b.yaml", "extends: a"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: nowhere", "'nowhere', which is neither a file in "),
        ("extends: [a]", "'extends' must name one recipe"),
        ("- 1", "must hold keys and values, not a list"),
        ("a: [", "is not valid YAML"),
        ("optimiser: {lr: 1}", "unknown key 'optimiser' at the top. Did you mean 'optimizer'?"),
        (
            "optimizer: {rl: 1}",
            "unknown key 'rl' in 'optimizer'. Did you mean 'lr'? Keys there: na",
        ),
        ("epochs: 0", "key 'epochs': input should be greater than or equal to 1, got 0"),
        ("optimizer: {lr: fast}", "key 'optimizer.lr': input should be a valid number"),
        (
            "optimizer: {momentum: 1}",
            "key 'optimizer.momentum': input should be less than 1, got 1",
        ),
        (
            "schedule: {name: step}",
            "'cosine_restarts', 'multi_step' or 'one_cycle', got 'step'",
        ),
        ("data: {protocol: 3}", "key 'data.protocol': input should be a valid string, got 3, or"),
        ("loss: {weights: {depth: x}}", "key 'loss.weights.depth': input should be a valid number"),
        ("trackers: [3]", "key 'trackers.0': input should be a valid string"),
        ("optimizer: 3", "key 'optimizer': input should be a valid dictionary"),
        ("optimizer: {lr: true}", "key 'optimizer.lr': expected a number, not true or false"),
        ("optimizer: {lr: .nan}", "key 'optimizer.lr': input should be a finite number"),
        ("schedule: {warmup_epochs: .inf}", "'schedule.warmup_epochs': input should be a finite"),
        ("loss: {weights: {depth: true}}", "'loss.weights.depth': expected a number, not true"),
        ("loss: {weights: {depth: -1}}", "input should be greater than or equal to 0, got -1"),
        ("epochs: true", "key 'epochs': expected a number, not true or false"),
        ("seed: 9223372036854775808", "key 'seed': input should be less than or equal to"),
        ("epochs: 1.5", "key 'epochs': input should be a valid integer"),
        ("model: {options: {name: x}}", "a model has no option 'name'; set model.name instead"),
        ("data: {options: {root: x}}", "a protocol has no option 'root'; set data.root instead"),
    ],
)
def test_errors_name_the_file_the_key_and_the_way_out(write, text, message):
    path = write("mine.yaml", text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_mistakes_are_told_at_once(write):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write("mine.yaml", "epochs: 0\nsed: 1"))
    assert "epochs" in str(caught.value)
    assert "'sed'" in str(caught.value)


def test_overrides_reach_every_level(write):
    path = write("mine.yaml", "model: {options: {a: 1}}")
    overrides = {"optimizer.lr": 0.5, "model.options.b.c": [1], "epochs": 2}
    recipe = load_recipe(path, overrides)
    assert (recipe.optimizer.lr, recipe.epochs) == (0.5, 2)
    assert recipe.model.options == {"a": 1, "b": {"c": [1]}}
    with pytest.raises(RecipeError, match="unknown key 'optimiser'"):
        load_recipe(path, {"optimiser.lr": 1})


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="Unknown recipe 'osd/mtinet'"):
        load_recipe("osd/mtinet")
    with pytest.raises(RecipeError, match=r"No recipe file nowhere\.yaml"):
        load_recipe("nowhere.yaml")


def test_another_protocol_does_not_take_over_the_options(write):
    path = write("mine.yaml", "data: {protocol: rooms, options: {train_length: 4}, batch_size: 3}")
    same = load_recipe(path, {"data.protocol": "rooms"})
    assert same.data.options == {"train_length": 4}
    other = load_recipe(path, {"data.options.cache": True, "data.protocol": "osd_rgbd"})
    assert (other.data.options, other.data.batch_size) == ({"cache": True}, 3)


@pytest.mark.parametrize("options", ["", ", options: {}"])
def test_a_recipe_with_other_data_drops_the_inherited_options(write, options):
    write("base.yaml", "data: {protocol: rooms, root: cache, options: {train_length: 4}}")
    recipe = load_recipe(write("a.yaml", f"extends: base\ndata: {{protocol: osd_rgbd{options}}}"))
    assert (recipe.data.options, recipe.data.root) == ({}, None)
    own = write("b.yaml", "extends: base\ndata: {protocol: osd_rgbd, options: {cache: true}}")
    assert load_recipe(own).data.options == {"cache": True}
    same = write("c.yaml", "extends: base\ndata: {protocol: rooms, options: {seed: 1}}")
    assert load_recipe(same).data.options == {"train_length": 4, "seed": 1}


def test_data_files_are_found_beside_the_recipe(write, monkeypatch, tmp_path):
    data = write("data/set.yaml", "")
    path = write("recipes/mine.yaml", "data: {protocol: ../data/set.yaml}")
    assert load_recipe(path).data.protocol == str(data)
    both = write("recipes/both.yaml", "data: {protocol: [../data/set.yaml, osd_rgbd]}")
    assert load_recipe(both).data.protocol == [str(data), "osd_rgbd"]
    # A recipe that extends one elsewhere keeps the data of that one.
    child = write("elsewhere/child.yaml", "extends: ../recipes/mine.yaml")
    assert load_recipe(child).data.protocol == str(data)


def test_the_resolved_recipe_reads_back_the_same(write):
    text = "data: {root: {a: /x, b: y}}\nmodel: {pretrained: true, options: {size: [1, 2]}}"
    recipe = load_recipe(write("mine.yaml", text))
    assert recipe.data.root == {"a": Path("/x"), "b": Path("y")}
    again = load_recipe(write("again.yaml", to_yaml(recipe)))
    assert again == recipe
    assert set(yaml.safe_load(to_yaml(recipe))) == set(Recipe.model_fields)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-2E+4", -2e4),
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("[192, 256]", [192, 256]),
        ("word", "word"),
        ("null", None),
        ("[", "["),
        ("1e5x", "1e5x"),
    ],
)
def test_values_as_in_yaml(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_are_valid(name):
    recipe = load_recipe(name)
    assert recipe.name == name.rpartition("/")[2]


@pytest.mark.parametrize(("text", "value"), [("false", False), ("True", True), ("a.pth", "a.pth")])
def test_pretrained_from_the_command_line_is_no_file_called_false(text, value):
    assert load_recipe("rooms/mti_net", {"model.pretrained": text}).model.pretrained == value


def test_a_folder_of_recipes_gets_names(write, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_SOURCES", list(files._SOURCES))
    write("own/small.yaml", "extends: deep/_base\nepochs: 3")
    write("own/deep/_base.yaml", "seed: 5")
    register_recipes(tmp_path / "own", prefix="mine")
    register_recipes(tmp_path / "own", prefix="mine")  # a second import changes nothing
    assert [name for name in list_recipes() if name.startswith("mine")] == ["mine/small"]
    recipe = load_recipe("mine/small")
    assert (recipe.name, recipe.epochs, recipe.seed) == ("small", 3, 5)
    child = load_recipe(write("child.yaml", "extends: mine/small\nepochs: 4"))
    assert (child.epochs, child.seed) == (4, 5)


def test_names_of_recipes_are_unique(write, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_SOURCES", list(files._SOURCES))
    path = write("own/mtan.yaml", "")
    with pytest.raises(InputError, match=r"'osd/mtan' in .* is taken by"):
        register_recipes(path.parent, prefix="osd")
    with pytest.raises(InputError, match="no such folder"):
        register_recipes(tmp_path / "nowhere")


def test_the_core_does_not_hold_recipes_of_plug_ins():
    core = files._SOURCES[0].names()
    assert core
    names = {
        name
        for plug_in in ("rooms", "demo", "mti_net", "ctal")
        for name in core
        if name.startswith(f"{plug_in}/")
    }
    assert names == set()
