import pytest

import taskprism
from taskprism.cli import main


@pytest.mark.parametrize("kind", ["models", "tasks", "protocols", "recipes"])
def test_lists_what_the_library_lists(kind, capsys):
    assert main(["list", kind]) == 0
    assert capsys.readouterr().out.split() == getattr(taskprism, f"list_{kind}")()


@pytest.mark.parametrize("pattern", ["hrnet_w18_small*", "w18_small"])
def test_patterns(pattern, capsys):
    assert main(["list", "backbones", pattern]) == 0
    assert {"hrnet_w18_small", "hrnet_w18_small_v2"} <= set(capsys.readouterr().out.split())


def test_no_match(capsys):
    assert main(["list", "models", "nothing"]) == 2
    assert "None of the models matches 'nothing'" in capsys.readouterr().err


def test_unknown_kind(capsys):
    with pytest.raises(SystemExit):
        main(["list", "colors"])
    assert "'models'" in capsys.readouterr().err
