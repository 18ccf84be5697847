"""Saved models: in a folder, in a training run, or on the Hugging Face hub."""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from taskprism.errors import CheckpointError, InputError, TaskprismError
from taskprism.models.hub_client import CONFIG, HUB_ID, WEIGHTS, HubAccess, download, push_folder
from taskprism.models.model_card import CardFacts, model_card
from taskprism.registry import Registry, import_parts
from taskprism.stores import fetch_folder, is_url

if TYPE_CHECKING:
    from taskprism.models.base import MultiTaskModel

_MANIFEST = "manifest.json"
_LARGEST_CONFIG = 2**24  # bytes
_SHOWN = 5  # names in a message
_CHECKPOINTS = "checkpoints"
CheckpointChoice = Literal["last", "best"]


class SavedModel(
    nn.Module,
    PyTorchModelHubMixin,
    ABC,
    library_name="taskprism",
    tags=["multi-task-learning", "dense-prediction"],
):
    """The part of :class:`~taskprism.models.MultiTaskModel` that saves and loads."""

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Plain values from which :meth:`from_config` builds the same model."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with random weights from :attr:`config`, which may come from a stranger."""

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | Path,
        *,
        facts: CardFacts | None = None,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **options: Any,
    ) -> str | None:
        """Write ``config.json`` and ``model.safetensors``, which :func:`taskprism.load` reads.

        A model card, ``README.md``, describes tasks and usage. :func:`taskprism.export.save_run`
        also writes the scores of a run into it. Files are replaced only after all of them have been
        written completely.

        Args:
            save_directory: Folder; it is created if it does not exist.
            facts: What the model card says about training and scores.
            push_to_hub: Also upload the files: see :meth:`push_to_hub`.
            repo_id: Id on the hub, ``owner/name``; by default the name of the folder.
            **options: Of :meth:`push_to_hub`.

        Returns:
            URL of the upload, or None.

        Raises:
            InputError: The model cannot be rebuilt from a file; the message says why.
            CheckpointError: The files cannot be written, for example because the disk is full, or
                not uploaded.
        """
        config = self.config
        target = Path(save_directory)
        repo_id = repo_id or target.name
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".saving-", dir=target) as unfinished:
                card = {"facts": facts, "repo_id": repo_id}
                super().save_pretrained(unfinished, config=config, model_card_kwargs=card)
                for file in sorted(Path(unfinished).iterdir(), reverse=True):
                    file.replace(target / file.name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"Cannot write the model to {str(target)!r}: {error}. Free some space or choose "
                "another folder; files that existed before are unchanged."
            ) from error
        return push_folder(target, repo_id, **options) if push_to_hub else None

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Model card: metadata for the hub, tasks, and how to use the model."""
        return model_card(cast("MultiTaskModel", self), **kwargs)

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        facts: CardFacts | None = None,
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload model with taskprism",
        create_pr: bool = False,
    ) -> str:
        """Upload config, weights and model card to the Hugging Face hub.

        :func:`taskprism.export.push_run` uploads a run with its scores.

        Args:
            repo_id: ``owner/name``; the repository is created if it does not exist.
            facts: What the model card says about training and scores.
            private: Whether a new repository is private; None: as the owner's settings say.
            revision: Branch, which is created if it does not exist; None: the main branch.
            token: Access token; None: that of ``hf auth login`` or of ``HF_TOKEN``.
            commit_message: First line of the commit.
            create_pr: Open a pull request instead of committing.

        Returns:
            URL of the commit.

        Raises:
            InputError: The model cannot be rebuilt from a file; the message says why.
            CheckpointError: The upload failed; the message says why.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, facts=facts, repo_id=repo_id)
            return push_folder(
                folder,
                repo_id,
                private=private,
                revision=revision,
                token=token,
                commit_message=commit_message,
                create_pr=create_pr,
            )

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        path_or_hub_id: str | Path,
        device: torch.device | str = "cpu",
        imports: Iterable[str | Path] = (),
        checkpoint: CheckpointChoice | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Same as :func:`taskprism.load`, for a model of this class."""
        model = load(
            path_or_hub_id,
            device,
            imports,
            checkpoint,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        if not isinstance(model, cls):
            raise InputError(
                f"{str(path_or_hub_id)!r} holds the model {model.name!r}, not "
                f"{getattr(cls, 'name', cls.__name__)!r}; load any model with taskprism.load."
            )
        return model


def load(
    path_or_hub_id: str | Path,
    device: torch.device | str = "cpu",
    imports: Iterable[str | Path] = (),
    checkpoint: CheckpointChoice | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> MultiTaskModel:
    """Load a model that ``save_pretrained`` or a training run has written.

    Loading is safe for files that you do not trust: backbone weights are not downloaded, because
    the file holds all weights, no other file is opened, and code is imported only from ``imports``.
    A file can name classes, but only those that are already imported or registered. The network
    that ``config.json`` describes is compared with the shapes of the saved weights before memory is
    allocated for it.

    Args:
        path_or_hub_id: A folder with ``config.json`` and ``model.safetensors``; a run directory;
            the URL of one of these, such as ``s3://bucket/run``; or an id of the Hugging Face hub,
            ``owner/name`` or ``owner/name@revision``.
        device: Device of the returned model.
        imports: Modules or Python files that define your own parts of this model.
        checkpoint: Of a run directory: ``last``, whose scores are those of the run, or ``best``.
            None: the last, or the best if there is no other.
        revision: Branch, tag or commit on the hub; None: the main branch.
        token: Access token of the hub; None: that of ``hf auth login`` or of the variable
            ``HF_TOKEN``.
        cache_dir: Folder of files from the hub; None: that of the hub client.
        local_files_only: Do not connect to the hub; the model must be in the cache.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: There is no model, its files are broken or do not match each other, or
            weights or image statistics are NaN or infinite.
        UnknownNameError: It uses a model, task, backbone or distillation that is not registered.
        InputError: It uses a class of a module that is not imported; the message names the module.

    Example:
        >>> import taskprism, tempfile
        >>> model = taskprism.create_model("multi_task", {"depth": 1}, backbone="resnet18")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = model.save_pretrained(folder)
        ...     taskprism.load(folder).name
        'multi_task'
    """
    import_parts(imports)
    access = HubAccess(revision, token, cache_dir, local_files_only)
    folder = find_model_folder(path_or_hub_id, checkpoint, access)
    config = read_config(folder)
    shapes = _read_shapes(folder)
    try:
        model_class = Registry.all["model"].find_saved(config["name"])
        _check_fit(model_class, config, shapes, folder)
        with torch.random.fork_rng(devices=[]):  # random weights that are overwritten below
            model = cast("MultiTaskModel", model_class.from_config(config))
    except TaskprismError:
        raise
    except KeyError as error:
        raise CheckpointError(f"{str(folder / CONFIG)!r} lacks the key {error}.") from error
    except (TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(
            f"{str(folder / CONFIG)!r} describes a model that cannot be created: "
            f"{type(error).__name__}: {error}"
        ) from error
    load_weights(model, folder)
    if model.input_size is None and folder.parent.name == _CHECKPOINTS:  # of an earlier version
        with suppress(CheckpointError):
            model.input_size = training_size(folder.parent.parent)
    return model.to(device).eval()


def _read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the saved weights, from the header of the file."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"Cannot read {str(path)!r}: there is no such file.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"Cannot read {str(path)!r}: {error}. It is damaged or not a safetensors file; copy it "
            "again, or load another checkpoint."
        ) from error


def _check_fit(
    model_class: Any, config: dict[str, Any], shapes: dict[str, tuple[int, ...]], folder: Path
) -> None:
    """Compare the network that the config describes with the weights, without its memory."""
    try:
        with torch.device("meta"):
            model = model_class.from_config(config)
    except (TaskprismError, KeyError):
        raise
    except Exception:  # your own network may need values; creating it reports other errors
        return
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    differences = [
        *(f"{name} is missing" for name in own if name not in shapes),
        *(f"{name} is not part of the model" for name in shapes if name not in own),
        *(
            f"{name} has shape {shapes[name]}, not {shape}"
            for name, shape in own.items()
            if name in shapes and shapes[name] != shape
        ),
    ]
    if differences:
        raise _does_not_fit(folder, _shorten(differences))


def _does_not_fit(folder: Path, reason: object) -> CheckpointError:
    return CheckpointError(
        f"{str(folder / WEIGHTS)!r} does not fit the model that {CONFIG} in the same folder "
        f"describes: {reason}"
    )


def _shorten(texts: list[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + f" and {len(texts) - _SHOWN} more" * (len(texts) > _SHOWN)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load the weights of a saved model into a model of the same architecture.

    Args:
        model: Its weights are replaced.
        folder: Folder with ``model.safetensors``, see :func:`find_model_folder`.

    Raises:
        CheckpointError: The file is missing or broken, holds other weights, or weights or image
            statistics are NaN or infinite.
    """
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Cannot read {str(folder / WEIGHTS)!r}: {error}.") from error
    except RuntimeError as error:
        raise _does_not_fit(folder, error) from error
    load_image_statistics(model, folder)
    check_finite_model(model, folder)


def load_image_statistics(model: nn.Module, folder: Path) -> None:
    """Let a model normalize images as a saved one of the same architecture does.

    Args:
        model: Models that are not derived from :class:`SavedModel` stay as they are.
        folder: Folder with ``config.json``.
    """
    if isinstance(model, SavedModel) and (folder / CONFIG).is_file():
        config = read_config(folder)
        mean, std = config.get("image_mean"), config.get("image_std")
        if mean is not None and std is not None:
            cast("MultiTaskModel", model).set_image_statistics(mean, std)


def check_finite_model(model: nn.Module, source: str | Path) -> None:
    """Check that the weights and image statistics of a saved model are finite.

    Args:
        model: The model.
        source: Folder of the model, for the message.

    Raises:
        CheckpointError: Values are NaN or infinite; the message names the tensors.

    Example:
        >>> import torch
        >>> from taskprism.models.hub import check_finite_model
        >>> layer = torch.nn.Linear(2, 1)
        >>> check_finite_model(layer, "runs/first")
        >>> layer.bias.data[0] = torch.nan
        >>> check_finite_model(layer, "runs/first")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        taskprism.errors.CheckpointError: The model in 'runs/first' is damaged: bias must be ...
    """
    values = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    bad = [
        name
        for name, tensor in values.items()
        if tensor.is_floating_point() and not all_finite(tensor)
    ]
    if bad:
        raise CheckpointError(
            f"The model in {str(source)!r} is damaged: {_shorten(bad)} must be finite, but "
            f"{'has' if len(bad) == 1 else 'have'} NaN or infinite values. Use another checkpoint "
            "of the run, or train it again."
        )


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether no value of a floating point tensor is NaN or infinite.

    A sum takes a seventh of the time of :func:`torch.isfinite`, and is NaN or infinite if any value
    is. The values are looked at only then, because the sum of large numbers also overflows.

    Example:
        >>> import torch
        >>> all_finite(torch.tensor([3e38, 3e38]))
        True
        >>> all_finite(torch.tensor([torch.inf, -torch.inf]))
        False
    """
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def find_model_folder(
    path_or_hub_id: str | Path,
    checkpoint: CheckpointChoice | None = None,
    access: HubAccess | None = None,
) -> Path:
    """Folder with ``config.json``: the given one, a checkpoint of a run, or a download.

    Args:
        path_or_hub_id: What :func:`load` accepts.
        checkpoint: Which checkpoint of a run directory. None: the last, or the best if a run has
            no other.
        access: How a model of the hub is read; None: its main branch, with the user's token.

    Raises:
        CheckpointError: There is no model, or the run has no such checkpoint.
    """
    path = _local(path_or_hub_id)
    if path.is_dir():
        if (path / CONFIG).is_file():
            return path
        for name in ("last", "best") if checkpoint is None else (checkpoint,):
            folder = path / _CHECKPOINTS / name
            if (folder / CONFIG).is_file():
                return folder
        checkpoint = checkpoint or "last"
        there = sorted(file.parent.name for file in path.glob(f"{_CHECKPOINTS}/*/{CONFIG}"))
        if there or (path / _CHECKPOINTS).is_dir():
            raise CheckpointError(
                f"{path_or_hub_id} has no checkpoint {checkpoint!r}; it has "
                f"{', '.join(there) or 'none yet'}."
            )
        raise CheckpointError(
            f"{str(path_or_hub_id)!r} holds no model: neither {CONFIG} nor "
            f"{_CHECKPOINTS}/{checkpoint}. Give a folder written by save_pretrained, or the "
            "directory of a run that has saved a checkpoint."
        )
    hub_id = HUB_ID.fullmatch(str(path_or_hub_id))
    if hub_id is not None:
        access = access or HubAccess()
        return download(hub_id["id"], hub_id["revision"] or access.revision, access)
    raise CheckpointError(
        f"There is no folder {str(path)!r}; give a model folder, a run directory, or a hub id "
        "'owner/name'."
    )


def _local(run: str | Path) -> Path:
    """Path of a run or model; of one at a URL, its copy without the training state."""
    if isinstance(run, str) and is_url(run):
        return fetch_folder(run, lambda name: name.endswith((CONFIG, WEIGHTS, _MANIFEST)))
    return Path(run)


def run_manifest(run: str | Path) -> dict[str, Any]:
    """Manifest of the run directory ``run``; empty if it is not a run directory.

    Raises:
        CheckpointError: The manifest is damaged.
    """
    file = _local(run) / _MANIFEST
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"Cannot read {file}: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is not the manifest of a run.")
    return content


def training_size(run: str | Path) -> tuple[int, int] | None:
    """``(H, W)`` at which the network of a run directory was trained; None if not recorded.

    Raises:
        CheckpointError: The manifest of the run is damaged.
    """
    manifest = run_manifest(run)
    if not manifest:
        return None
    try:
        height, width = manifest["protocol"]["input_size"]
        return int(height), int(width)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{run}/{_MANIFEST} does not contain the input size ({error!r}). Use --size native."
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """Content of ``config.json``.

    Raises:
        CheckpointError: The file is missing, too large or not JSON, or holds no mapping.
    """
    path = folder / CONFIG
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise CheckpointError(f"{str(path)!r} is too large for a model config.")
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"Cannot read {str(path)!r}: {error}.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{str(folder / CONFIG)!r} is not a model config.")
    return config
