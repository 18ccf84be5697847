"""ONNX files: equal to the network for every model, and usable without PyTorch."""

from __future__ import annotations

import itertools
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from tests import commands
from tests.models.base import BUILT_IN, SIZE, small_model
from timm.layers.padding import get_same_padding

from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.export import (
    ExportReport,
    OnnxModel,
    OnnxPredictor,
    display_of,
    export_onnx,
    export_torch,
    onnx_file,
    quantize_onnx,
)
from taskprism.layers import resize
from taskprism.models import create_model
from taskprism.models.inference import predict
from taskprism.tasks import create_task, list_tasks

pytestmark = pytest.mark.slow  # each export takes seconds

TASKS = [
    create_task("semseg", class_names=("floor", "wall", "thing")),
    create_task("depth"),
    create_task("normals"),
    create_task("edge"),
]


def network(tasks=TASKS):
    torch.manual_seed(0)
    model = create_model("multi_task", tasks, backbone="test_resnet", neck="none")
    return model.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """One network as a file with raw outputs for one size, and with decoded ones for any."""
    folder = tmp_path_factory.mktemp("onnx")
    model = network()
    export_onnx(model, folder / "raw.onnx", (48, 64), dynamic_size=False)
    report = export_onnx(
        model, folder / "decoded.onnx", (48, 64), decode=True, license_terms="own photographs"
    )
    return folder, model, report


#: Has a fixed size; tracing the others for any size takes up to a minute each.
OFTEN = ("ctal",)
MODELS = [
    pytest.param(name, marks=() if name in OFTEN else pytest.mark.nightly) for name in BUILT_IN
]


@pytest.mark.parametrize("name", MODELS)
def test_the_file_of_each_model_gives_the_outputs_of_the_network_at_two_sizes(tmp_path, name):
    model = small_model(name)
    randomize_statistics(model)
    was_training = model.training
    report = export_onnx(model, tmp_path / "model.onnx", SIZE)
    assert model.training == was_training
    assert report.largest < 1e-4
    assert {shape[0] for shape in report.differences} == {1, 3}
    sizes = {shape[1:] for shape in report.differences}
    if model.any_input_size:
        assert len(sizes) == 2
    else:
        other = small_model(name, size=(96, 64))
        assert export_onnx(other, tmp_path / "other.onnx", (96, 64)).largest < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = model.eval()(model.normalize(images))
    for task in model.tasks:
        (actual,) = session.run([task.name], {"images": images.numpy()})
        error = np.abs(expected[task.name].numpy() - actual).max()
        assert error <= 1e-4 * expected[task.name].abs().max()


def test_padding_in_integers_is_that_of_timm():
    for case in itertools.product(range(1, 40), (1, 2, 3, 5, 7), (1, 2, 3, 4), (1, 2, 3)):
        assert onnx_file.same_padding(*case) == get_same_padding(*case), case


def randomize_statistics(model):
    """Running statistics that are not 0 and 1, so that a file without them would differ."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            shape = module.running_mean.shape
            module.running_mean.copy_(torch.rand(shape, generator=generator) - 0.5)
            module.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)


def test_the_report_names_operators_sizes_and_differences(exported):
    _, _, report = exported
    assert report.operators["Conv"] > 5
    assert report.size_rule == "any"
    text = "\n".join(report.lines())
    for part in ("operator set 18", "Conv ", "1 x 3 x 48 x 64", "3 x 3 x 48 x 64", "semseg"):
        assert part in text
    model = onnx.load(str(report.path))
    assert [output.name for output in model.graph.output] == [task.name for task in TASKS]
    assert {e.key: e.value for e in model.metadata_props}["taskprism.license"] == "own photographs"


def test_a_decoded_file_predicts_without_torch_what_the_network_predicts(exported):
    folder, model, _ = exported
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    predictor = OnnxPredictor(folder / "decoded.onnx")
    found = predictor.predict(pixels, native=True)
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    for name, expected in predict(model, image).items():
        values = expected.permute(1, 2, 0).numpy()
        values = values[..., 0] if values.shape[-1] == 1 else values
        np.testing.assert_allclose(found[name], values, atol=1e-5)
    resized = predictor.predict(pixels)
    assert {name: values.shape[:2] for name, values in resized.items()} == dict.fromkeys(
        found, (64, 80)
    )
    lengths = np.linalg.norm(resized["normals"], axis=-1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
    assert resized["semseg"].dtype.kind == "i"


def test_colors_of_the_file_are_those_of_the_tasks(exported):
    folder, model, _ = exported
    predictor = OnnxPredictor(folder / "decoded.onnx")
    image = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(1))
    predictions = predict(model, image)
    for output, task in zip(predictor.outputs, model.tasks, strict=True):
        values = predictions[task.name].permute(1, 2, 0).numpy()
        values = values[..., 0] if values.shape[-1] == 1 else values
        difference = output.color(values).astype(int) - task.color(predictions[task.name])
        assert np.abs(difference).max() <= 3  # a table of 256 colors
    assert predictor.outputs[0].class_names == ["floor", "wall", "thing"]


@pytest.mark.parametrize("kind", list_tasks())
def test_every_task_describes_its_colors_as_plain_values(kind):
    try:
        task = create_task(kind)
    except InputError:  # it needs a number of classes
        task = create_task(kind, 5)
    described = json.loads(json.dumps(display_of(task)))
    assert described["kind"] in ("classes", "range", "unit_range", "directions", "rgb")
    if described["kind"] == "classes":
        assert len(described["names"]) == len(described["colors"])


def test_predicting_with_a_file_imports_no_torch(exported, tmp_path):
    folder, _, _ = exported
    Image.fromarray(np.full((40, 56, 3), 90, np.uint8)).save(tmp_path / "a.png")
    code = (
        "import sys; from taskprism.cli import main; "
        f"status = main(['predict', r'{folder / 'decoded.onnx'}', r'{tmp_path / 'a.png'}', "
        f"'--out', r'{tmp_path / 'out'}', '--raw']); "
        "print(status, 'torch' in sys.modules)"
    )
    done = commands.run_python(code, fresh=True)
    assert done.output.split()[-2:] == ["0", "False"], done.errors
    for task in TASKS:
        assert Image.open(tmp_path / "out" / task.name / "a.png").size == (56, 40)
        assert np.load(tmp_path / "out" / task.name / "a.npy").shape[:2] == (40, 56)
    assert Image.open(tmp_path / "out/panels/a.png").size == (56 * 5, 40)
    assert json.loads((tmp_path / "out/classes.json").read_text())["semseg"][2] == "thing"


def test_a_raw_file_is_a_model_that_can_be_scored(exported):
    folder, model, _ = exported
    loaded = OnnxModel(folder / "raw.onnx")
    assert loaded.tasks == model.tasks
    image = torch.rand(3, 72, 96, generator=torch.Generator().manual_seed(2))
    for name, expected in predict(model, image, (48, 64)).items():
        assert torch.allclose(predict(loaded, image, (48, 64))[name], expected, atol=1e-4)


def test_8_bit_integers_stay_close_and_keep_what_the_file_says(exported, tmp_path):
    folder, model, _ = exported
    images = torch.rand(4, 1, 3, 48, 64, generator=torch.Generator().manual_seed(4))
    target = tmp_path / "int8.onnx"
    assert quantize_onnx(folder / "raw.onnx", target, (image.numpy() for image in images)) == 4
    nodes = {node.op_type for node in onnx.load(str(target)).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= nodes
    assert target.stat().st_size < 0.6 * (folder / "raw.onnx").stat().st_size
    quantized = OnnxModel(target)
    with torch.no_grad():
        expected, actual = model(model.normalize(images[0])), quantized(images[0])
    for name, values in expected.items():
        spread = values.std()
        assert (values - actual[name]).abs().mean() < 0.25 * spread
    with pytest.raises(InputError, match="at least one calibration image"):
        quantize_onnx(folder / "raw.onnx", tmp_path / "none.onnx", [])
    assert not (tmp_path / "none.onnx").exists()


def test_one_graph_per_task_computes_only_that_task(tmp_path):
    model = small_model("astmt").eval()
    everything = export_onnx(model, tmp_path / "all.onnx", SIZE, dynamic_size=False)
    one = export_onnx(model, tmp_path / "depth.onnx", SIZE, tasks=["depth"], dynamic_size=False)
    assert list(one.differences[1, *SIZE]) == ["depth"]
    assert sum(one.operators.values()) < 0.8 * sum(everything.operators.values())


def test_a_program_of_torch_export_equals_the_network(tmp_path):
    model = network()
    export_torch(model, tmp_path / "model.pt2", (32, 48), decode=True)
    files = {"taskprism.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=files).module()
    assert json.loads(files["taskprism.json"])["taskprism.outputs"] == "decoded"
    images = torch.rand(3, 3, 32, 48)
    with torch.no_grad():
        outputs = model(model.normalize(images))
    for task, actual in zip(model.tasks, program(images), strict=True):
        assert torch.allclose(task.decode(outputs[task.name]).float(), actual.float(), atol=1e-5)


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    model = network([create_task("depth")])
    monkeypatch.setattr(onnx_file, "difference", lambda expected, actual: 0.5)
    with pytest.raises(InputError, match=r"1 x 32 x 48 .* differ by .*depth"):
        export_onnx(model, tmp_path / "model.onnx", (32, 48), dynamic_size=False)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_keeps_the_file_that_was_there(tmp_path, monkeypatch):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"good")
    model = network()

    def fail(*args, **kwargs):
        raise RuntimeError("UnsupportedOperatorError: aten::strange")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(InputError, match="aten::strange"):
        export_onnx(model, target, (32, 48))
    assert target.read_bytes() == b"good"


def test_wrong_requests_and_files_are_named(exported, tmp_path):
    folder, model, _ = exported
    with pytest.raises(UnknownNameError, match="dept"):
        export_onnx(model, tmp_path / "a.onnx", (32, 48), tasks=["dept"])
    with pytest.raises(InputError, match="64 x 96 pixels only"):
        export_onnx(small_model("ctal"), tmp_path / "a.onnx", SIZE, dynamic_size=True)
    with pytest.raises(InputError, match="opset"):
        export_onnx(model, tmp_path / "a.onnx", (32, 48), opset=11)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    for reader in (OnnxPredictor, OnnxModel):
        with pytest.raises(CheckpointError, match=r"broken\.onnx"):
            reader(tmp_path / "broken.onnx")
    with pytest.raises(InputError, match="decoded"):
        OnnxPredictor(folder / "raw.onnx")
    with pytest.raises(InputError, match="--raw"):
        OnnxModel(folder / "decoded.onnx")
    with pytest.raises(UnknownNameError, match="depht"):
        OnnxPredictor(folder / "decoded.onnx").predict(np.zeros((40, 40, 3), np.uint8), ["depht"])
    with pytest.raises(InputError, match=r"\(40, 40\)"):
        OnnxPredictor(folder / "decoded.onnx").predict(np.zeros((40, 40), np.uint8))


def test_largest_of_a_report_is_over_all_tasks_and_sizes(tmp_path):
    differences = {(1, 8, 8): {"a": 1e-7, "b": 3e-6}, (3, 8, 8): {"a": 2e-6}}
    assert ExportReport(tmp_path, 18, {}, "any", differences).largest == 3e-6


def test_resizing_without_torch_equals_the_resizing_of_the_network():
    from taskprism.export.runtime import _resize

    values = np.random.default_rng(0).random((37, 51, 3), dtype=np.float32)
    image = torch.from_numpy(values).permute(2, 0, 1)[None]
    for size in ((20, 30), (60, 90)):
        expected = resize(image, size, antialias=True)[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(_resize(values, size), expected, atol=1e-5)
