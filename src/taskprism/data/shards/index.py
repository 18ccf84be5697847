"""``index.json``: what was packed, and where every member lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from taskprism.data.folder_config import rename_keys
from taskprism.data.protocol import Split
from taskprism.errors import DataError

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
        members: ``image`` and the tasks that the sample has -> where they are.
    """

    name: str
    members: dict[str, Member]


class Shard(_Frozen):
    """A tar file: its name, size, hash and samples in their order."""

    file: str
    size: int
    sha256: str
    samples: list[Entry]


class Index(_Frozen):
    """All shards of a packed protocol.

    Attributes:
        format: Version of this file's layout.
        protocol: Name of the packed protocol.
        part: ``module:Class`` of the packed protocol, if its name is not a built-in one.
        options: Its options, if it is one with code of its own.
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

    @model_validator(mode="before")
    @classmethod
    def _old_spelling(cls, value: Any) -> Any:
        return rename_keys(value, {"licence": "license"})

    def counts(self, split: Split) -> dict[str, int]:
        """Number of images, and of labels of each task."""
        samples = [entry for shard in self.splits[split] for entry in shard.samples]
        names = ["image", *(task["name"] for task in self.tasks)]
        return {name: sum(name in entry.members for entry in samples) for name in names}


def read_index(folder: Path) -> Index:
    """Index of a folder of shards.

    Raises:
        DataError: If there is none, or it is broken or of another version.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise DataError(
            f"{folder} holds no {FILE}, so that it is no folder of packed shards; "
            "`taskprism data pack` makes one."
        ) from None
    except ValueError as error:
        raise DataError(f"{path}: this is no JSON ({error}). Pack again.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: not of format {FORMAT}, which this version reads. Pack again.")
    try:
        return Index.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {place}: {first['msg']}. Pack again.") from None
