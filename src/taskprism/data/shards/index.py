"""``index.json``: the packed protocol, and the position of every member."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from taskprism.data.folder_config import check_protocol_name, rename_keys
from taskprism.data.protocol import Split
from taskprism.errors import DataError
from taskprism.stores.paths import AnyPath
from taskprism.text_files import name_problem, read_json

FILE = "index.json"
FORMAT = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Member(_Frozen):
    """Bytes of an image or label.

    Attributes:
        storage: How it is stored, see :mod:`taskprism.data.shards.encoding`.
        offset: First byte in the tar file.
        size: Number of bytes.
    """

    storage: str
    offset: int = Field(ge=0)
    size: int = Field(ge=0)


class Entry(_Frozen):
    """A sample.

    Attributes:
        name: As in the packed data set.
        members: ``image`` and the tasks of the sample -> position.
    """

    name: str
    members: dict[str, Member]

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        if value.startswith("/") or ".." in value.split("/") or name_problem(value):
            raise ValueError(f"{value[:80]!r} is not the name of a sample")
        return value

    @field_validator("members")
    @classmethod
    def _has_image(cls, value: dict[str, Member]) -> dict[str, Member]:
        if "image" not in value:
            raise ValueError("a sample has no image")
        return value


class Shard(_Frozen):
    """A tar file: its name, size, hash and samples in their order."""

    file: str = Field(pattern=r"^\w[\w.-]*\.tar$")  # in the folder of the index, nowhere else
    size: int = Field(ge=0)
    sha256: str
    samples: list[Entry]

    @model_validator(mode="after")
    def _members_are_inside(self) -> Shard:
        for entry in self.samples:
            for name, member in entry.members.items():
                if member.offset + member.size > self.size:
                    raise ValueError(f"{name} of {entry.name!r} lies beyond the end of {self.file}")
        return self


class Index(_Frozen):
    """All shards of a packed protocol.

    Attributes:
        format: Version of this file's layout.
        protocol: Name of the packed protocol.
        part: ``module:Class`` of the packed protocol, if its name is not a built-in one.
        options: Its options, unless it is a folder.
        folder: The content of its YAML, if it is a folder.
        tasks: Configurations of its tasks.
        license: Its license.
        splits: Split -> shards.
    """

    format: int
    protocol: str
    options: dict[str, Any]
    folder: dict[str, Any] | None
    tasks: list[dict[str, Any]]
    license: str
    splits: dict[Split, list[Shard]]
    part: str | None = None

    @field_validator("protocol")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return check_protocol_name(value)

    @model_validator(mode="before")
    @classmethod
    def _old_spelling(cls, value: Any) -> Any:
        return rename_keys(value, {"licence": "license"})

    def counts(self, split: Split) -> dict[str, int]:
        """Number of images, and of labels of each task."""
        samples = [entry for shard in self.splits[split] for entry in shard.samples]
        names = ["image", *(task["name"] for task in self.tasks)]
        return {name: sum(name in entry.members for entry in samples) for name in names}


def read_index(folder: AnyPath) -> Index:
    """Index of a folder of shards.

    Raises:
        DataError: It is missing, broken or of another version.
    """
    path = folder / FILE
    if not path.exists():
        raise DataError(
            f"{folder} contains no {FILE}, so it is not a folder of packed shards. Write one with "
            "`taskprism data pack`."
        )
    try:
        content = read_json(path)
    except DataError as error:
        raise DataError(f"{error} Pack again.") from None
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise DataError(f"{path}: expected format {FORMAT}, got {version!r}. Pack again.")
    try:
        return Index.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {place}: {first['msg']}. Pack again.") from None
