"""Rooms as a data set and as a protocol."""

import errno

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from taskprism.data import collate, create_protocol
from taskprism.errors import DataError, InputError, UnknownNameError
from taskprism.rooms import (
    CLASS_NAMES,
    PART_NAMES,
    Rooms,
    RoomsProtocol,
    dataset,
    render_room,
    scene_seed,
)
from taskprism.tasks import SemanticSegmentation, create_task, list_tasks
from taskprism.tasks.semseg import PASCAL_PARTS

SIZE = (24, 32)


def same(a, b):
    assert a["name"] == b["name"]
    assert torch.equal(a["image"], b["image"])
    assert list(a["targets"]) == list(b["targets"])
    for task in a["targets"]:
        assert torch.equal(a["targets"][task], b["targets"][task])
        assert torch.equal(a["valid"][task], b["valid"][task])


def test_samples_match_their_tasks():
    protocol = RoomsProtocol(input_size=SIZE, test_length=8)
    rooms = protocol.dataset("test")
    assert len(rooms) == 8
    lacking = 0
    for sample in rooms:
        assert sample["image"].shape == (3, *SIZE)
        assert sample["image"].dtype == torch.float32
        assert 0 <= sample["image"].min() <= sample["image"].max() <= 1
        lacking += "human_parts" not in sample["targets"]
        assert sample["targets"].keys() == sample["valid"].keys()
        for name, target in sample["targets"].items():
            task, valid = protocol.task(name), sample["valid"][name]
            assert type(target) is task.target_type
            assert target.shape == (task.target_channels, *SIZE)
            assert target.dtype == task.target_dtype
            assert valid.shape == (1, *SIZE)
            assert valid.dtype == torch.bool
            assert task.validate_target(target, valid) is None
            assert valid.all() or name == "albedo"
    assert 0 < lacking < 8


def test_labels_equal_those_of_the_rendered_room():
    sample, room = Rooms(3, seed=5, size=SIZE)[2], render_room(scene_seed(5, 2), SIZE)
    assert np.array_equal(sample["targets"]["semseg"][0], room.semseg)
    assert np.array_equal(sample["targets"]["normals"].permute(1, 2, 0), room.normals)
    assert np.array_equal(sample["valid"]["albedo"][0], room.albedo_valid)
    assert np.allclose(sample["image"].permute(1, 2, 0) * 255, room.image, atol=1e-3)


def test_only_selected_tasks_are_labeled():
    assert set(Rooms(1, size=SIZE, tasks=["edge", "depth"])[0]["targets"]) == {"edge", "depth"}
    with pytest.raises(UnknownNameError, match="Did you mean 'depth'"):
        Rooms(1, tasks=["dept"])
    with pytest.raises(InputError, match="list of task names, got 'depth'"):
        Rooms(1, tasks="depth")
    with pytest.raises(UnknownNameError, match="tasks of Rooms"):
        Rooms(1, tasks=[3])


def test_invalid_index_and_arguments_are_refused():
    rooms = Rooms(2, size=SIZE)
    with pytest.raises(IndexError, match="2 rooms"):
        rooms[2]
    with pytest.raises(InputError, match=r"length.*0"):
        Rooms(0)
    with pytest.raises(InputError, match=r"seed.*-1"):
        Rooms(1, seed=-1)
    with pytest.raises(InputError, match=r"size\[0\] must be an integer from 8"):
        Rooms(1, size=(2, 2))
    with pytest.raises(InputError, match="cache must be the path of a folder, got 5"):
        Rooms(1, cache=5)


def test_size_may_be_a_list_and_numbers_may_be_numpy_integers(tmp_path):
    rooms = Rooms(np.int64(1), seed=np.uint8(3), size=list(SIZE), cache=tmp_path)
    assert (rooms.length, rooms.seed, rooms.size) == (1, 3, SIZE)
    same(rooms[0], Rooms(1, seed=3, size=SIZE)[0])
    file = rooms.cache.path(scene_seed(3, 0))
    before = file.stat().st_mtime_ns
    rooms[0]
    assert file.stat().st_mtime_ns == before  # read from the cache


def test_worker_processes_give_the_same_samples():
    rooms = Rooms(4, size=SIZE, tasks=["semseg", "depth"])
    loader = DataLoader(rooms, batch_size=2, num_workers=2, collate_fn=list)
    loaded = [sample for batch in loader for sample in batch]
    for index, sample in enumerate(loaded):
        same(sample, rooms[index])


def test_batches_mask_missing_labels():
    protocol = RoomsProtocol(input_size=SIZE)
    samples = [protocol.dataset("train")[index] for index in range(6)]
    batch = collate(samples, protocol.tasks)
    for index, sample in enumerate(samples):
        for task in protocol.tasks:
            assert batch.valid[task.name][index].any() == (task.name in sample["targets"])


class TestCache:
    def test_cached_rooms_equal_rendered_rooms(self, tmp_path, monkeypatch):
        plain = Rooms(3, seed=1, size=SIZE)
        kept = Rooms(3, seed=1, size=SIZE, cache=tmp_path)
        expected = [plain[index] for index in range(3)]
        for index in range(3):
            same(kept[index], expected[index])
        monkeypatch.setattr(dataset, "render_room", lambda *_: pytest.fail("drawn twice"))
        for index in range(3):
            same(kept[index], expected[index])

    def test_missing_labels_stay_missing(self, tmp_path):
        rooms = Rooms(8, size=SIZE, cache=tmp_path)
        drawn = [rooms[index]["targets"].keys() for index in range(8)]
        assert [rooms[index]["targets"].keys() for index in range(8)] == drawn
        assert any("human_parts" not in keys for keys in drawn)

    def test_version_and_size_are_in_the_folder(self, tmp_path, monkeypatch):
        first = dataset.RoomCache(tmp_path, SIZE)
        monkeypatch.setattr(dataset, "GENERATOR_VERSION", 999)
        assert dataset.RoomCache(tmp_path, SIZE).folder != first.folder
        assert dataset.RoomCache(tmp_path, (32, 24)).folder.name == "rooms_v999_32x24"

    @pytest.mark.parametrize("damage", [b"", b"not a zip", None, "other size"])
    def test_damaged_files_are_replaced(self, tmp_path, damage):
        rooms = Rooms(1, size=SIZE, cache=tmp_path)
        good = rooms[0]
        path = rooms.cache.path(scene_seed(0, 0))
        content = path.read_bytes()
        if damage == "other size":
            other = Rooms(1, size=(32, 24), cache=tmp_path)
            other[0]
            path.write_bytes(other.cache.path(scene_seed(0, 0)).read_bytes())
        else:
            path.write_bytes(content[: len(content) // 2] if damage is None else damage)
        same(rooms[0], good)
        assert path.read_bytes()[:2] == b"PK"
        same(Rooms(1, size=SIZE, cache=tmp_path)[0], good)

    def test_full_disk_is_reported_and_leaves_no_file(self, tmp_path, monkeypatch):
        def full(*_args, **_arrays):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(dataset.np, "savez_compressed", full)
        rooms = Rooms(1, size=SIZE, cache=tmp_path)
        with pytest.raises(
            DataError, match=r"npz: No space left on device.*render the rooms every"
        ):
            rooms[0]
        assert list(rooms.cache.folder.iterdir()) == []

    def test_folder_that_cannot_be_created_is_refused(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(InputError, match=r"cache must be a folder, but .*file is a file"):
            Rooms(1, size=SIZE, cache=tmp_path / "file")
        with pytest.raises(DataError, match="file"):
            Rooms(1, size=SIZE, cache=tmp_path / "file" / "rooms")[0]


class TestProtocol:
    def test_protocol_has_all_tasks_with_labels(self):
        protocol = create_protocol("rooms", input_size=list(SIZE), train_length=5)
        assert isinstance(protocol, RoomsProtocol)
        names = [task.name for task in protocol.tasks]
        # Inverse depth is disparity in other units, which rooms have already.
        assert sorted(names) == [name for name in list_tasks() if name != "inverse_depth"]
        assert len(protocol.dataset("train")) == 5
        assert protocol.task("semseg").class_names == CLASS_NAMES
        assert protocol.task("human_parts").class_names == PASCAL_PARTS == PART_NAMES

    def test_splits_share_no_room(self):
        seeds = set()
        count = 0
        for seed in range(3):
            protocol = RoomsProtocol(seed=seed, train_length=20, val_length=20, test_length=20)
            for split in protocol.splits:
                rooms = protocol.dataset(split)
                seeds |= {scene_seed(rooms.seed, index) for index in range(len(rooms))}
                count += len(rooms)
        assert len(seeds) == count

    def test_transforms_return_the_input_size(self):
        protocol = RoomsProtocol(input_size=SIZE)
        sample = protocol.dataset("test")[0]
        same(protocol.evaluation_transform()(sample), sample)
        torch.manual_seed(1)
        changed = [protocol.train_transform()(sample) for _ in range(8)]
        assert all(item["image"].shape == (3, *SIZE) for item in changed)
        flipped = [
            not torch.equal(item["targets"]["depth"], sample["targets"]["depth"])
            for item in changed
        ]
        assert 0 < sum(flipped) < 8

    def test_root_is_the_cache_folder(self, tmp_path):
        protocol = create_protocol("rooms", root=tmp_path, input_size=list(SIZE))
        protocol.dataset("val")[0]
        assert len(list(tmp_path.glob("rooms_v*/*.npz"))) == 1

    def test_fingerprint_differs_for_other_rooms(self):
        one = RoomsProtocol()
        assert one.fingerprint() == RoomsProtocol().fingerprint()
        others = [
            RoomsProtocol(seed=1),
            RoomsProtocol(train_length=1),
            RoomsProtocol(input_size=SIZE),
        ]
        assert len({one.fingerprint(), *(other.fingerprint() for other in others)}) == 4

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            *(
                ("input_size", value)
                for value in ("32x48", [32], [32, 48, 3], None, 32, [1e6, 1e6], [10**6, 10**6])
            ),
            *(("input_size", value) for value in ([0, 32], [-32, 48], [32, True], {}, [[32], 48])),
            *(
                (f"{split}_length", value)
                for split in ("train", "val", "test")
                for value in (1.5, "8", None, 2**63, 0, -1, True, float("nan"), [8])
            ),
            *(("seed", value) for value in (1.5, "8", None, 2**63, -1, True, float("inf"), [8])),
        ],
    )
    def test_invalid_options_are_refused_at_creation(self, option, value):
        with pytest.raises(InputError, match=option):
            create_protocol("rooms", **{option: value})
        with pytest.raises(InputError, match=rf"{option}.*got"):
            RoomsProtocol(**{option: value})
        with pytest.raises(InputError, match=option):
            create_protocol(RoomsProtocol(), **{option: value})

    def test_options_at_their_bounds_are_accepted(self):
        protocol = RoomsProtocol(
            input_size=[8, 4096], train_length=1, test_length=10_000_000, seed=2**63 - 1
        )
        assert protocol.input_size == (8, 4096)
        assert len(protocol.dataset("test")) == 10_000_000

    def test_unknown_options_are_refused(self):
        with pytest.raises(InputError, match=r"no option lenght.*train_length"):
            create_protocol("rooms", lenght=5)

    def test_tasks_without_labels_are_refused_at_creation(self):
        with pytest.raises(UnknownNameError, match="'inverse_depth'"):
            RoomsProtocol(tasks=(create_task("inverse_depth"),))
        with pytest.raises(InputError, match="'depth' are DepthMaps, but the task expects Cl"):
            RoomsProtocol(tasks=(SemanticSegmentation(name="depth", channels=14),))
        with pytest.raises(InputError, match="have 14 classes, but the task has 3 channels"):
            RoomsProtocol(tasks=(SemanticSegmentation(channels=3),))
        with pytest.raises(InputError, match="Task objects"):
            RoomsProtocol(tasks=("depth",))
        with pytest.raises(UnknownNameError, match="'colour'"):
            create_protocol("rooms", tasks=["colour"])

    def test_root_that_is_not_a_folder_is_refused_at_creation(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match=r"root must be a folder, but .*file is a file"):
            create_protocol("rooms", root=tmp_path / "file")
        with pytest.raises(InputError, match="root must be the path of a folder, got 5"):
            RoomsProtocol(root=5)

    def test_unknown_split_is_refused(self):
        with pytest.raises(InputError, match="train, val, test"):
            RoomsProtocol().dataset("trainval")
