from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import taskprism
from reference import released_affinity, released_networks
from reference.released_layers import Released
from taskprism.cli import main
from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.interop import find_source, import_official, list_sources, register_source
from taskprism.models.inference import predict
from taskprism.registry import temporary_parts

# PyTorch warns for every tensor that an import without values copies nothing.
pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta")
MTL, EMA = "multi_task_learning_pytorch", "ema_net"
TASKS = {"semseg": 5, "depth": 1}


def multi_task(heads: str = "decoders", **tasks: int) -> dict[str, Tensor]:
    released = Released(seed=2)
    with torch.no_grad():
        released_networks.multi_task(released, torch.zeros(1, 3, 32, 32), tasks or TASKS, heads)
    return dict(released)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "best_model.pth.tar"
    torch.save({f"module.{name}": tensor for name, tensor in multi_task().items()}, path)
    return path


def shapes_only(*arguments: Any, **options: Any) -> Any:
    """Import without values, which is faster."""
    with torch.device("meta"):
        return import_official(*arguments, **options)


def changed(file: Path, folder: Path, **changes: Tensor | None) -> Path:
    """The same file with tensors added, replaced or, for None, removed."""
    state = torch.load(file, weights_only=True)
    for name, value in changes.items():
        name = "module." + name.replace("__", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    torch.save(state, folder / "changed.pth")
    return folder / "changed.pth"


def same(one: Any, other: Any) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert list(a) == list(b)
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def test_wrappers_of_the_training_code_are_removed(file: Path, tmp_path: Path, capsys) -> None:
    """Data parallelism, a dictionary with scores as NumPy numbers, a wrapper class."""
    model = taskprism.import_official(file, MTL, "multi_task", TASKS)
    state = torch.load(file, weights_only=True)
    scores = {"semseg": {"mIoU": np.float64(35.1)}, "improved": np.bool_(True)}
    whole = {"optimizer": {"state": {}}, "model": state, "epoch": 100, "best_result": scores}
    torch.save(whole, tmp_path / "checkpoint.pth.tar")
    same(model, import_official(tmp_path / "checkpoint.pth.tar", MTL, "multi_task", TASKS))
    wrapped = {f"model.{name}": tensor for name, tensor in multi_task("heads").items()}
    wrapped["criterion.loss_weighting.weights.depth"] = torch.zeros(1)
    torch.save(wrapped, tmp_path / "ema.pth")
    capsys.readouterr()
    same(model, import_official(tmp_path / "ema.pth", EMA, "multi_task", TASKS))
    assert (
        "dropped 1 tensors (criterion.loss_weighting.weights.depth, ...): weights of the loss"
        in (capsys.readouterr().err)
    )


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model": Evil()}))
    torch.save({"model": {}, "best_result": Evil()}, tmp_path / "evil.pth.tar")
    for name in ("evil.pth", "evil.pth.tar"):
        with pytest.raises(CheckpointError, match="Cannot read"):
            import_official(tmp_path / name, MTL, "multi_task", TASKS)
    assert not (tmp_path / "ran").exists()


def test_any_task_order_and_image_statistics_of_the_source(file: Path, tmp_path: Path) -> None:
    first = import_official(file, MTL, "multi_task", TASKS)
    second = import_official(file, MTL, "multi_task", {"depth": 1, "semseg": 5})
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        a, b = first(images), second(images)
    assert all(torch.equal(a[task], b[task]) for task in TASKS)
    torch.testing.assert_close(first.image_mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    first.save_pretrained(tmp_path)
    again = taskprism.load(tmp_path)
    same(first, again)
    assert torch.equal(again.image_std, first.image_std)


def test_images_of_ema_net_are_not_normalized(tmp_path: Path) -> None:
    torch.save(multi_task("heads"), tmp_path / "file.pth")
    model = import_official(tmp_path / "file.pth", EMA, "multi_task", TASKS)
    image = torch.rand(3, 64, 64)
    assert torch.equal(model.normalize(image), image)
    with torch.no_grad():
        expected = model(image[None])["depth"]
    decoded = model.tasks[1].decode(expected)[0]
    torch.testing.assert_close(predict(model, image)["depth"], decoded)
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(taskprism.load(tmp_path / "saved").normalize(image), image)


def test_fine_tuning_keeps_the_momentum_of_the_trunk(file: Path) -> None:
    model = import_official(file, MTL, "multi_task", TASKS)
    momenta = {
        name.split(".")[0]: module.momentum
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    }
    assert momenta == {"backbone": 0.01, "heads": 0.1}


def test_batch_counters_may_be_missing(file: Path, tmp_path: Path, capsys) -> None:
    state = torch.load(file, weights_only=True)
    old = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    torch.save(old, tmp_path / "old.pth")
    same(
        import_official(file, MTL, "multi_task", TASKS),
        import_official(tmp_path / "old.pth", MTL, "multi_task", TASKS),
    )
    assert f"{len(state) - len(old)} batch counters are not in the file" in capsys.readouterr().err


def test_missing_extra_and_misshapen_tensors_are_refused(file: Path, tmp_path: Path) -> None:
    lacking = changed(file, tmp_path, backbone__stage2__0__branches__0__0__conv1__weight=None)
    with pytest.raises(CheckpointError, match=r"backbone in this file.*none of hrnet_w18_small_v2"):
        shapes_only(lacking, MTL, "multi_task", TASKS)
    lacking = changed(file, tmp_path, decoders__depth__last_layer__3__bias=None)
    with pytest.raises(CheckpointError, match=r"1 tensors not in the file: heads.depth.predict.b"):
        shapes_only(lacking, MTL, "multi_task", TASKS)
    surplus = changed(file, tmp_path, extra__weight=torch.zeros(1))
    with pytest.raises(CheckpointError, match=r"1 tensors in the file, but.*extra.weight"):
        shapes_only(surplus, MTL, "multi_task", TASKS)
    with pytest.raises(CheckpointError, match=r"weight: \(5, 270, 1, 1\) in the file, \(4,"):
        shapes_only(file, MTL, "multi_task", {"semseg": 4, "depth": 1})


def test_tasks_must_match_the_file(file: Path) -> None:
    with pytest.raises(InputError, match="layers of the tasks depth, semseg, but you named depth"):
        shapes_only(file, MTL, "multi_task", ["depth"])
    with pytest.raises(InputError, match=r"depth, semseg, but you named semseg, sal, depth"):
        shapes_only(file, MTL, "multi_task", {**TASKS, "saliency": 1})
    with pytest.raises(UnknownNameError, match="kind of task in 'ema_net' 'edge'"):
        shapes_only(file, EMA, "multi_task", ["edge"])


def test_layout_of_another_model_is_recognized(file: Path, tmp_path: Path) -> None:
    advice = "Its names are those of model='multi_task' of source='multi_task_learning_pytorch'"
    for source, model in ((EMA, "multi_task"), (MTL, "mti_net"), (MTL, "pad_net")):
        with pytest.raises(CheckpointError, match=advice):
            shapes_only(file, source, model, TASKS)
    released = Released(seed=2)
    with torch.no_grad():
        released_affinity.pap_net(released, torch.zeros(1, 3, 32, 32), TASKS)
    torch.save(dict(released), tmp_path / "pap.pth")
    with pytest.raises(CheckpointError, match="those of model='pap_net' of source='ema_net'"):
        shapes_only(tmp_path / "pap.pth", EMA, "ctal", TASKS, size=(32, 32))


def test_sizes_of_ctal_networks(tmp_path: Path) -> None:
    released = Released(seed=2)
    with torch.no_grad():
        released_affinity.ctal(released, torch.zeros(1, 3, 32, 64), TASKS)
    torch.save(dict(released), tmp_path / "ctal.pth")
    with pytest.raises(InputError, match=r"with 128 positions.*size=\(height, width\)"):
        import_official(tmp_path / "ctal.pth", EMA, "ctal", TASKS)
    with pytest.raises(InputError, match=r"8 x 8 positions.*trained with 128"):
        import_official(tmp_path / "ctal.pth", EMA, "ctal", TASKS, size=(32, 32))
    model = import_official(tmp_path / "ctal.pth", EMA, "ctal", TASKS, size=(32, 64))
    decoded = predict(model, torch.rand(3, 50, 70))  # stretched to the network's own size
    assert decoded["depth"].shape == (1, 50, 70)


def test_unknown_names_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"source 'ema'.*'ema_net'"):
        import_official(file, "ema", "multi_task", TASKS)
    with pytest.raises(UnknownNameError, match=r"model of 'astmt' 'mti_net'\. Known: astmt"):
        import_official(file, "astmt", "mti_net", TASKS)
    with pytest.raises(CheckpointError, match="There is no file 'nothing"):
        import_official("nothing.pth", MTL, "multi_task", TASKS)
    assert {MTL, EMA, "astmt", "invpt"} <= set(list_sources())


def test_source_registered_outside_the_package(file: Path) -> None:
    class Other(find_source(MTL)):
        name = "other_source"

    expected = import_official(file, MTL, "multi_task", TASKS)
    same(expected, import_official(file, Other, "multi_task", TASKS))
    with temporary_parts():
        register_source(Other)
        same(expected, import_official(file, "other_source", "multi_task", TASKS))
        assert "other_source" in list_sources()


def test_import_command(file: Path, tmp_path: Path, capsys) -> None:
    words = ["import", str(file), "--source", MTL, "--model", "multi_task"]
    out = tmp_path / "model"
    tasks = ["--tasks", "semseg=5", "depth=1", "--out", str(out)]
    assert main([*words, *tasks]) == 0
    same(taskprism.load(out), import_official(file, MTL, "multi_task", TASKS))
    assert main([*words, "--tasks", "semseg=4", "depth", "--out", str(out)]) == 2
    assert "(5, 270, 1, 1) in the file, (4, 270, 1, 1) here" in capsys.readouterr().err
