"""Claims have one holder at a time, even if processes die."""

import json
import multiprocessing
import os
import time

import pytest

from taskprism.errors import CheckpointError
from taskprism.papers.claims import Claims


def age(claims, name, number, seconds):
    file = claims.folder / name / f"{number}.json"
    then = time.time() - seconds
    os.utime(file, (then, then))


def rewrite(claims, name, number, **values):
    file = claims.folder / name / f"{number}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_claim_is_held_until_it_is_released(tmp_path):
    claims = Claims(tmp_path)
    with claims.take("row") as claim:
        assert not claim.abandoned
        assert claims.take("row") is None
        assert claims.holder("row").pid == os.getpid()
        with claims.take("other"):
            pass
    assert claims.holder("row") is None
    again = claims.take("row")
    assert again is not None and not again.abandoned


def _take_and_hang(folder):
    with Claims(folder, beat=0.01).take("row"):
        time.sleep(600)


def test_claim_of_a_killed_local_process_is_free_immediately(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_take_and_hang, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 60
    file = tmp_path / "row" / "1.json"
    while not (file.exists() and file.stat().st_size):  # written, not only created
        assert time.monotonic() < deadline
        time.sleep(0.01)
    claims = Claims(tmp_path)
    assert claims.take("row") is None
    process.kill()
    process.join()
    assert claims.holder("row") is None
    assert claims.take("row").abandoned


def test_claim_of_another_machine_is_valid_until_its_lease_expires(tmp_path):
    claims = Claims(tmp_path, lease=60)
    claims.take("row")
    rewrite(claims, "row", 1, machine="elsewhere", host="far", pid=7, process="another")
    assert claims.take("row") is None
    assert str(claims.holder("row")) == "process 7 on far"
    age(claims, "row", 1, 59)
    assert claims.take("row") is None
    age(claims, "row", 1, 61)
    assert claims.take("row") is not None


def test_unfinished_claim_file_is_valid_until_its_lease_expires(tmp_path):
    claims = Claims(tmp_path, lease=60)
    (tmp_path / "row").mkdir()
    (tmp_path / "row" / "1.json").touch()
    assert claims.take("row") is None
    age(claims, "row", 1, 61)
    assert claims.take("row") is not None


def test_a_process_with_a_reused_pid_is_not_the_holder(tmp_path):
    claims = Claims(tmp_path)
    claims.take("row")
    rewrite(claims, "row", 1, process="an earlier process with this number")
    assert claims.take("row") is not None


def test_a_held_claim_renews_its_lease(tmp_path):
    claims = Claims(tmp_path, beat=0.01)
    with claims.take("row"):
        age(claims, "row", 1, 1000)
        deadline = time.monotonic() + 10
        file = tmp_path / "row" / "1.json"
        while time.time() - file.stat().st_mtime > 500:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_process_with_expired_lease_is_interrupted_and_writes_nothing(tmp_path):
    claims = Claims(tmp_path, beat=0.01)
    claim = claims.take("row")
    calls = []
    claim._interrupt = lambda: calls.append(1)
    with claim:
        (tmp_path / "row" / "2.json").write_text('{"host": "far", "pid": 1, "machine": "x"}')
        deadline = time.monotonic() + 10
        while len(calls) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert claim.lost
    assert "released" not in (tmp_path / "row" / "1.json").read_text()


def _grab(folder, start, won):
    claims = Claims(folder)
    start.wait()
    won.put([name for name in map(str, range(40)) if claims.take(name) is not None])


def test_only_one_of_several_concurrent_processes_gets_a_claim(tmp_path):
    for name in map(str, range(40)):  # claims of processes that died
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.json").write_text('{"released": true}')
    context = multiprocessing.get_context("fork")
    start, won = context.Event(), context.Queue()
    processes = [context.Process(target=_grab, args=(tmp_path, start, won)) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    taken = [name for _ in processes for name in won.get(timeout=60)]
    for process in processes:
        process.join()
    assert sorted(taken, key=int) == [str(n) for n in range(40)]


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="--out"):
        Claims(tmp_path / "file").take("row")
