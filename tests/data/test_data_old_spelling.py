"""Files that were written with British keys are still read."""

import json
import tarfile

import pytest
import torch

from taskprism.data import create_protocol
from taskprism.data.shards import pack


@pytest.fixture
def british(folder):
    """A data YAML with the keys licence and colour."""
    folder.config["licence"] = folder.config.pop("license")
    folder.config["augmentation"] = {"colour": True}
    return folder.write()


def test_data_yaml(folder, british):
    old = create_protocol(british)
    assert old.license == "none"
    assert old.config.augmentation.color
    folder.config["license"] = folder.config.pop("licence")
    folder.config["augmentation"] = {"color": True}
    new = create_protocol(folder.write())
    assert new.config == old.config
    assert new.fingerprint() == old.fingerprint()
    assert create_protocol(british, license="mine").license == "mine"


def test_fingerprint_hashes_the_keys_of_earlier_versions(folder):
    config = create_protocol(folder.write()).config
    hashed = json.loads(config.model_dump_json(by_alias=True))
    assert {"licence", "colour"} <= {*hashed, *hashed["augmentation"]}
    assert not {"license", "color"} & {*hashed, *hashed["augmentation"]}


def test_shards(british, tmp_path):
    protocol = create_protocol(british)
    out = tmp_path / "out"
    pack(protocol, out)
    index = json.loads((out / "index.json").read_text())
    index["licence"] = index.pop("license")
    index["folder"]["licence"] = index["folder"].pop("license")
    augmentation = index["folder"]["augmentation"]
    augmentation["colour"] = augmentation.pop("color")
    stored = index["splits"]["train"][0]["samples"][0]["members"]["image"]
    assert stored["storage"] == "colors"
    stored["storage"] = "colours"
    (out / "index.json").write_text(json.dumps(index))
    packed = create_protocol(out)
    assert packed.license == "none"
    first, again = protocol.dataset("train")[0], packed.dataset("train")[0]
    assert torch.equal(first["image"], again["image"])
    with tarfile.open(out / "train-000000.tar") as tar:
        assert "00000000.image.png" in tar.getnames()
