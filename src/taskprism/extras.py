"""Optional packages: imported where they are used, and named with their pip command if missing.

An extra of taskprism is a set of packages that some users need: ``pip install 'taskprism[onnx]'``.
"""

from __future__ import annotations

import importlib
from typing import Any

from taskprism.errors import InputError


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: Its full name, such as ``onnxruntime.quantization``.
        extra: Extra of taskprism that installs the package.
        purpose: What needs it, as the start of a sentence: ``"Exporting to ONNX"``.

    Returns:
        The module.

    Raises:
        InputError: The package is not installed, or one that it needs is missing or broken; the
            message has the pip command.

    Example:
        >>> import_extra("json", "onnx", "Reading a file").loads("[1]")
        [1]
        >>> import_extra("no_such_package.part", "onnx", "Exporting to ONNX")
        Traceback (most recent call last):
        taskprism.errors.InputError: Exporting to ONNX needs no_such_package: \
pip install 'taskprism[onnx]'.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        # An installed package can fail for another reason, such as a missing library.
        missing = (getattr(error, "name", None) or "").partition(".")[0] in ("", package)
        reason = "" if missing else f" ({error})"
        raise InputError(
            f"{purpose} needs {package}{reason}: pip install 'taskprism[{extra}]'."
        ) from error
