"""Write ``docs/recipes.md``: every recipe that taskprism contains, with one line each.

Run ``python -m docs.generate.recipes`` in the repository root.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from taskprism.papers import list_tables
from taskprism.papers.table import load_table
from taskprism.recipes import list_recipes, load_recipe
from taskprism.recipes.files import find_recipe

PAGE = Path(__file__).parents[1] / "recipes.md"

_INTRODUCTION = """\
# Recipes

<!-- Written by `python -m docs.generate.recipes`: edit the program, not this page. -->

A recipe is a YAML file that describes a run: model, data, tasks, losses, optimizer and schedule.
Train one by name:

```
taskprism train rooms/mti_net --out runs/mti_net
taskprism train rooms/mti_net --help            # every key, its value here, and what it means
taskprism train rooms/mti_net --epochs 5 --model.backbone resnet18 --out runs/short
```

Instead of a recipe you can name a model, with your data: `taskprism train mti_net --data data.yaml
--out runs/mine`. To write your own recipe, start a YAML file with `extends: rooms/mti_net` and
change what differs.
"""
_GROUPS = {
    "demo": (
        "Demonstration",
        "The three networks of `taskprism demo`, on rooms that taskprism renders.",
    ),
    "rooms": (
        "Rooms",
        "Rooms that taskprism renders, with exact labels of every task. No data are needed.",
    ),
    "osd": (
        "Table tops",
        "107 photographs of table tops with depth and class labels (`osd_rgbd`, see "
        "[its page](protocols/shipped_folders.md)). Give their folder with `--data.root`.",
    ),
}
_PAPERS = """\
## Rows of the papers' tables

Every row of these tables is a recipe too: `taskprism train mti_net/2a/pad_net` trains one, and
`taskprism reproduce mti_net/2a` all rows of a table. `taskprism reproduce --list` prints this list;
see [the tables](tables/index.md).

| table | rows | what it compares |
|---|---:|---|
"""


def first_sentence(path: Path) -> str:
    """First sentence of the comment at the top of a recipe."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    text = " ".join(comment)
    # A sentence ends at a period before a capital letter, but not after "et al." and the like.
    return re.split(r"(?<!al)\.\s+(?=[A-Z])", text)[0].rstrip(".") + "."


def page() -> str:
    """The whole page as Markdown."""
    parts = [_INTRODUCTION]
    names = list_recipes()
    for prefix in dict.fromkeys(name.split("/")[0] for name in names):
        title, text = _GROUPS.get(prefix, (prefix, ""))
        parts.append(f"## {title}\n\n{text}\n\n| recipe | model | tasks | |\n|---|---|---|---|\n")
        for name in (name for name in names if name.split("/")[0] == prefix):
            recipe = load_recipe(name)
            tasks = ", ".join(recipe.tasks) or "all"
            line = first_sentence(find_recipe(name).path)
            parts[-1] += f"| `{name}` | `{recipe.model.name}` | {tasks} | {line} |\n"
    tables = _PAPERS
    for name in list_tables():
        table = load_table(name)
        rows = sum(len(part.rows) for part in table.parts.values())
        tables += f"| `{name}` | {rows} | {table.title} |\n"
    return "\n".join([*parts, tables])


def main() -> None:
    """Write the page to the path on the command line, by default ``docs/recipes.md``."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
