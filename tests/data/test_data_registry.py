"""Protocols by name."""

import dataclasses
from dataclasses import dataclass

import pytest

from taskprism.data import (
    PROTOCOLS,
    Protocol,
    create_protocol,
    folder_config,
    list_protocols,
    register_protocol,
)
from taskprism.data.create import shipped_yamls
from taskprism.errors import DataError, InputError, UnknownNameError
from taskprism.registry import temporary_parts
from taskprism.text_files import parse_yaml


@dataclass(frozen=True, kw_only=True)
class Dummy(Protocol):
    name: str = "dummy"
    tasks: tuple = ()
    input_size: tuple = (4, 4)
    length: int = 3

    def dataset(self, split, transform=None):
        return [self.length]

    def train_transform(self):
        return lambda sample: sample

    evaluation_transform = train_transform

    def fingerprint(self):
        return str(self.length)


@pytest.fixture
def dummy():
    with temporary_parts():
        yield register_protocol(Dummy)


def test_list_is_the_registry(dummy):
    assert set(list_protocols()) == {*PROTOCOLS.names(), *shipped_yamls()}
    assert "dummy" in list_protocols()
    protocol = create_protocol("dummy", root="here", length=5, input_size=[8, 8])
    assert (protocol.length, protocol.root, protocol.input_size) == (5, "here", (8, 8))


def test_protocol_names_are_unique():
    names = list_protocols()
    assert len(set(names)) == len(names)
    assert {"osd_rgbd", "clothing_parts"} <= set(names)
    for entry in PROTOCOLS.entries():
        protocol = entry.part
        assert protocol.name == entry.name
        assert all(f.kw_only for f in dataclasses.fields(protocol))


def test_unknown_name_raises_with_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'osd_rgbd'.*clothing_parts"):
        create_protocol("osd_rgb")


def test_unknown_option_raises_with_the_known_ones(dummy):
    with pytest.raises(InputError, match=r"no option lenght; it has .*length"):
        create_protocol("dummy", lenght=5)
    with pytest.raises(DataError, match=r"unknown key 'lenght'.*input_size"):
        create_protocol("osd_rgbd", root=".", lenght=5)


@pytest.mark.parametrize("name", ["osd_rgbd", "clothing_parts"])
def test_shipped_yamls_need_a_root(name):
    with pytest.raises(DataError, match=f"{name}.*root="):
        create_protocol(name)


def test_joining_a_generator_with_a_folder(dummy, folder):
    joint = create_protocol(["dummy", str(folder.write())], input_size=[4, 4])
    assert joint.name == "dummy+tiny"
    assert len(joint.dataset("train")) == 1 + 3


def test_yaml_of_the_manual_page_is_valid():
    example = folder_config.__doc__.partition("::\n")[2].partition("\nLabel files")[0]
    config = folder_config.FolderConfig.model_validate(parse_yaml(example, "the example"))
    assert set(config.tasks) == {"semseg", "objects", "depth", "normals", "people"}
    assert config.tasks["normals"].encoding.scale == 2 / 255


def test_some_of_the_tasks(folder):
    protocol = create_protocol(str(folder.write()), tasks=["depth", "edge"])
    assert [task.name for task in protocol.tasks] == ["depth", "edge"]
    assert set(protocol.dataset("train")[0]["targets"]) == {"depth", "edge"}
    with pytest.raises(UnknownNameError, match=r"task in tiny 'depht'.*Did you mean 'depth'"):
        create_protocol(str(folder.yaml), tasks=["depht"])


def test_rooms_and_photographs_share_what_both_have(folder):
    joint = create_protocol(
        ["rooms", str(folder.write())], tasks=["depth", "normals"], input_size=[16, 24]
    )
    assert [task.name for task in joint.tasks] == ["depth", "normals"]
    assert joint.splits == ("train", "test")
    with pytest.raises(InputError, match="'semseg' means"):
        create_protocol(["rooms", str(folder.yaml)], input_size=[16, 24])
    with pytest.raises(InputError, match=r"'tiny' has none of the tasks albedo"):
        create_protocol(["rooms", str(folder.yaml)], tasks=["albedo"], input_size=[16, 24])
