"""``taskprism predict`` on videos and webcams, of a network and of an exported file."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import commands
from taskprism.cli import main
from taskprism.cli.predict import _Frames
from taskprism.errors import CheckpointError, DataError, InputError
from taskprism.export import display_of
from taskprism.export.session import (
    DISPLAY_KEY,
    INPUT_SIZE_KEY,
    NORMALIZATION_KEY,
    OUTPUTS_KEY,
    SIZE_STEP_KEY,
)
from taskprism.models import create_model
from taskprism.models.inference import Inference
from taskprism.tasks import create_task
from taskprism.video import Camera, VideoFile, VideoLook, convert, count_frames, join_parts
from taskprism.video.writing import VideoPart

TASKS = [create_task("semseg", class_names=("floor", "wall", "thing")), create_task("depth")]
RATE = 24000 / 1001
SIZE = (48, 64)


def picture(index: int) -> np.ndarray:
    """RGB gradient with a white bar that moves by 4 pixels per frame."""
    height, width = SIZE
    pixels = np.linspace(30, 200, width)[None, :, None] * np.ones((height, 1, 3))
    pixels[..., 1] *= 0.5
    pixels[:, 4 * index : 4 * index + 4] = 255
    return pixels.round().astype(np.uint8)


def write_video(file: Path, count: int = 12, codec: str = "mp4v") -> Path:
    code = cv2.VideoWriter_fourcc(*codec)
    writer = cv2.VideoWriter(str(file), cv2.CAP_FFMPEG, code, RATE, SIZE[::-1])
    for index in range(count):
        writer.write(np.ascontiguousarray(picture(index)[..., ::-1]))
    writer.release()
    return file


def read_video(file: Path) -> tuple[np.ndarray, float]:
    """Frames ``(N, H, W, 3)`` RGB and their rate."""
    capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return np.stack(frames), capture.get(cv2.CAP_PROP_FPS)


def bar(frame: np.ndarray) -> int:
    """Number of the frame, from the place of its bar."""
    return int(frame[:, :, 1].mean(axis=0).reshape(-1, 4).mean(axis=1)[:12].argmax())


def change_box(content: bytes, kind: bytes, change) -> bytes:
    """MP4 boxes with the content of those of one kind changed."""
    result, position = b"", 0
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        name, inside = content[position + 4 : position + 8], content[position + 8 :][: length - 8]
        if name == kind:
            inside = change(inside)
        elif name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            inside = change_box(inside, kind, change)
        result += struct.pack(">I", len(inside) + 8) + name + inside
        position += length
    return result


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    model = create_model("multi_task", TASKS, backbone="test_resnet", neck="none")
    model.input_size = SIZE
    model.save_pretrained(folder / "model")
    write_onnx(folder / "model.onnx")
    return folder


def write_onnx(file: Path) -> None:
    """A file as ``taskprism export`` writes it: classes are channels, and depth is brightness."""
    shape = ["batch", 3, "height", "width"]
    nodes = [
        helper.make_node("ArgMax", ["images"], ["semseg"], axis=1, keepdims=1),
        helper.make_node("ReduceMean", ["images"], ["depth"], axes=[1], keepdims=1),
    ]
    inputs = [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)]
    shape[1] = 1
    outputs = [
        helper.make_tensor_value_info("semseg", onnx.TensorProto.INT64, shape),
        helper.make_tensor_value_info("depth", onnx.TensorProto.FLOAT, shape),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    stated = {
        OUTPUTS_KEY: "decoded",
        DISPLAY_KEY: json.dumps({task.name: display_of(task) for task in TASKS}),
        INPUT_SIZE_KEY: json.dumps(SIZE),
        NORMALIZATION_KEY: "null",
        SIZE_STEP_KEY: "1",
    }
    helper.set_model_props(model, stated)
    onnx.save(model, str(file))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4")


class Shown:
    """Predicts the frame itself as class 0 to 255, and a depth range that jumps."""

    tasks = ("values",)

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.names: list[str] = []

    def predict(self, frames):
        self.batches.append(len(frames))
        return [self.Result(frame, self) for frame in frames]

    class Result:
        def __init__(self, frame, owner):
            self.frame, self.owner = frame, owner

        def limits(self, task):
            return (0.0, 1.0 + bar(self.frame))

        def color(self, task, limits):
            return np.full_like(self.frame, round(60 + limits[1] * 10))

        def save(self, name):
            self.owner.names.append(name)


def differs_by(frame: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(frame.astype(float) - expected).mean())


@pytest.mark.parametrize("network", ["model", "model.onnx"])
def test_a_video_shows_what_single_frames_show(saved, clip, tmp_path, network, capsys):
    out = tmp_path / "out"
    words = ["predict", str(saved / network), str(clip), "--out", str(out), "--raw"]
    words += ["--video-tasks", "image", "depth", "semseg", "overlays/semseg"]
    assert main([*words, "--video-range", "depth=0.1:0.9"]) == 0
    message = " ".join(capsys.readouterr().err.split())
    assert "Predicted 12 frames (" in message and "frames/s)" in message
    frames, rate = read_video(out / "videos" / "clip.mp4")
    assert frames.shape == (12, 48, 4 * 64, 3) and rate == pytest.approx(RATE, rel=1e-4)
    given, _ = read_video(clip)
    for index in (0, 5, 11):
        image, depth, semseg, over = np.split(frames[index], 4, axis=1)
        meters = torch.from_numpy(np.load(out / "depth" / f"clip_{index:06d}.npy"))[None]
        classes = torch.from_numpy(np.load(out / "semseg" / f"clip_{index:06d}.npy"))[None]
        painted = TASKS[0].color(classes.long())
        wanted = {
            "image": (image, given[index]),
            "depth": (depth, TASKS[1].color(meters, None, torch.tensor([[[0.1, 0.1, 0.9, 0.9]]]))),
            "semseg": (semseg, painted),
            "overlay": (over, 0.6 * painted + 0.4 * given[index].mean(axis=2, keepdims=True)),
        }
        for name, (shown, expected) in wanted.items():
            assert differs_by(shown, expected) < 9, name  # the codec halves colors and is lossy
    assert len(list((out / "depth").iterdir())) == 12
    assert {path.name for path in (out / "videos").iterdir()} == {"clip.mp4", "videos.jsonl"}


def test_an_exported_file_predicts_videos_without_pytorch(saved, clip, tmp_path):
    code = "import sys; from taskprism.cli import main; assert main() == 0; "
    code += "assert 'torch' not in sys.modules"
    words = ["predict", saved / "model.onnx", clip, "--out", tmp_path, "--end", "0.2"]
    commands.run_python(code, *words, fresh=True)
    assert read_video(tmp_path / "videos" / "clip.mp4")[0].shape == (5, 48, 3 * 64, 3)


def test_frames_pass_in_batches_and_their_files_are_written(saved, clip, tmp_path):
    model = create_model("multi_task", TASKS, backbone="test_resnet", neck="none")
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    frames = _Frames(model, model.tasks, Inference(SIZE), tmp_path, ("pictures",), None)
    look = VideoLook(("semseg",), height=24)
    count = convert(VideoFile(clip), frames, tmp_path / "c.mp4", look, settings={}, batch_size=5)
    assert count == 12
    assert read_video(tmp_path / "c.mp4")[0].shape == (12, 24, 32, 3)
    assert len(list((tmp_path / "semseg").glob("c_0000??.png"))) == 12


def test_seconds_and_every_nth_frame_are_chosen(clip, tmp_path):
    source = VideoFile(clip, start=2.5 / RATE, end=10.5 / RATE, every=3)
    assert [frame.number for frame in source.frames()] == [3, 6, 9]
    assert source.total == 3 and source.rate == pytest.approx(RATE / 3, rel=1e-4)
    assert [bar(frame.pixels) for frame in source.frames()] == [3, 6, 9]
    assert [frame.number for frame in source.frames(first=6)] == [6, 9]
    with pytest.raises(DataError, match="no frame after 5 s"):
        list(VideoFile(clip, start=5).frames())
    with pytest.raises(InputError, match="every 0"):
        VideoFile(clip, every=0)


def test_rotation_is_applied(clip, tmp_path):
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, SIZE[0] << 16, 0, 1 << 30)
    changed = change_box(clip.read_bytes(), b"tkhd", lambda box: box[:40] + quarter + box[76:])
    (tmp_path / "turned.mp4").write_bytes(changed)
    frame = next(VideoFile(tmp_path / "turned.mp4").frames()).pixels
    upright = next(VideoFile(clip).frames()).pixels
    assert differs_by(frame, np.rot90(upright, -1)) < 3


def test_a_variable_frame_rate_becomes_constant(clip, tmp_path):
    ticks = {}

    def longer(box: bytes) -> bytes:  # frame 4 lasts four times as long, 6 and 7 a tenth
        _, _, count, each = struct.unpack(">IIII", box)
        ticks["each"] = each
        rows = [(4, each), (1, 4 * each), (1, each), (2, each // 10), (count - 8, each)]
        return struct.pack(">II", 0, len(rows)) + b"".join(struct.pack(">II", *row) for row in rows)

    (tmp_path / "variable.mp4").write_bytes(change_box(clip.read_bytes(), b"stts", longer))
    capture = cv2.VideoCapture(str(tmp_path / "variable.mp4"))
    rate = capture.get(cv2.CAP_PROP_FPS)
    times = []
    while capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    frames = [(f.number, f.repeat) for f in VideoFile(tmp_path / "variable.mp4").frames()]
    shown = [number for number, repeat in frames for _ in range(repeat)]
    places = {}
    for number, seconds in enumerate(times):  # the first frame that claims a place keeps it
        places.setdefault(int(seconds * rate + 0.5), number)
    expected, last = [], 0
    for place in range(max(places) + 1):
        last = places.get(place, last)
        expected.append(last)
    assert shown == expected
    assert shown.count(4) >= 3 and len(times) >= 11
    assert len(shown) == pytest.approx((times[-1] - times[0]) * rate + 1, abs=1)


def test_a_range_of_colors_moves_slowly(clip, tmp_path):
    shown = Shown()
    convert(VideoFile(clip), shown, tmp_path / "c.mp4", VideoLook(("values",)), settings={})
    frames, _ = read_video(tmp_path / "c.mp4")
    high, moved = 1.0, 1 - 0.5 ** (1 / RATE)
    for index, frame in enumerate(frames):
        high += moved * (1.0 + index - high)
        assert frame.mean() == pytest.approx(60 + 10 * high, abs=4), index
    look = VideoLook(("values",), {"values": (0.0, 9.0)})
    convert(VideoFile(clip), shown, tmp_path / "c.mp4", look, settings={})
    assert np.ptp(read_video(tmp_path / "c.mp4")[0].mean(axis=(1, 2, 3))) < 2
    assert shown.names[:2] == ["c_000000", "c_000001"] and set(shown.batches) == {1}


def test_an_interrupted_video_resumes_with_the_same_result(clip, tmp_path):
    def run(target: Path, predictor, **options):
        return convert(
            VideoFile(clip), predictor, target, VideoLook(), settings={"a": 1}, **options
        )

    run(tmp_path / "whole.mp4", Shown())
    target = tmp_path / "parts.mp4"
    target.write_bytes(b"a good file")
    stopping = Shown()

    def stop(frames, predict=stopping.predict):
        if len(stopping.batches) == 4:
            raise RuntimeError("the machine is switched off")
        return predict(frames)

    stopping.predict = stop
    with pytest.raises(RuntimeError):
        run(target, stopping, batch_size=2, seconds_per_part=0)
    assert target.read_bytes() == b"a good file"
    with pytest.raises(InputError, match="other options: a"):
        convert(VideoFile(clip), Shown(), target, VideoLook(), settings={"a": 2}, resume=True)
    again = Shown()
    assert run(target, again, resume=True) == 4
    assert again.names == [f"parts_{number:06d}" for number in range(8, 12)]
    expected, rate = read_video(tmp_path / "whole.mp4")
    frames, joined_rate = read_video(target)
    assert len(frames) == 12 and joined_rate == pytest.approx(rate)
    for frame, wanted in zip(frames, expected, strict=True):
        assert differs_by(frame, wanted) < 3
    assert {path.name for path in tmp_path.iterdir()} == {"whole.mp4", "parts.mp4"}


def test_parts_are_joined_without_loss(tmp_path):
    parts, single = [], []
    for part in range(3):
        file = tmp_path / f"{part}.mp4"
        writer = VideoPart(file, SIZE, 30.0)
        for index in range(14 + part):  # more than one key frame
            writer.write(picture((index + part) % 12))
        parts.append(writer.close())
        single.append(read_video(file)[0])
    join_parts(parts, tmp_path / "joined.mp4")
    frames, rate = read_video(tmp_path / "joined.mp4")
    assert rate == 30 and (frames == np.concatenate(single)).all()
    assert count_frames(tmp_path / "joined.mp4") == 45
    capture = cv2.VideoCapture(str(tmp_path / "joined.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 45
    capture.set(cv2.CAP_PROP_POS_FRAMES, 40)  # a position in the last part
    assert (capture.read()[1][..., ::-1] == frames[40]).all()
    other = VideoPart(tmp_path / "other.mp4", (32, 32), 30.0)
    other.write(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="another size, rate or codec"):
        join_parts([parts[0], other.close()], tmp_path / "joined.mp4")
    parts[1].write_bytes(parts[1].read_bytes()[:-100])
    with pytest.raises(DataError, match=r"1\.mp4 is not a complete MP4 file"):
        join_parts(parts, tmp_path / "joined.mp4")
    assert (read_video(tmp_path / "joined.mp4")[0] == frames).all()


def test_a_part_that_lacks_frames_is_an_error(tmp_path):
    part = VideoPart(tmp_path / "a.mp4", SIZE, 30.0)
    part.write(picture(0))
    part.count += 1  # as if the disk had been full
    with pytest.raises(CheckpointError, match="holds 1 of 2 frames"):
        part.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="--video-height"):
        VideoPart(tmp_path / "a.mp4", (33, 32), 30.0)


def test_broken_videos_are_named_and_others_are_predicted(saved, clip, tmp_path, capsys):
    whole = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    write_video(tmp_path / "nothing.mp4", 0)
    out = tmp_path / "out"
    names = ("cut", "text", "empty", "list", "nothing")
    words = ["predict", str(saved / "model"), *(str(tmp_path / f"{name}.mp4") for name in names)]
    assert main([*words, str(clip), "--out", str(out), "--end", "0.1"]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "Cannot read 5 of 6 files" in message
    assert "this is a playlist" in message and "is empty" in message
    assert message.count("cannot be read. The file is damaged") >= 2
    assert [path.name for path in (out / "videos").glob("*.mp4")] == ["clip.mp4"]
    cut = write_video(tmp_path / "cut.avi", 40, "MJPG")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    source = VideoFile(cut)
    assert 5 < len(list(source.frames())) < 35 and source.lost > 5


def test_what_does_not_fit_is_refused_before_anything_is_written(saved, clip, tmp_path, capsys):
    words = ["predict", str(saved / "model"), "--out", str(tmp_path / "out")]
    cases = {
        "is a URL. Videos are read from local files": ["https://example.org/a.mp4"],
        "'rtsp://camera/1' is a URL": ["rtsp://camera/1"],
        "absent.mp4 does not exist": [str(tmp_path / "absent.mp4")],
        "No video matches": [str(tmp_path / "*.mp4")],
        "must be greater than --start": [str(clip), "--start", "2", "--end", "1"],
        "are for videos": [str(tmp_path), "--every", "2"],
        "A webcam has no --start": ["--webcam", "0", "--start", "1"],
        "Unknown picture of a video 'dpeth'": [str(clip), "--video-tasks", "dpeth"],
        "Unknown predicted task 'albedo'": [str(clip), "--video-range", "albedo=0:1"],
        "takes TASK=LOW:HIGH": [str(clip), "--video-range", "depth=1"],
        "must ascend": [str(clip), "--video-range", "depth=2:1"],
        "Leave out --engine ray": [str(clip), "--engine", "ray"],
    }
    for expected, rest in cases.items():
        assert main([*words, *rest]) == 2
        assert expected in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
    out = clip.parent.parent / "inside"
    (out / "videos").mkdir(parents=True)
    write_video(out / "videos" / "clip.mp4", 2)
    words = ["predict", str(saved / "model"), str(out / "videos" / "clip.mp4"), "--out", str(out)]
    assert main(words) == 2
    assert "would be replaced by its results" in capsys.readouterr().err
    assert len(read_video(out / "videos" / "clip.mp4")[0]) == 2


def test_finished_videos_are_skipped(saved, clip, tmp_path, capsys):
    words = ["predict", str(saved / "model"), str(clip.parent / "*.mp4"), "--out", str(tmp_path)]
    words += ["--end", "0.1", "--resume"]
    assert main(words) == 0 and main(words) == 0
    assert "which is finished" in " ".join(capsys.readouterr().err.split())
    steps = (tmp_path / "videos" / "videos.jsonl").read_text().splitlines()
    assert [json.loads(step).get("name") for step in steps] == [None, "clip"]


class FakeCamera:
    """Gives frames like ``cv2.VideoCapture``; the clock advances by 40 ms for each."""

    def __init__(self, count: int = 6, opened: bool = True) -> None:
        self.left, self.opened, self.released, self.now = count, opened, False, 100.0

    def isOpened(self):
        return self.opened

    def get(self, key):
        return 50.0 if key == cv2.CAP_PROP_FPS else 0.0

    def set(self, key, value):
        return True

    def read(self):
        if not self.left:
            return False, None
        self.left -= 1
        self.now += 0.04
        return True, picture(6 - self.left)

    def release(self):
        self.released = True


def test_a_webcam_is_recorded_in_real_time(saved, tmp_path, monkeypatch, capsys):
    camera = FakeCamera()
    source = Camera(0, None, camera, lambda: camera.now)
    shown = [(frame.number, frame.repeat) for frame in source.frames()]
    assert shown == [(0, 2), (1, 2), (2, 2), (3, 2), (4, 2), (5, 1)]  # 25 of 50 frames per second
    assert camera.released
    camera = FakeCamera()
    limited = Camera(0, 0.1, camera, lambda: camera.now)
    assert [frame.number for frame in limited.frames()] == [0, 1, 2]
    with pytest.raises(DataError, match="gives no picture"):
        list(Camera(0, None, FakeCamera(0)).frames())

    monkeypatch.setattr(cv2, "VideoCapture", lambda number: FakeCamera())
    for expected in ("webcam_0.mp4", "webcam_0_2.mp4"):
        words = ["predict", str(saved / "model"), "--webcam", "0", "--out", str(tmp_path)]
        assert main([*words, "--video-tasks", "image"]) == 0
        assert "Press Ctrl-C to stop" in " ".join(capsys.readouterr().err.split())
        assert len(read_video_of(tmp_path / "videos" / expected, monkeypatch)) >= 1


def read_video_of(file: Path, monkeypatch) -> np.ndarray:
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", CAPTURE)
        return read_video(file)[0]


CAPTURE = cv2.VideoCapture


def test_ctrl_c_ends_a_webcam_and_keeps_the_video(tmp_path):
    camera = FakeCamera()
    source = Camera(0, None, camera, lambda: camera.now)
    shown = Shown()

    def interrupted(frames, predict=shown.predict):
        if len(shown.batches) == 3:
            raise KeyboardInterrupt
        return predict(frames)

    shown.predict = interrupted
    assert convert(source, shown, tmp_path / "w.mp4", VideoLook(), settings={}) == 3
    assert len(read_video(tmp_path / "w.mp4")[0]) == 6


def test_a_missing_camera_and_a_missing_package_are_named(saved, tmp_path, monkeypatch, capsys):
    words = ["predict", str(saved / "model"), "--out", str(tmp_path / "out")]
    assert main([*words, "--webcam", "77"]) == 2
    assert "There is no camera 77" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main([*words, "--webcam", "0"]) == 2
    assert "pip install 'taskprism[video]'" in capsys.readouterr().err
