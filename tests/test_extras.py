"""Optional packages: every import of one names its extra, and shipped recipes need none."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

import taskprism
from taskprism.backbones.sources import LITE0_PACKAGE
from taskprism.errors import DataError, InputError
from taskprism.extras import import_extra
from taskprism.losses import create_balancer, create_consistency_loss
from taskprism.recipes import list_recipes, load_recipe
from taskprism.training.experiment import build_protocol

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def distribution(requirement: str) -> str:
    """``ray[data,tune]>=2.40`` -> ``ray``."""
    return re.split(r"[\[<>=!~ ]", requirement)[0].lower().replace("_", "-")


def modules_of(name: str) -> set[str]:
    """Top-level modules of a distribution; none if it is not installed."""
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return set()
    tops = {file.parts[0].removesuffix(".py") for file in files if file.suffix == ".py"}
    return {top for top in tops if top.isidentifier()}


@cache
def modules_by_extra() -> dict[str, set[str]]:
    """Extra -> top-level modules of its packages, as far as they are installed."""
    return {
        extra: set().union(*(modules_of(distribution(each)) for each in requirements))
        for extra, requirements in PROJECT["optional-dependencies"].items()
        if extra != "all"
    }


def optional_modules() -> set[str]:
    core = (modules_of(distribution(each)) for each in PROJECT["dependencies"])
    return set().union(*modules_by_extra().values()).difference(*core)


@cache
def parsed_files() -> list[tuple[str, ast.Module]]:
    """Files of the package in which an optional package is named."""
    named = re.compile("|".join(optional_modules()))
    texts = {file: file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py")}
    return [
        (str(file.relative_to(ROOT)), ast.parse(text))
        for file, text in sorted(texts.items())
        if named.search(text)
    ]


def imports_at_run_time(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every import statement that is executed."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""
        else:
            yield from imports_at_run_time(node)


def calls_of(name: str, tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == name:
            yield node


def test_optional_packages_are_imported_with_import_extra_only() -> None:
    optional = optional_modules()
    assert {"h5py", "onnxruntime", "ray"} <= optional
    assert not {"torch", "yaml", "fsspec"} & optional
    direct = [
        f"{file}:{line} imports {name}"
        for file, tree in parsed_files()
        for line, name in imports_at_run_time(tree)
        if name.partition(".")[0] in optional
    ]
    hidden = [
        f"{file}:{call.lineno}"
        for file, tree in parsed_files()
        for call in (*calls_of("import_module", tree), *calls_of("__import__", tree))
        if isinstance(call.args[0], ast.Constant)
        and str(call.args[0].value).partition(".")[0] in optional
    ]
    assert direct + hidden == []


def test_import_extra_is_called_with_the_extra_that_installs_the_package() -> None:
    wrong, count = [], 0
    for file, tree in parsed_files():
        for call in calls_of("import_extra", tree):
            module, extra = call.args[0], call.args[1]
            if isinstance(extra, ast.Constant) and isinstance(module, ast.Constant):
                count += 1
                top = str(module.value).partition(".")[0]
                if top not in modules_by_extra().get(str(extra.value), ()):
                    wrong.append(f"{file}:{call.lineno} {module.value} [{extra.value}]")
    assert wrong == []
    assert count > 5


def test_a_package_that_is_installed_but_broken_gives_its_reason(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_package.py").write_text("import missing_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"needs broken_package \(No module named 'missing_libr"):
        import_extra("broken_package", "onnx", "A test")


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after ``pip install taskprism``."""
    optional = optional_modules()
    for name in [name for name in sys.modules if name.partition(".")[0] in optional]:
        monkeypatch.delitem(sys.modules, name)
    for name in optional:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_extras")
def test_every_shipped_recipe_runs_after_a_plain_install() -> None:
    core = {distribution(each) for each in PROJECT["dependencies"]}
    assert LITE0_PACKAGE in core
    recipes = {name: load_recipe(name) for name in list_recipes()}
    for name, recipe in recipes.items():
        # False, or weights in a package that is always installed: not from the hub, no file.
        weights = recipe.model.pretrained
        assert weights is False or str(weights) in core, name
        assert not recipe.imports and not recipe.trackers, name
    for balancing in {recipe.loss.balancing for recipe in recipes.values()}:
        create_balancer(balancing, {"depth": 1.0})
    linked = {recipe.consistency.name for recipe in recipes.values()} - {None}
    model = taskprism.create_model("multi_task", {"depth": 1, "edge": 1}, backbone="test_resnet")
    for consistency in linked:
        create_consistency_loss(consistency, model)
    first = {str(recipe.data.protocol): recipe.data for recipe in recipes.values()}
    for settings in first.values():  # procedural, or an error that says where to put the data
        try:
            protocol = build_protocol(settings.model_copy(update={"root": "/no/such/folder"}))
            protocol.dataset("train")
        except DataError as error:
            assert re.search(r"/no/such/folder.* (cannot be read|does not exist)", str(error))
        else:
            assert protocol.name == "rooms"
