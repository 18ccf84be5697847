"""A data set in Python, defined outside the package."""

import json
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from taskprism.data import (
    Protocol,
    TransformedDataset,
    create_protocol,
    make_sample,
    register_protocol,
)
from taskprism.data.shards import pack
from taskprism.errors import InputError, UnknownNameError
from taskprism.registry import temporary_parts
from taskprism.tasks import Depth, SemanticSegmentation

SOURCE = """
    import numpy as np
    from taskprism.data import Protocol, TransformedDataset, make_sample
    from taskprism.tasks import Depth

    class Slopes(Protocol):
        name = "slopes"
        tasks = (Depth(),)
        input_size = (16, 24)

        def dataset(self, split, transform=None):
            samples = []
            for number in range(4):
                image = np.full((32, 48, 3), 50 * number, dtype=np.uint8)
                label = np.full((32, 48), 1.5 + number, dtype=np.float32)
                samples.append(make_sample(f"{split}{number}", image, {"depth": label}, self.tasks))
            return TransformedDataset(samples, transform)
"""


@pytest.fixture
def slopes(tmp_path, monkeypatch):
    (tmp_path / "slopes_data.py").write_text(textwrap.dedent(SOURCE))
    monkeypatch.syspath_prepend(tmp_path)
    with temporary_parts():
        yield "slopes_data:Slopes"
    sys.modules.pop("slopes_data", None)


def test_minimal_protocol(slopes):
    protocol = create_protocol(slopes)
    assert (protocol.name, protocol.input_size) == ("slopes", (16, 24))
    assert [task.name for task in protocol.tasks] == ["depth"]
    data = protocol.dataset("train", protocol.train_transform())
    assert len(data) == 4
    assert data[1]["image"].shape == (3, 16, 24)
    assert data[1]["targets"]["depth"].unique().tolist() == [2.5]
    scored = protocol.dataset("test", protocol.evaluation_transform())[0]
    assert scored["name"] == "test0"
    assert scored["valid"]["depth"].all()


def test_class_instance_name_and_path_to_the_class_are_the_same(slopes):
    by_path = create_protocol(slopes)
    kind = type(by_path)
    register_protocol(kind)
    assert create_protocol(kind) == create_protocol("slopes") == by_path
    assert create_protocol(by_path) is by_path
    assert create_protocol("slopes", input_size=[8, 8]).input_size == (8, 8)
    assert create_protocol(by_path, input_size=[8, 8]).input_size == (8, 8)


def test_own_protocol_joins_others(slopes, folder):
    joint = create_protocol([slopes, str(folder.write())], tasks=["depth"], input_size=[16, 24])
    assert joint.name == "slopes+tiny"
    assert len(joint.dataset("train")) == 4 + 3
    instance = create_protocol(slopes)
    assert create_protocol([instance, "rooms"], tasks=["depth"], input_size=(16, 24)).parts[0] == (
        instance
    )


def test_untrusted_name_imports_nothing(slopes):
    with pytest.raises(InputError, match="Loading a file never imports code"):
        create_protocol(slopes, trusted=False)
    assert "slopes_data" not in sys.modules
    create_protocol(slopes)
    assert create_protocol(slopes, trusted=False).name == "slopes"
    with pytest.raises(InputError, match=r"Expected a protocol.*'os:system'"):
        create_protocol("os:system")


def test_own_protocol_can_be_packed_and_read_again(slopes, tmp_path):
    protocol = create_protocol(slopes)
    pack(protocol, tmp_path / "packed")
    assert json.loads((tmp_path / "packed/index.json").read_text())["part"] == slopes
    packed = create_protocol(tmp_path / "packed")
    assert (packed.name, packed.tasks) == (protocol.name, protocol.tasks)
    first, again = protocol.dataset("train")[2], packed.dataset("train")[2]
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["targets"]["depth"], again["targets"]["depth"])


def test_fingerprint_follows_options_and_number_of_samples():
    @dataclass(frozen=True, kw_only=True)
    class Counted(Protocol):
        name: str = "counted"
        tasks: tuple = (Depth(),)
        input_size: tuple = (4, 4)
        length: int = 2

        def dataset(self, split):
            return [split] * self.length

    first = Counted()
    assert first.fingerprint() == Counted().fingerprint()
    assert first.fingerprint() != Counted(length=3).fingerprint()
    assert create_protocol(Counted, length=3) == Counted(length=3)
    # A method without the parameter transform gets it.
    data = first.dataset("test", str.upper)
    assert isinstance(data, TransformedDataset)
    assert data[0] == "TEST"


def test_invalid_protocols_say_what_is_wrong():
    class Nameless(Protocol):
        def dataset(self, split):
            return []

    with pytest.raises(InputError, match="Nameless has no name"):
        Nameless()

    class Sizeless(Nameless):
        name = "sizeless"

    with pytest.raises(InputError, match=r"input_size of protocol 'sizeless' is \(0, 0\)"):
        Sizeless()

    class Untyped(Sizeless):
        tasks = ("depth",)
        input_size = (4, 4)

    with pytest.raises(InputError, match=r"must be Task objects.*'depth'"):
        Untyped()
    with pytest.raises(InputError, match=r"Expected a protocol"):
        create_protocol(Depth)
    with pytest.raises(InputError, match="is an instance, which has its own root"):
        create_protocol(create_protocol("rooms"), root="here")


def test_sample_from_arrays():
    tasks = [SemanticSegmentation(channels=3), Depth()]
    labels = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    depth = torch.tensor([[1.0, float("nan")], [2.0, 3.0]])
    valid = {"depth": np.array([[True, True], [False, True]])}
    image = torch.rand(3, 2, 2)
    sample = make_sample("a", image, {"semseg": labels, "depth": depth}, tasks, valid)
    assert torch.equal(sample["image"], image)
    assert sample["targets"]["semseg"].tolist() == [[[0, 1], [2, 0]]]
    assert sample["valid"]["semseg"].tolist() == [[[True, True], [True, False]]]
    assert sample["targets"]["depth"].tolist() == [[[1, 0], [0, 3]]]
    assert sample["valid"]["depth"].tolist() == [[[True, False], [False, True]]]
    with pytest.raises(UnknownNameError, match="Did you mean 'depth'"):
        make_sample("a", image, {"dept": depth}, tasks)
    with pytest.raises(InputError, match=r"label 'depth' of 'a' has the size \(1, 2\)"):
        make_sample("a", image, {"depth": depth[:1]}, tasks)
    with pytest.raises(InputError, match="image of 'a' has shape"):
        make_sample("a", depth, {}, tasks)
    with pytest.raises(InputError, match="label 'semseg' of 'a'"):
        make_sample("a", image, {"semseg": labels + 3}, tasks)
