"""A folder at a URL: readers see whole checkpoints, and killed uploads change nothing."""

import json

import fsspec
import pytest

from taskprism.errors import CheckpointError
from taskprism.stores import MirroredFolder, StorePath, fetch_folder
from taskprism.stores.folders import INDEX_FILE


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    return f"memory://{tmp_path.name}/run" if request.param == "memory" else f"file://{tmp_path}/r"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """The folder as another machine sees it, with another cache."""

    def use(name: str, url: str) -> MirroredFolder:
        monkeypatch.setenv("TASKPRISM_CACHE", str(tmp_path / f"cache {name}"))
        return MirroredFolder(url)

    return use


def write(folder: MirroredFolder, **files: str) -> None:
    for name, content in files.items():
        path = folder.local / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def content(folder: MirroredFolder) -> dict[str, str]:
    files = (path for path in folder.local.rglob("*") if path.is_file())
    return {path.relative_to(folder.local).as_posix(): path.read_text() for path in files}


def save(folder: MirroredFolder, epoch: int) -> None:
    write(folder, log=f"epoch {epoch}", checkpoints__last__a=f"{epoch}", checkpoints__last__b="b")


def test_another_machine_gets_what_was_uploaded(url, machine):
    first = machine("first", url)
    save(first, 1)
    write(first, **{".lock": "mine"})
    first.upload()
    second = machine("second", url)
    second.fetch()
    assert content(second) == {
        "log": "epoch 1",
        "checkpoints/last/a": "1",
        "checkpoints/last/b": "b",
    }
    save(second, 2)
    second.upload()
    first.fetch()
    assert content(first) == {**content(second), ".lock": "mine"}
    stored = [name for name in StorePath(url).sizes_below() if name.startswith("checkpoints/")]
    assert len(stored) == 2, "the earlier checkpoint is deleted"


@pytest.mark.parametrize("step", range(4))
def test_a_killed_upload_leaves_the_previous_checkpoint(url, machine, monkeypatch, step):
    writer = machine("writer", url)
    save(writer, 1)
    writer.upload()
    save(writer, 2)
    done = 0
    with monkeypatch.context() as patch:

        def killing(original):
            def call(*args):
                nonlocal done
                done += 1
                if done > step:
                    raise Killed
                return original(*args)

            return call

        patch.setattr(MirroredFolder, "_put", killing(MirroredFolder._put))
        patch.setattr(StorePath, "remove", killing(StorePath.remove))
        with pytest.raises(Killed):
            writer.upload()
    reader = machine("reader", url)
    reader.fetch()
    found = content(reader)
    visible = "2" if step == 3 else "1"  # killed after the list was replaced
    assert found["checkpoints/last/a"] == visible
    writer.upload()
    reader.fetch()
    assert content(reader)["checkpoints/last/a"] == "2"
    assert len([n for n in StorePath(url).sizes_below() if n.startswith("checkpoints/")]) == 2


def test_what_could_not_be_uploaded_is_kept_until_another_machine_writes(url, machine):
    first = machine("first", url)
    save(first, 1)
    first.upload()
    save(first, 2)  # the network is away
    first.fetch()
    assert content(first)["checkpoints/last/a"] == "2"
    second = machine("second", url)
    second.fetch()
    save(second, 3)
    second.upload()
    first.fetch()
    assert content(first)["checkpoints/last/a"] == "3"


def test_only_wanted_files_are_fetched(url, machine):
    writer = machine("writer", url)
    save(writer, 1)
    writer.upload()
    reader = machine("reader", url)
    reader.fetch(lambda name: name == "log")
    assert content(reader) == {"log": "epoch 1"}
    reader.fetch()
    assert len(content(reader)) == 3


def test_a_deleted_folder_is_empty_again(url, machine):
    folder = machine("only", url)
    save(folder, 1)
    folder.upload()
    fs, path = fsspec.url_to_fs(url)
    fs.rm(path, recursive=True)
    folder.fetch()
    assert content(folder) == {}


def test_a_folder_that_another_program_copied_is_read(url, machine):
    for name in ("config.json", "checkpoints/last/a"):
        (StorePath(url) / name).write_bytes(b"copied")
    folder = machine("only", url)
    folder.fetch()
    assert content(folder) == {"config.json": "copied", "checkpoints/last/a": "copied"}
    (StorePath(url) / "config.json").write_bytes(b"changed")
    folder.fetch()
    assert content(folder)["config.json"] == "changed"


def test_damage_is_named(url, machine):
    folder = machine("writer", url)
    save(folder, 1)
    folder.upload()
    reader = machine("reader", url)
    key = json.loads((StorePath(url) / INDEX_FILE).read_bytes())["files"]["checkpoints/last/a"][
        "key"
    ]
    (StorePath(url) / key).write_bytes(b"0")
    with pytest.raises(CheckpointError, match=f"{key} is damaged"):
        reader.fetch()
    (StorePath(url) / INDEX_FILE).write_bytes(b"{")
    with pytest.raises(CheckpointError, match=f"{INDEX_FILE} is damaged"):
        reader.fetch()
    with pytest.raises(CheckpointError, match="There is nothing at memory://empty/run"):
        fetch_folder("memory://empty/run")


def test_a_list_cannot_name_files_outside(machine, tmp_path):
    url = f"memory://{tmp_path.name}"
    entry = {"key": "log", "size": 1, "version": "x"}
    (StorePath(url) / "log").write_bytes(b"1")
    text = json.dumps({"format": 1, "files": {"../../outside": entry}})
    (StorePath(url) / INDEX_FILE).write_bytes(text.encode())
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        machine("only", url).fetch()
