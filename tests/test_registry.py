"""The registry behind every list of parts, and the ways in which parts are found."""

import importlib
import sys
import textwrap
import warnings

import pytest

from taskprism import registry as registry_module
from taskprism.errors import InputError, UnknownNameError
from taskprism.registry import (
    Registry,
    check_options,
    import_parts,
    load_plugins,
    options_of,
    temporary_parts,
)
from taskprism.tasks import TASKS, create_task, task_from_config


class Shape:
    """Base of the parts in these tests."""


class Circle(Shape):
    name = "circle"


def not_a_class():
    return Circle()


@pytest.fixture
def shapes():
    kinds = dict(Registry.all)
    yield Registry("shape", Shape)
    Registry.all.clear()
    Registry.all.update(kinds)


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Write a module into a folder on the import path, and forget it afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


SQUARE = """
    from test_registry_base import Shape

    class Square(Shape):
        name = "square"
    """


@pytest.fixture
def base(modules, monkeypatch):
    module = type(sys)("test_registry_base")
    module.Shape = Shape
    monkeypatch.setitem(sys.modules, "test_registry_base", module)
    return modules


def test_decorator_takes_the_name_of_the_class_or_its_argument(shapes):
    assert shapes.register(Circle) is Circle
    shapes.register("ring")(type("Ring", (Shape,), {"__module__": __name__}))
    assert shapes.names() == list(shapes) == ["circle", "ring"] and len(shapes) == 2
    assert shapes.find("circle") is Circle and "circle" in shapes and "cube" not in shapes
    entry = shapes.entries()[0]
    assert entry.origin == f"{__name__}:Circle" and not entry.builtin


def test_unknown_names_suggest_close_ones(shapes):
    shapes.register(Circle)
    for find in (shapes.find, shapes.find_saved):
        with pytest.raises(UnknownNameError, match=r"shape 'cirlce'.*Did you mean 'circle'"):
            find("cirlce")


@pytest.mark.parametrize("name", ["", "two words", "a/b", "mod:Class", "../up"])
def test_names_that_cannot_be_file_names_are_refused(shapes, name):
    with pytest.raises(InputError, match="Cannot register"):
        shapes.register(name)(Circle)


def test_parts_of_another_kind_are_refused(shapes):
    for part in (int, 3, not_a_class):
        with pytest.raises(InputError, match="Expected a shape"):
            shapes.register("wrong")(part)
        with pytest.raises(InputError, match="Expected a shape"):
            shapes.find(part)
    assert shapes.names() == []


def test_functions_are_accepted_where_factories_are(shapes):
    factories = Registry("factory_shape", Shape, factories=True)
    assert factories.register(not_a_class) is not_a_class
    assert factories.find("not_a_class")() is not None


def test_a_taken_name_is_refused_but_a_cell_can_run_again(shapes):
    shapes.register(Circle)
    with pytest.raises(InputError, match=r"name 'circle' is taken by .*:Circle; give .*:Disc"):
        shapes.register("circle")(type("Disc", (Shape,), {"__module__": __name__}))
    again = type("Circle", (Shape,), {"__module__": __name__, "name": "circle"})
    shapes.register(again)
    assert shapes.find("circle") is again


def test_module_and_class_are_imported(shapes, base):
    base("own_square", SQUARE)
    found = shapes.find("own_square:Square")
    assert found.__name__ == "Square" and shapes.find(found) is found
    with pytest.raises(InputError, match="Module 'own_square' has no 'Cube'"):
        shapes.find("own_square:Cube")
    with pytest.raises(InputError, match=r"Cannot import module 'no_such_module'.*--import"):
        shapes.find("no_such_module:Cube")


def test_saved_names_never_import(shapes, base):
    base("own_square", SQUARE)
    with pytest.raises(InputError, match=r"not imported.*imports=\['own_square'\]"):
        shapes.find_saved("own_square:Square")
    assert "own_square" not in sys.modules
    importlib.import_module("own_square")
    assert shapes.find_saved("own_square:Square").__name__ == "Square"


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "builtins:eval", "os:path.join"])
def test_hostile_names_run_nothing(shapes, name, monkeypatch):
    called = []
    monkeypatch.setattr("os.system", called.append)
    factories = Registry("hostile_shape", Shape, factories=True)
    for registry in (shapes, factories):
        with pytest.raises(InputError):
            registry.find_saved(name)
    with pytest.raises(InputError):
        shapes.find(name)
    assert called == []


def test_saved_names_find_registered_parts_defined_in_functions(shapes):
    class Local(Shape):
        name = "local"

    with pytest.raises(InputError, match="defined inside a function"):
        shapes.name_of(Local)
    shapes.register(Local)
    assert shapes.find_saved(shapes.name_of(Local)) is Local
    assert shapes.find(shapes.name_of(Local)) is Local
    with pytest.raises(InputError, match="Expected the name of a shape"):
        shapes.find_saved(3)


def test_files_are_imported_with_their_folder(shapes, base, tmp_path):
    base("helper_of_parts", "VALUE = 3\n")
    path = base("parts_in_file", "from helper_of_parts import VALUE\n")
    import_parts([path])
    assert sys.modules["parts_in_file"].VALUE == 3
    import_parts(["parts_in_file.py"], folder=tmp_path)  # known already
    import_parts(["helper_of_parts"])


def test_files_that_cannot_be_imported_are_named(modules, tmp_path):
    broken = modules("broken_parts", "raise RuntimeError('no data')\n")
    with pytest.raises(InputError, match=r"broken_parts.py'.*RuntimeError: no data"):
        import_parts([broken])
    assert "broken_parts" not in sys.modules
    with pytest.raises(InputError, match="no such file"):
        import_parts([tmp_path / "missing.py"])
    with pytest.raises(InputError, match=r"Cannot import 'broken_parts'.*no data"):
        import_parts(["broken_parts"])
    with pytest.raises(InputError, match=r"Cannot import 'no_such_module'"):
        import_parts(["no_such_module"])


def test_a_file_named_like_an_imported_module_is_refused(modules):
    with pytest.raises(InputError, match=r"another module named 'json' is imported.*Rename"):
        import_parts([modules("json", "")])


@pytest.fixture
def plugin(modules, tmp_path, monkeypatch):
    """Install a package with an entry point, and load plug-ins again."""

    def install(name, module):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[taskprism.plugins]\n{name} = {module}\n")
        monkeypatch.setattr(registry_module._Plugins, "loaded", False)

    return install


def test_installed_plugins_are_loaded_once(plugin, modules):
    modules(
        "plugin_with_task",
        """
        from dataclasses import dataclass

        from taskprism.tasks import Depth, register_task

        @register_task
        @dataclass(frozen=True, kw_only=True)
        class Range(Depth):
            name: str = "plugin_range"
            kind = "plugin_range"
        """,
    )
    with temporary_parts():
        plugin("own_package", "plugin_with_task")
        task = create_task("plugin_range")
        assert TASKS.find("plugin_range") is type(task)
        config = task.to_config()
        assert config["kind"] == "plugin_with_task:Range" and task_from_config(config) == task
    with pytest.raises(UnknownNameError):
        create_task("plugin_range")


def test_a_failing_plugin_is_a_warning(plugin, modules):
    modules("plugin_that_fails", "1 / 0\n")
    plugin("failing_package", "plugin_that_fails")
    with pytest.warns(UserWarning, match=r"'failing_package'.*ZeroDivisionError"):
        load_plugins()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_plugins()


def test_options_are_checked_against_the_signature():
    def make(required, size=3, *, name="x"):
        pass

    assert options_of(make) == {"size": 3, "name": "x"}
    check_options("make", {"size": 1}, options_of(make))
    with pytest.raises(UnknownNameError, match=r"option of make 'sise'.*Did you mean 'size'"):
        check_options("make", {"sise": 1}, options_of(make))
