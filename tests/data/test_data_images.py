"""Images from paths, file objects, Pillow, arrays and tensors are the same image."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import write_png

from taskprism.data.images import read_folder, read_source
from taskprism.errors import DataError, InputError
from taskprism.stores import StorePath

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
EXPECTED = torch.from_numpy(PIXELS).permute(2, 0, 1).float() / 255


def sources(tmp_path):
    file = tmp_path / "photo.png"
    Image.fromarray(PIXELS).save(file)
    url = f"memory://{tmp_path.name}/photo.png"
    StorePath(url).write_bytes(file.read_bytes())
    opacity = np.full((6, 9, 1), 7, np.uint8)
    return {
        "text": (str(file), "photo"),
        "path": (file, "photo"),
        "url": (url, "photo"),
        "open file": (file.open("rb"), "photo"),
        "bytes in memory": (io.BytesIO(file.read_bytes()), "image"),
        "pillow": (Image.fromarray(PIXELS), "image"),
        "pillow from a file": (Image.open(file), "photo"),
        "pillow with opacity": (Image.fromarray(np.concatenate([PIXELS, opacity], -1)), "image"),
        "array": (PIXELS, "image"),
        "array with opacity": (np.concatenate([PIXELS, opacity], -1), "image"),
        "float array": (PIXELS / 255, "image"),
        "deep array": (PIXELS.astype(np.uint16) * 257, "image"),
        "tensor": (EXPECTED, "image"),
        "byte tensor": (torch.from_numpy(PIXELS).permute(2, 0, 1), "image"),
        "reversed array": (PIXELS[..., ::-1].copy()[..., ::-1], "image"),
    }


def test_every_source_gives_the_same_image(tmp_path):
    for kind, (source, expected_name) in sources(tmp_path).items():
        name, image = read_source(source)
        assert name == expected_name, kind
        assert type(image) is torch.Tensor and image.dtype == torch.float32, kind
        torch.testing.assert_close(image, EXPECTED, msg=kind)


def test_gray_deep_and_turned_images_are_as_from_their_files(tmp_path):
    deep = np.arange(54, dtype=np.uint16).reshape(6, 9) * 1200
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(PIXELS).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(PIXELS).convert("1").save(tmp_path / "two.png")
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "print.jpg", quality=100)
    Image.fromarray(PIXELS).save(tmp_path / "turned.jpg", exif=turned)
    names = []
    for name, image in read_folder(tmp_path):
        names.append(name)
        file = next(tmp_path.glob(f"{name}.*"))
        with Image.open(file) as opened:
            torch.testing.assert_close(read_source(opened)[1], image, msg=name)
        with file.open("rb") as stream:
            assert torch.equal(read_source(stream)[1], image), name
    assert names == ["deep", "gray", "palette", "print", "turned", "two"]
    assert read_source(tmp_path / "turned.jpg")[1].shape == (3, 9, 6)
    torch.testing.assert_close(
        read_source(deep)[1][0], torch.from_numpy(deep.astype(np.float32)) / 65535
    )
    colors = torch.randint(0, 65536, (3, 6, 9), dtype=torch.int32)
    with pytest.raises(InputError, match=r"tensor of torch\.int32"):
        read_source(colors)
    write_png((colors % 256).byte(), str(tmp_path / "b.png"))


WRONG = {
    "(3, 6, 9).*transpose": np.zeros((3, 6, 9), np.uint8),
    "array of int64": np.zeros((6, 9, 3), np.int64),
    "(6, 9, 3).*permute": torch.zeros(6, 9, 3),
    "(2, 3, 6, 9).*list": torch.zeros(2, 3, 6, 9),
    "from 0 to 255; expected 0 to 1. Divide by 255": np.full((6, 9, 3), 255.0)
    * np.eye(9)[:6, :, None],
    "without normalization": torch.full((3, 6, 9), -1.0),
    "values from nan": torch.full((3, 6, 9), float("nan")),
    "Cannot read an image from dict": {},
    "open as text": io.StringIO("text"),
    "shape .0, 9, 3.": np.zeros((0, 9, 3), np.uint8),
}


@pytest.mark.parametrize("message", WRONG)
def test_other_values_are_refused_with_advice(message):
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(InputError, match=pattern):
        read_source(WRONG[message])


def test_a_broken_file_object_is_named():
    with pytest.raises(DataError, match="upload: this image cannot be read"):
        read_source(io.BytesIO(b"no picture"), "upload")
    wide = Image.fromarray(np.full((2, 3), 100_000, np.int32))
    with pytest.raises(DataError, match="it is not known what is white"):
        read_source(Image.fromarray(np.full((2, 3), 5.5, np.float32)))
    assert wide.mode == "I"
