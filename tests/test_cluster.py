"""Connecting to Ray, without Ray."""

import sys
from types import SimpleNamespace

import pytest

from taskprism.cluster import connect
from taskprism.errors import InputError


class Ray(SimpleNamespace):
    """A replacement for the module that records the arguments with which it is started."""

    def __init__(self, error=None, running=False):
        super().__init__(error=error, running=running, calls=[])

    def is_initialized(self):
        return self.running

    def init(self, address, **settings):
        self.calls.append((address, settings))
        if self.error:
            raise self.error


@pytest.fixture
def pretend(monkeypatch):
    def pretend(**behavior):
        ray = Ray(**behavior)
        monkeypatch.setitem(sys.modules, "ray", ray)
        return ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return pretend


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'taskprism\[ray\]'"):
        connect()


def test_ray_starts_on_this_machine_unless_an_address_is_known(pretend, monkeypatch):
    ray = pretend()
    assert connect() is ray
    assert ray.calls[0][0] == "local" and ray.calls[0][1]["include_dashboard"] is False
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    connect()
    assert ray.calls[1][0] == "10.0.0.1:6379" and "include_dashboard" not in ray.calls[1][1]
    connect("auto")
    assert ray.calls[2][0] == "auto"


def test_a_connection_is_reused(pretend):
    ray = pretend(running=True)
    assert connect("10.0.0.1:6379") is ray and not ray.calls


def test_an_address_without_a_cluster_is_named(pretend):
    pretend(error=ConnectionError("nobody answers\nat all"))
    with pytest.raises(InputError, match=r"'10\.0\.0\.1:1': nobody answers Start one with `ray st"):
        connect("10.0.0.1:1")
