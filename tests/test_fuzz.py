"""Wrong input of every kind ends in a named error or in the right values.

Never in a traceback from inside, a hang, or a changed ``metrics.json``. The cases are drawn with a
fixed seed, so that a failure repeats.
"""

import contextlib
import copy
import io
import json
import math
import shutil
import signal

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.base import BUILT_IN
from taskprism import load
from taskprism.backbones.sources import from_file
from taskprism.cli import main
from taskprism.data import create_protocol
from taskprism.data.files import read_image, read_stored
from taskprism.distillation import create_distillation, list_distillations
from taskprism.errors import TaskprismError
from taskprism.losses import create_balancer, list_balancers
from taskprism.models import create_model
from taskprism.models.base import MODELS
from taskprism.recipes.files import load_recipe, read_mapping, validate
from taskprism.recipes.schema import Recipe
from taskprism.registry import options_of
from taskprism.tasks import create_task, list_tasks
from taskprism.training import train

SIZE = (24, 32)
LONGEST = 30  # seconds that one case may take before it counts as a hang


def cases(count):
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def no_hang():
    def stop(*_):
        raise AssertionError(f"still running after {LONGEST} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def only_named_errors():
    """Errors that a user can put right are fine, with a message; all others are not."""
    with no_hang():
        try:
            yield
        except TaskprismError as error:
            assert str(error).strip()
            assert len(str(error)) < 20_000


SCALARS = [
    *(None, True, False, 0, -1, 1, 2, 1.5, 2**31, 2**63, -(2**63), 10**400, 1e308, -1e308),
    *(math.inf, -math.inf, math.nan, "", " ", "x", "0", "1e999999999", "a" * 5000, "\0", "a\nb"),
    *("../../outside", "/etc/passwd", "os:system", "{name}", "{", "*", "[", "ünïcode", "-", "--x"),
]
VALUES = st.one_of(
    st.sampled_from(SCALARS),
    st.lists(st.sampled_from(SCALARS), max_size=4),
    st.dictionaries(
        st.sampled_from(["a", "0", "name", "", "0-99999999999"]), st.sampled_from(SCALARS)
    ),
    st.sampled_from([[1e6, 1e6], [[[]]], [[1, 2], [3]], {"a": {"b": {}}}, [0] * 1000]),
)


def places(values, prefix=()):
    """Every key of nested mappings, as a tuple."""
    found = []
    for key, value in values.items():
        found.append((*prefix, key))
        if isinstance(value, dict):
            found += places(value, (*prefix, key))
    return found


def put(values, place, value):
    values = copy.deepcopy(values)
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return values


RECIPE = Recipe().model_dump(mode="json")


@cases(150)
@given(st.sampled_from(places(RECIPE)), VALUES)
def test_recipes(place, value):
    with only_named_errors():
        recipe = validate(put(RECIPE, place, value), "fuzz")
        numbers = [recipe.optimizer.lr, recipe.schedule.warmup_epochs, recipe.epochs]
        assert all(math.isfinite(number) and not isinstance(number, bool) for number in numbers)


@cases(60)
@given(st.binary(max_size=200))
def test_bytes_as_a_recipe(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz_recipe.yaml"
    path.write_bytes(content)
    with only_named_errors():
        assert isinstance(read_mapping(path), dict)


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 3000,
        "a: " + "{b: " * 3000,
        "a: &a [x, x]\nb: &b [*a, *a, *a, *a]\n"
        + "".join(
            f"{chr(99 + i)}: &{chr(99 + i)} [{', '.join([f'*{chr(98 + i)}'] * 9)}]\n"
            for i in range(12)
        ),
        "epochs: 1" + "0" * 5000,
        "extends: extends",
        "? [a, b]\n: c",
        "a: !!python/object/apply:os.system [echo]",
    ],
    ids=["lists", "mappings", "aliases", "digits", "itself", "key", "tag"],
)
def test_hostile_yaml(tmp_path, text):
    path = tmp_path / "extends.yaml"
    path.write_text(text)
    with no_hang(), pytest.raises(TaskprismError):
        load_recipe(path)
    with no_hang(), pytest.raises(TaskprismError):
        create_protocol(str(path))


DATA = {
    "name": "fuzz",
    "root": ".",
    "license": "none",
    "image": "rgb/{name}.png",
    "input_size": [16, 24],
    "fit": "stretch",
    "cache": False,
    "split_seed": 0,
    "splits": {"train": ["a", "b"], "test": {"list": "test.txt"}},
    "augmentation": {"zoom": [1.0], "degrees": 0, "color": False, "horizontal_flip": 0.5},
    "tasks": {
        "semseg": {
            "path": "semseg/{name}.png",
            "classes": ["floor", "wall", "thing"],
            "ignore": [255],
            "map": {0: 0, 1: 1, 2: 2},
            "unmapped": "error",
            "loss_weight": 1.0,
            "options": {},
        },
        "depth": {
            "path": "depth/{name}.png",
            "encoding": {"scale": 0.001, "offset": 0, "layout": "hwc", "order": None},
            "valid_range": [0.1, 100],
            "ignore": [0],
        },
        "edge": {"path": "edge/{name}.png", "positive": [255]},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    rng = np.random.default_rng(0)
    for name in "abc":
        arrays = {
            "rgb": rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
            "semseg": rng.integers(0, 3, SIZE, dtype=np.uint8),
            "depth": rng.integers(500, 5000, SIZE, dtype=np.uint16),
            "edge": rng.integers(0, 2, SIZE, dtype=np.uint8) * 255,
        }
        for kind, array in arrays.items():
            (root / kind).mkdir(exist_ok=True)
            Image.fromarray(array).save(root / kind / f"{name}.png")
    (root / "test.txt").write_text("c\n")
    (root / "data.yaml").write_text(yaml.safe_dump(DATA))
    return root


def read_all(path):
    """Read the whole set; what is read must fit the tasks."""
    protocol = create_protocol(str(path))
    for split in protocol.splits:
        for sample in protocol.dataset(split, protocol.train_transform()):
            height, width = sample["image"].shape[-2:]
            assert (height, width) == tuple(protocol.input_size)
            for task in protocol.tasks:
                if task.name in sample["targets"]:
                    target, valid = sample["targets"][task.name], sample["valid"][task.name]
                    assert task.validate_target(target, valid) is None
                    assert torch.isfinite(target.double()).all()


def test_the_unchanged_folder_is_read(folder):
    read_all(folder / "data.yaml")


@cases(120)
@given(st.sampled_from(places(DATA)), VALUES)
def test_data_yamls(folder, place, value):
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(put(DATA, place, value), allow_unicode=True))
    with only_named_errors():
        read_all(path)


def damaged(content, cut, place, value):
    changed = bytearray(content)
    if changed:
        changed[place % len(changed)] = value
    return bytes(changed[: max(len(changed) - cut, 0)])


FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "NPY")


@cases(140)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from(["L", "RGB", "RGBA", "P", "1", "I;16", "F", "CMYK"]),
    st.integers(0, 300) | st.just(0),
    st.integers(0, 5000),
    st.integers(0, 255),
)
def test_image_and_label_bytes(folder, form, mode, cut, place, value):
    array = (np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 251).astype(np.uint8)
    buffer = io.BytesIO()
    try:
        if form == "NPY":
            np.save(buffer, array.astype(np.float32 if mode == "F" else np.uint8))
        else:
            picture = Image.fromarray(array)
            converted = Image.new(mode, picture.size) if mode == "I;16" else picture.convert(mode)
            converted.save(buffer, form)
    except (OSError, ValueError, KeyError):
        return  # the format has no such mode
    path = folder / f"bytes.{form.lower()}"
    path.write_bytes(damaged(buffer.getvalue(), cut, place, value))
    with only_named_errors():
        assert np.isfinite(read_image(path).numpy()).all()
    with only_named_errors():
        assert read_stored(path).values.ndim >= 2


@cases(60)
@given(st.sampled_from([".png", ".jpg", ".npy", ".npz", ".mat", ".tif"]), st.binary(max_size=300))
def test_random_bytes_as_files(folder, suffix, content):
    path = folder / f"random{suffix}"
    path.write_bytes(content)
    with only_named_errors():
        read_stored(path)
    with only_named_errors():
        read_image(path)


@cases(40)
@given(
    st.sampled_from([".pth", ".pt", ".safetensors"]),
    st.one_of(st.binary(max_size=200), st.sampled_from([b"text\n", b"", b"\x80\x04.", b"{}"])),
)
def test_random_bytes_as_weights(folder, suffix, content):
    path = folder / f"weights{suffix}"
    path.write_bytes(content)
    with only_named_errors():
        assert from_file(path).state


LINES = [
    "a",
    "b",
    "c",
    "",
    " a ",
    "a,",
    "../a",
    "/etc/passwd",
    "a\0b",
    "a.png",
    "rgb/a.png",
    "x" * 999,
]


@cases(60)
@given(
    st.lists(st.sampled_from(LINES), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r", ",", " "]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1", "utf-32"]),
)
def test_split_lists(folder, lines, separator, encoding):
    (folder / "fuzz.txt").write_bytes(separator.join(lines).encode(encoding, "replace"))
    config = put(DATA, ("splits",), {"train": "fuzz.txt", "test": ["c"]})
    path = folder / "listed.yaml"
    path.write_text(yaml.safe_dump(config))
    with only_named_errors():
        names = [sample["name"] for sample in create_protocol(str(path)).dataset("train")]
        assert set(names) <= {"a", "b", "c"}


MODEL_OPTIONS = [
    (name, option)
    for name in BUILT_IN
    for option in sorted({"neck_channels", *options_of(MODELS.find(name).__init__)} - {"backbone"})
]


@cases(90)
@given(st.sampled_from(MODEL_OPTIONS), VALUES)
def test_options_of_models(part, value):
    name, option = part
    with only_named_errors():
        create_model(name, {"semseg": 3, "depth": 1}, backbone="test_resnet", **{option: value})


@cases(60)
@given(st.sampled_from(list_distillations()), st.data())
def test_options_of_distillations(name, data):
    from taskprism.distillation.base import DISTILLATIONS

    options = sorted(set(options_of(DISTILLATIONS.find(name))) - {"sources"}) or ["x"]
    option, value = data.draw(st.sampled_from(options)), data.draw(VALUES)
    given_size = {} if option == "size" else {"size": (8, 8)}
    with only_named_errors():
        create_distillation(name, ["semseg", "depth"], 8, **given_size, **{option: value})


@cases(60)
@given(st.sampled_from(list_tasks()), st.data())
def test_options_of_tasks(kind, data):
    fields = sorted(create_task(kind, 7 if kind in ("semseg", "human_parts") else None).to_config())
    field = data.draw(st.sampled_from(fields))
    value = data.draw(VALUES)
    if field == "kind":
        return
    channels = {"channels": 7} if kind in ("semseg", "human_parts") else {}
    with only_named_errors():
        task = create_task(kind, **{**channels, field: value})
        assert task.channels >= 1
        assert "/" not in task.name
        task.metrics()


@cases(30)
@given(st.sampled_from(list_balancers()), st.sampled_from(["semseg", "depth"]), VALUES)
def test_weights_of_balancers(name, task, value):
    with only_named_errors():
        create_balancer(name, {"semseg": 1.0, "depth": 1.0, task: value})


COMMANDS = [
    ["evaluate", "RUN", "--batch-size"],
    ["evaluate", "RUN", "--workers"],
    ["evaluate", "RUN", "--device"],
    ["evaluate", "RUN", "--split"],
    ["evaluate", "RUN", "--options"],
    ["predict", "RUN", "IMAGES", "--out", "OUT", "--batch-size"],
    ["predict", "RUN", "IMAGES", "--out", "OUT", "--device"],
    ["data", "check", "YAML", "--samples"],
    ["data", "check", "YAML", "--tasks"],
    ["data", "check", "YAML", "--options"],
    ["train", "multi_task", "--out", "OUT2", "--data", "YAML", "--epochs"],
    ["train", "multi_task", "--out", "OUT2", "--data", "YAML", "--optimizer.lr"],
    ["profile", "multi_task", "--size"],
]
WORDS = ["-1", "0", "1.5", "x", "a=[", "foo", "", "1e99", "nan", "input_size=[0,0]", "input_size=x"]


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A trained run, without counts of operations and pictures, which take longest."""
    patch = pytest.MonkeyPatch()
    patch.setattr("taskprism.training.scores.count_macs", lambda model, size: 1)
    patch.setattr("taskprism.training.run.write_pictures", lambda *arguments: [])
    recipe = validate(
        {
            "name": "fuzz",
            "model": {"backbone": "test_resnet", "options": {"neck_channels": 8}},
            "data": {"protocol": str(folder / "data.yaml"), "batch_size": 2},
            "epochs": 1,
        },
        "fuzz",
    )
    yield train(recipe, tmp_path_factory.mktemp("runs") / "run")
    patch.undo()


@cases(60)
@given(st.sampled_from(COMMANDS), st.sampled_from(WORDS))
def test_command_lines(run, folder, command, word):
    if command[0] == "train" and word in ("1", "1e99"):
        return  # these would train
    out = run.parent / "out"
    names = {"RUN": run, "IMAGES": folder / "rgb", "OUT": out, "YAML": folder / "data.yaml"}
    names["OUT2"] = run.parent / "new"
    words = [str(names.get(each, each)) for each in command]
    before = (run / "metrics.json").read_bytes()
    with no_hang(), contextlib.suppress(SystemExit), contextlib.chdir(run.parent):
        assert main([*words, word]) in (0, 1, 2)
    after = json.loads((run / "metrics.json").read_bytes())
    assert after == json.loads(before)
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(names["OUT2"], ignore_errors=True)


RUN_FILES = [
    *("recipe.yaml", "manifest.json", "log.jsonl", "metrics.json", "image_states.npz"),
    *("checkpoints/last/config.json", "checkpoints/last/model.safetensors"),
    *("checkpoints/last/training_state.pt", "checkpoints/best/config.json"),
    "checkpoints/best/model.safetensors",
]


@cases(36)
@given(
    st.sampled_from(["load", "evaluate", "resume"]),
    st.sampled_from(RUN_FILES),
    st.integers(0, 400) | st.sampled_from([0, 10**9]),
    st.integers(0, 10**6),
    st.integers(0, 255),
)
def test_damaged_run_folders(run, action, file, cut, place, value):
    copied = run.parent / "damaged"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(run, copied)
    path = copied / file
    path.write_bytes(damaged(path.read_bytes(), cut, place, value))
    metrics = (copied / "metrics.json").read_bytes()
    if action == "load":
        with only_named_errors():
            model = load(copied)
            assert all(torch.isfinite(each).all() for each in model.parameters())
        return
    resume = ["train", str(copied), "--out", str(copied), "--resume"]
    with no_hang():
        status = main(resume if action == "resume" else ["evaluate", str(copied)])
    assert status in (0, 2)
    after = (copied / "metrics.json").read_bytes()
    if status == 2:
        assert after == metrics
    else:
        json.loads(after)
