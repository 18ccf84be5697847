"""PyTorch's module containers, with the class of their modules known to the type checker."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


class ModuleDict(nn.ModuleDict, Generic[M]):
    """:class:`torch.nn.ModuleDict` whose modules are all of one class.

    It behaves exactly as PyTorch's, state dict keys included. The only difference is for the type
    checker: ``modules[name]``, ``values()`` and ``items()`` give the class that was put in and not
    just ``nn.Module``. So a model can call methods of its parts, or iterate over a nested
    dictionary, without a cast. Declare an empty one as ``ModuleDict[nn.Conv2d]()``.

    Args:
        modules: Name -> module.

    Example:
        >>> from torch import nn
        >>> from taskprism.layers import ModuleDict
        >>> layers = ModuleDict({"depth": nn.Conv2d(8, 1, kernel_size=1)})
        >>> layers["depth"].out_channels
        1
    """

    if TYPE_CHECKING:

        def __init__(self, modules: Mapping[str, M] | None = None) -> None: ...
        def __getitem__(self, key: str) -> M: ...

        def items(self) -> ItemsView[str, M]:
            """Names and modules, in the order in which they were added."""
            ...

        def values(self) -> ValuesView[M]:
            """Modules in the order in which they were added."""
            ...


class ModuleList(nn.ModuleList, Generic[M]):
    """:class:`torch.nn.ModuleList` whose modules are all of one class; see :class:`ModuleDict`.

    Args:
        modules: The modules in order.

    Example:
        >>> from torch import nn
        >>> from taskprism.layers import ModuleList
        >>> [layer.out_channels for layer in ModuleList(nn.Conv2d(8, n, 1) for n in (4, 2))]
        [4, 2]
    """

    if TYPE_CHECKING:

        def __init__(self, modules: Iterable[M] | None = None) -> None: ...
        def __getitem__(self, idx: int) -> M: ...  # pyrefly: ignore[bad-override]
        def __iter__(self) -> Iterator[M]: ...
