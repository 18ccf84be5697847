"""The license that a model card states."""

from __future__ import annotations

from pathlib import Path

import yaml

_LONGEST = 2**20  # characters


def license_of_card(folder: Path) -> str:
    r"""License in the front matter of ``README.md``; empty if none is stated.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Model")
        >>> license_of_card(folder)
        'cc-by-nc-4.0'
    """
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")[:_LONGEST]
    except OSError:
        return ""
    before, mark, rest = text.partition("---\n")
    front, end, _ = rest.partition("\n---")
    if before.strip() or not mark or not end:
        return ""
    try:
        card = yaml.safe_load(front)
    except yaml.YAMLError:
        return ""
    if not isinstance(card, dict):
        return ""
    keys = ("license", "license_name", "license_link")
    stated = [str(card[key]) for key in keys if card.get(key) not in (None, "other")]
    return ", ".join(stated)
