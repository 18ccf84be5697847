"""URLs behave as paths do, and local paths never reach fsspec."""

import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from taskprism.errors import InputError
from taskprism.stores import StorePath, as_path, is_url

FILES = {"a/x.png": b"1", "a/b/y.PNG": b"22", "a/b/z.txt": b"333", "c [1].txt": b"4"}


@pytest.fixture(params=["memory", "file"])
def folders(request, tmp_path):
    """The same files at a URL and in a local folder."""
    local = tmp_path / "local"
    url = f"memory://{tmp_path.name}" if request.param == "memory" else f"file://{tmp_path}/url"
    for name, content in FILES.items():
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(content)
        (StorePath(url) / name).write_bytes(content)
    return StorePath(url), local


def test_files_are_those_of_the_same_local_folder(folders):
    url, local = folders
    for name in [*FILES, "a", "a/b", "missing", "a/missing.txt"]:
        remote, path = url / name, local / name
        for question in ("exists", "is_file", "is_dir"):
            assert getattr(remote, question)() == getattr(path, question)(), (name, question)
        for part in ("name", "stem", "suffix"):
            assert getattr(remote, part) == getattr(path, part)
        assert remote.parent == url / Path(name).parent.as_posix()
        assert remote.relative_to(url).as_posix() == path.relative_to(local).as_posix()
        if path.is_file():
            assert remote.read_bytes() == path.read_bytes()
            assert remote.size() == path.stat().st_size
    assert url.sizes_below() == {name: len(content) for name, content in sorted(FILES.items())}
    assert (url / "a").names() == ["x.png"] and (url / "missing").names() == []


@pytest.mark.parametrize("pattern", ["*.txt", "a/*", "**/*.txt", "a/b/*.PNG", "none/*"])
def test_a_pattern_finds_the_same_files(folders, pattern):
    url, local = folders
    expected = [p.relative_to(local).as_posix() for p in local.glob(pattern) if p.is_file()]
    assert url.glob(pattern) == sorted(expected)


def test_writing_replaces_and_removing_twice_is_no_error(folders):
    url, _ = folders
    (url / "a/x.png").write_bytes(b"new")
    assert (url / "a/x.png").read_bytes() == b"new"
    assert (url / "a/b/z.txt").read_range(1, 2) == b"33"
    for _ in range(2):
        (url / "a/x.png").remove()
    assert "a/x.png" not in url.sizes_below()


def test_a_name_cannot_lead_out_of_the_folder():
    for name in ("../secret", "/etc/passwd", "a/../../b"):
        with pytest.raises(InputError, match="leads out of memory://here"):
            StorePath("memory://here") / name


def test_a_missing_package_and_an_unknown_protocol_are_named():
    with pytest.raises(InputError, match=r"s3://b/a cannot be opened.*pip install s3fs"):
        StorePath("s3://b/a").exists()
    with pytest.raises(InputError, match=r"pip install paramiko"):
        StorePath("sftp://host/a").exists()
    with pytest.raises(InputError, match=r"nowhere://a.*[Pp]rotocol not known"):
        StorePath("nowhere://a").exists()


@pytest.mark.parametrize("place", ["runs/a", "C:\\runs", "C:/runs", "module:Class", "owner/name"])
def test_local_places_are_paths(place):
    assert not is_url(place)
    assert as_path(place) == Path(place)


def test_cached_urls_keep_files_between_processes(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"first")
    cached = StorePath(f"filecache::file://{tmp_path}") / "a.txt"
    assert cached.read_bytes() == b"first"
    fsspec.get_filesystem_class("filecache").clear_instance_cache()  # as in a new process
    (tmp_path / "a.txt").unlink()
    assert cached.read_bytes() == b"first"


def test_local_files_do_not_import_fsspec():
    code = (
        "import sys; from pathlib import Path; from taskprism.text_files import read_text;"
        "read_text(Path(sys.argv[1])); assert 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, __file__], check=True)
