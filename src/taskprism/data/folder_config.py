"""The YAML that declares a folder of labeled images.

::

    name: my_kitchen
    root: .                       # relative to this file, absolute, or a URL; option root overrides
    license: my own photographs
    loss_weight: 0.5              # of all losses of these images; 1 by default
    image: rgb/{name}.jpg         # also finds .JPG and .jpeg; {name}.* finds any ending
    inputs:                       # further channels of the images, for RGB-D, thermal and others
      thermal: {path: "thermal/{name}.png", scale: 1/65535, mean: 0.4, std: 0.1}
    orientation: exif             # or stored, if labels were drawn on the image as stored
    input_size: [192, 256]        # height, width
    fit: stretch                  # as in the papers; or pad, which keeps the aspect ratio
    cache: true                   # keep images in memory at input_size
    splits:
      train: train.txt            # one name a line; or a list of names, {glob: "rgb/a*.jpg"},
      test: test.txt              # or a fraction of all images, such as 0.25
    augmentation: {zoom: [1, 1.2, 1.5], degrees: 10, color: true}   # or a list of transforms
    tasks:
      semseg:
        path: labels/{name}.png
        classes: [floor, wall, thing]
        ignore: [255]             # stored values without a label
        map: {0: 0, 1-4: 1, 9: 2, 10: null}      # or FILE.json#KEY; null is no label
      objects:
        kind: semseg
        path: colors/{name}.png
        classes: {0: floor, 5: wall, 7: thing}   # or a list, a number, or a file
        colors: {[0, 0, 0]: floor, [128, 0, 0]: 5, "#00ff00": thing}     # or a file
      depth:
        path: depth/{name}.png    # 16-bit millimeters -> meters
        encoding: {scale: 0.001}
        ignore: [0]
        valid_range: [0.3, 10]    # meters
      normals:
        path: normals/{name}.png  # 8-bit; the three channels point right, down, forward
        encoding: {scale: 2/255, offset: -1, axes: [right, down, forward]}
        ignore: [[0, 0, 0]]
      people:                     # any name, if `kind` names the task
        kind: saliency
        path: labels/{name}.png
        positive: [15]            # or nonzero
        loss_weight: 5
        confidence: {path: "sure/{name}.png", threshold: 0.8}    # of labels made by a network
        options: {soft: false}    # any other field of the task

Label files are images of 1 to 32 bits, ``.npy``, ``.npz`` or ``.mat``. If a label file does not
exist, the image has no label for the task. Numbers are read as stored: palettes as indices, a 2-bit
image as 0 to 3. A mask of 0 and 255 may be stored in 1 to 16 bits or as a palette; ``positive:
[255]`` finds its white in each of them. ``encoding: {values: stored}`` (or ``shown``, for gray
levels from 0 to 255) decides where both are possible. Class maps and masks in JPEG are refused
unless ``encoding: {lossy: true}``.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from taskprism.data import transforms
from taskprism.data.augmentation import read_step
from taskprism.data.files import Orientation
from taskprism.data.protocol import Split, Transform
from taskprism.errors import DataError
from taskprism.options import Side, refuse_boolean
from taskprism.stores.paths import AnyPath
from taskprism.text_files import read_yaml

# Pydantic adds the tried type of a union to the location of an error; users wrote no such key.
_UNION_BRANCH = re.compile(
    r"(tuple|dict|list|literal|function-\w+|lax-or-strict)\[|(str|int|float)$"
)


def explain(error: ValidationError, model: type[BaseModel], source: str) -> DataError:
    """Readable form of ``error``, raised while reading ``source`` as a ``model``."""
    lines = list(dict.fromkeys(_line(dict(item), model) for item in error.errors()))
    return DataError(f"{source}: " + "; ".join(lines) + ".")


def _line(item: dict[str, Any], model: type[BaseModel]) -> str:
    location = tuple(part for part in item["loc"] if not _UNION_BRANCH.match(str(part)))
    key = ".".join(str(part) for part in location)
    if item["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"unknown key {key!r}.{hint} Valid keys here: {', '.join(known)}"
    if item["type"] == "missing":
        return f"the key {key!r} is missing"
    message = str(item["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{key}: {message} (got {item['input']!r})" if key else message


def _keys_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Fields of the model at ``location`` inside ``model``."""
    current = model
    for part in location:
        if part in current.model_fields:
            current = _inner_model(current.model_fields[part].annotation) or current
    return list(current.model_fields)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as ``dict[str, Model]`` or ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        found = _inner_model(inner)
        if found is not None:
            return found
    return None


Fit = Literal["stretch", "pad"]
LARGEST_ZOOM = 100
LONGEST_PATTERN = 1000  # characters


def rename_keys(content: Any, names: Mapping[str, str]) -> Any:
    """A mapping with the keys of older files renamed; a key under its new name wins."""
    if not isinstance(content, Mapping):
        return content
    renamed = {names[key]: value for key, value in content.items() if key in names}
    return renamed | {key: value for key, value in content.items() if key not in names}


_LONGEST_NUMBER = 40  # characters; also bounds the time that a power of ten takes
_LARGEST_POWER = 300


def _fraction(value: Any) -> Any:
    """Allow ``1/127`` where YAML would need a long decimal number."""
    if not isinstance(value, str):
        return value
    powers = re.findall(r"[eE][-+]?(\d+)", value)
    try:
        if len(value) > _LONGEST_NUMBER or any(int(p) > _LARGEST_POWER for p in powers):
            raise ValueError
        return float(Fraction(value))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError("write a number or a fraction such as 1/127") from None


Number = Annotated[float, BeforeValidator(_fraction), BeforeValidator(refuse_boolean)]
Plain = Annotated[float, BeforeValidator(refuse_boolean)]
Stored = Annotated[float, Field(allow_inf_nan=True), BeforeValidator(refuse_boolean)]
Pixels = Annotated[Side, BeforeValidator(refuse_boolean)]
Whole = Annotated[int, BeforeValidator(refuse_boolean)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Keys of later versions. At their default they are not written, so fingerprints stay.
    later_keys: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_later_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content = handler(self)
        for key in self.later_keys:
            if getattr(self, key) == type(self).model_fields[key].default:
                content.pop(key, None)
        return content


class Augmentation(_Strict):
    """Random changes of training images; the defaults are MTI-Net's on NYUD-v2.

    Example:
        >>> Augmentation(zoom=(1.0,), horizontal_flip=0.0).steps()
        []
        >>> len(Augmentation(degrees=20, color=True).steps())
        3
    """

    later_keys: ClassVar[tuple[str, ...]] = ("transforms",)

    horizontal_flip: Plain = Field(0.5, ge=0, le=1, description="probability")
    zoom: tuple[Plain, ...] = Field(
        (1.0, 1.2, 1.5), min_length=1, description="factors, one is chosen; [1] for none"
    )
    zoom_range: tuple[Plain, Plain] | None = Field(
        None, description="factor is uniform in this pair instead (ASTMT: [0.75, 1.25])"
    )
    degrees: Plain = Field(
        0.0, ge=0, le=360, description="largest rotation in both directions (ASTMT: 20)"
    )
    color: bool = Field(
        False,
        serialization_alias="colour",  # the spelling that fingerprints were made with
        description="brightness, contrast, saturation and hue",
    )
    border: Literal["ignore", "zero"] = Field(
        "ignore",
        description="label of pixels from outside: none, or 0 (the papers' code)",
    )

    transforms: tuple[Any, ...] = Field(
        (),
        description="instead of the other keys: transforms in their order, each a name or {name: "
        "options}; a list in place of the keys stands for it",
    )

    @model_validator(mode="before")
    @classmethod
    def _old_spelling(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"transforms": value}
        return rename_keys(value, {"colour": "color"})

    @model_validator(mode="after")
    def _one_form(self) -> Augmentation:
        if self.transforms and len(self.model_fields_set) > 1:
            raise ValueError("give either a list of transforms or the other keys")
        for step in self.transforms:
            read_step(step)
        return self

    @field_validator("zoom", "zoom_range")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if value is not None and not (min(value) > 0 and max(value) <= LARGEST_ZOOM):
            raise ValueError(f"zoom factors must be positive, and at most {LARGEST_ZOOM}")
        return value

    def steps(self) -> list[Transform]:
        """The random part, to follow :func:`fit_to`."""
        steps: list[Transform] = []
        if self.horizontal_flip:
            steps.append(transforms.RandomHorizontalFlip(self.horizontal_flip))
        if self.degrees or self.zoom_range is not None or set(self.zoom) != {1.0}:
            warp = transforms.ScaleRotate(self.degrees, self.zoom, self.zoom_range)
            steps.append(transforms.ZeroBorder(warp) if self.border == "zero" else warp)
        if self.color:
            steps.append(transforms.PhotometricDistortion())
        return steps


Axis = Literal["right", "left", "up", "down", "toward", "forward"]


class Encoding(_Strict):
    """How numbers are stored: ``value = stored * scale + offset``.

    Example:
        >>> Encoding(scale="1/127", offset=-1).scale == 1 / 127
        True
    """

    later_keys: ClassVar[tuple[str, ...]] = ("values", "lossy")

    key: str | None = Field(None, description="array name in an .npz or .mat")
    layout: Literal["hwc", "chw"] = Field("hwc", description="order of an array's axes")
    values: Literal["stored", "shown"] | None = Field(
        None,
        description="of images with a palette or fewer than 8 bits: the stored numbers, or the "
        "gray levels from 0 to 255 that a viewer shows; by default those that are declared",
    )
    lossy: bool = Field(
        False, description="read class maps and masks from JPEG, which changes numbers"
    )
    order: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, description="which stored channels to take; [2, 1, 0] reads BGR"
    )
    scale: Number | tuple[Number, ...] = Field(1.0, description="one number, or one per channel")
    offset: Number | tuple[Number, ...] = 0.0
    axes: tuple[Axis, Axis, Axis] | None = Field(
        None, description="directions only: where each channel's positive values point"
    )

    @field_validator("axes")
    @classmethod
    def _three_axes(cls, value: tuple[Axis, Axis, Axis] | None) -> Any:
        lines = [{"right", "left"}, {"up", "down"}, {"toward", "forward"}]
        if value is not None and not all(line & set(value) for line in lines):
            raise ValueError("give one of right/left, one of up/down and one of toward/forward")
        return value


class Confidence(_Strict):
    """Maps that say how far labels can be trusted: gray images from black, 0, to white, 1.

    Example:
        >>> Confidence(path="confidence/{name}.png").threshold
        0.5
    """

    path: str = Field(description="pattern with {name}; labels without such a file are certain")
    threshold: Plain = Field(0.5, ge=0, le=1, description="pixels below it have no label")

    @field_validator("path")
    @classmethod
    def _has_name(cls, value: str) -> str:
        return _check_pattern(value)


class TaskConfig(_Strict):
    """One task: where its label files are and what their numbers mean.

    Example:
        >>> TaskConfig(path="people/{name}.png", kind="saliency", positive="nonzero").unmapped
        'error'
    """

    kind: str | None = Field(None, description="a name of `taskprism list tasks`; default: the key")
    path: str = Field(description="pattern with {name}; a missing file means no label")
    encoding: Encoding = Field(default_factory=Encoding)
    ignore: tuple[Stored | tuple[Stored, ...], ...] = Field(
        (), description="stored values, or lists of one per channel, without a label"
    )
    valid_range: tuple[Plain, Plain] | None = Field(
        None, description="decoded values outside have no label"
    )
    map: dict[str | Whole, Whole | str | None] | str | None = Field(
        None,
        description="stored value: class (null: no label; '3-7' for a range), or FILE.json#KEY",
    )
    colors: dict[Any, Any] | tuple[Any, ...] | str | None = Field(
        None,
        description="[red, green, blue] or '#rrggbb': class (null: no label), a list of colors in "
        "the order of the classes, or a file",
    )
    unmapped: Literal["error", "ignore"] = Field(
        "error", description="values not in map, colors not in colors"
    )
    positive: tuple[Stored, ...] | Literal["nonzero"] | None = Field(
        None, description="stored values that are positive; all others are negative"
    )
    classes: tuple[str, ...] | dict[Any, Any] | Whole | str | None = Field(
        None, description="names, {number: name}, their number, or a file"
    )
    loss_weight: Plain | None = Field(None, ge=0)
    confidence: Confidence | None = Field(
        None, description="{path, threshold}: maps of how far labels can be trusted"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="further fields of the task")

    later_keys: ClassVar[tuple[str, ...]] = ("colors", "confidence")

    @field_validator("path")
    @classmethod
    def _has_name(cls, value: str) -> str:
        return _check_pattern(value)

    @model_validator(mode="after")
    def _one_meaning(self) -> TaskConfig:
        given = [key for key in ("map", "colors", "positive") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {', '.join(given)}; each says what stored values mean")
        return self


class InputConfig(_Strict):
    """Further channels of the images: numbers of a file, as ``stored * scale + offset``.

    Example:
        >>> InputConfig(path="depth/{name}.png", scale="1/10000").channels
        1
    """

    path: str = Field(description="pattern with {name}: an image of 1 to 32 bits, .npy, .npz, .mat")
    channels: Whole = Field(1, ge=1, le=61, description="how many channels the file has")
    scale: Number = Field(1.0, description="factor that brings stored numbers to about 0 to 1")
    offset: Number = 0.0
    key: str | None = Field(None, description="array name in an .npz or .mat")
    layout: Literal["hwc", "chw"] = Field("hwc", description="order of an array's axes")
    mean: Plain = Field(0.5, description="mean of the values, which the model subtracts")
    std: Plain = Field(0.25, gt=0, description="their standard deviation: the model divides by it")

    @field_validator("path")
    @classmethod
    def _has_name(cls, value: str) -> str:
        return _check_pattern(value)


class SplitSource(_Strict):
    """Which images belong to a split: exactly one of four keys.

    Example:
        >>> SplitSource(glob="rgb/a*.jpg").glob
        'rgb/a*.jpg'
    """

    list: str | None = Field(None, description="text file with one name a line")
    names: tuple[str, ...] | None = None
    glob: str | None = Field(None, description="image files, as a pattern with * and **")
    fraction: Number | None = Field(None, gt=0, le=1, description="share of all images")


def _split_source(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    short = {str: "list", list: "names", tuple: "names", int: "fraction", float: "fraction"}
    return {short[type(value)]: value} if type(value) in short else value


class FolderConfig(_Strict):
    """A folder of labeled images.

    Example:
        >>> config = FolderConfig.model_validate({
        ...     "name": "kitchen",
        ...     "image": "rgb/{name}.jpg",
        ...     "input_size": [192, 256],
        ...     "splits": {"train": 0.8, "test": 0.2},
        ...     "tasks": {"depth": {"path": "depth/{name}.png", "encoding": {"scale": 0.001}}},
        ... })
        >>> config.splits["test"].fraction
        0.2
    """

    later_keys: ClassVar[tuple[str, ...]] = ("orientation", "loss_weight", "inputs")

    name: str = Field(
        min_length=1, max_length=100, description="of the protocol; printed with every score"
    )
    root: str | None = Field(None, description="folder of the data, relative to this file")
    # Fingerprints were made with the older spelling.
    license: str = Field("", serialization_alias="licence")
    image: str = Field(
        description="pattern with {name}, or with {folder} and {stem}, the parts of the name "
        "before and after its last slash; .* stands for any ending"
    )
    inputs: dict[str, InputConfig] = Field(
        default_factory=dict,
        description="further channels of the images (depth, thermal), after red, green and blue",
    )
    orientation: Orientation = Field(
        "exif", description="turn images and labels by their EXIF tags, or read them as stored"
    )
    input_size: tuple[Pixels, Pixels] = Field(description="height and width of the network's input")
    fit: Fit = Field("stretch", description="how images of other sizes get input_size")
    splits: dict[Split, Annotated[SplitSource, BeforeValidator(_split_source)]] = Field(
        min_length=1
    )
    split_seed: Whole = Field(0, description="order from which fractions are taken")
    tasks: dict[str, TaskConfig] = Field(min_length=1)
    augmentation: Augmentation = Field(
        default_factory=Augmentation,
        description="keys for common changes, or a list of transforms with their options",
    )
    cache: bool = Field(False, description="keep images in memory at input_size after first use")
    loss_weight: Plain = Field(
        1.0, ge=0, description="factor of the losses of these images, next to those of other sets"
    )

    @model_validator(mode="before")
    @classmethod
    def _old_spelling(cls, value: Any) -> Any:
        return rename_keys(value, {"licence": "license"})

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return check_protocol_name(value)

    @field_validator("image")
    @classmethod
    def _has_name(cls, value: str) -> str:
        if "{name}" not in value and "{stem}" in value and "{folder}" not in value:
            raise ValueError("a pattern with {stem} must contain {folder} too")
        return _check_pattern(value)

    @field_validator("splits")
    @classmethod
    def _one_way(cls, value: dict[Split, SplitSource]) -> Any:
        for split, source in value.items():
            if len(source.model_dump(exclude_none=True)) != 1:
                raise ValueError(f"give {split} one of: list, names, glob, fraction")
        shares = sum(source.fraction or 0.0 for source in value.values())
        if shares > 1 + 1e-9:
            raise ValueError(f"the fractions add up to {shares:g}, more than 1")
        return value


def check_protocol_name(value: str) -> str:
    """Return the name of a protocol, which becomes part of file names.

    Raises:
        ValueError: It has a slash or control characters, or starts with a dot.
    """
    if not value.isprintable() or set(value) & set("/\\") or value.startswith("."):
        raise ValueError(f"{value[:80]!r} is not a name; it has no slash and no dot in front")
    return value


_PLACEHOLDERS = ("{name}", "{folder}", "{stem}")


def _check_pattern(value: str) -> str:
    if "{name}" not in value and "{stem}" not in value:
        raise ValueError("the pattern must contain {name}, such as rgb/{name}.jpg")
    unknown = [part for part in re.findall(r"\{[^}]*\}", value) if part not in _PLACEHOLDERS]
    if unknown:
        raise ValueError(f"{unknown[0]} is not one of {', '.join(_PLACEHOLDERS)}")
    if value.startswith("/") or re.match(r"[A-Za-z]:", value):
        raise ValueError("the pattern must be relative; set 'root' to the folder of the data")
    if "\0" in value or len(value) > LONGEST_PATTERN:
        raise ValueError("the pattern is not a path")
    return value


def load_config(path: AnyPath, options: dict[str, Any] | None = None) -> FolderConfig:
    """Read a data YAML.

    Args:
        path: The file.
        options: Top-level keys that replace the file's own.

    Raises:
        DataError: The file is missing, is not valid YAML, or has an invalid key or value.
    """
    content = read_yaml(path, exponents=False)
    if not isinstance(content, dict):
        raise DataError(f"{path}: a data YAML is a mapping with the keys name, image, tasks, ...")
    try:
        return FolderConfig.model_validate({**content, **(options or {})})
    except ValidationError as error:
        raise explain(error, FolderConfig, str(path)) from None
