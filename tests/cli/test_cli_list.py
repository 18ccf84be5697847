import pytest

import taskprism
from taskprism.cli import main


def rows(capsys):
    """Name -> origin."""
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("kind", ["models", "tasks", "protocols", "recipes"])
def test_command_lists_the_same_names_as_the_library(kind, capsys):
    assert main(["list", kind]) == 0
    printed = rows(capsys)
    assert sorted(printed) == sorted(getattr(taskprism, f"list_{kind}")())
    assert "built in" in printed.values()


def test_singular_names_work(capsys):
    assert main(["list", "models"]) == 0
    plural = capsys.readouterr().out
    assert main(["list", "model"]) == 0
    assert capsys.readouterr().out == plural


def test_without_a_kind_all_kinds_are_listed(capsys):
    assert main(["list"]) == 0
    assert {"models", "tasks", "protocols", "recipes", "backbones"} <= set(rows(capsys))


@pytest.mark.parametrize("pattern", ["hrnet_w18_small*", "w18_small"])
def test_patterns_filter_names(pattern, capsys):
    assert main(["list", "backbones", pattern]) == 0
    printed = rows(capsys)
    assert {"hrnet_w18_small", "hrnet_w18_small_v2"} <= set(printed)
    assert printed["hrnet_w18_small"] == "timm"


def test_pattern_without_a_match_fails(capsys):
    assert main(["list", "models", "nothing"]) == 2
    assert "None of the models matches 'nothing'" in capsys.readouterr().err


def test_unknown_kind_is_reported(capsys):
    assert main(["list", "modles"]) == 2
    assert "Did you mean 'models'" in capsys.readouterr().err
