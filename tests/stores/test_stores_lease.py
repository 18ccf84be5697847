"""A lease keeps a second writer away while the first one is alive."""

import json
import time

import pytest

from taskprism.stores import Lease, StorePath
from taskprism.stores.lease import LEASE_FILE, LeaseHeldError


@pytest.fixture(params=["memory", "file"])
def folder(request, tmp_path):
    url = f"memory://{tmp_path.name}" if request.param == "memory" else f"file://{tmp_path}/run"
    return StorePath(url)


def test_a_second_writer_is_refused_until_the_first_has_finished(folder):
    first = Lease(folder)
    with first.hold():
        with first.hold():  # by the same object
            assert first.is_held
        with pytest.raises(
            LeaseHeldError, match=r"in use by process \d+ on .* since 20.*try again"
        ):
            Lease(folder).hold().__enter__()
        first.check()
    assert not (folder / LEASE_FILE).exists()
    with Lease(folder).hold():
        pass


def test_a_living_writer_renews_and_a_dead_one_is_replaced(folder):
    with Lease(folder, seconds=0.4).hold():
        time.sleep(0.7)
        with pytest.raises(LeaseHeldError):
            Lease(folder, seconds=0.4).hold().__enter__()
    dead = {"token": "dead", "host": "gone", "pid": 1, "since": 0, "renewed": time.time() - 1}
    (folder / LEASE_FILE).write_bytes(json.dumps(dead).encode())
    with pytest.raises(LeaseHeldError, match="process 1 on gone"):
        Lease(folder).hold().__enter__()
    with Lease(folder, seconds=0.4).hold():
        pass


def test_a_writer_that_was_replaced_notices_it(folder):
    lease = Lease(folder)
    with lease.hold():
        other = {"token": "other", "host": "elsewhere", "pid": 2, "renewed": time.time()}
        (folder / LEASE_FILE).write_bytes(json.dumps(other).encode())
        with pytest.raises(LeaseHeldError, match="now written by process 2 on elsewhere"):
            lease.check()
    assert (folder / LEASE_FILE).exists(), "the other's lease is not deleted"
