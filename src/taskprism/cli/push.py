"""``taskprism push``: upload a trained run to the Hugging Face hub."""

from __future__ import annotations

from typing import Annotated, Literal

import tyro

from taskprism.cli.arguments import OptionalFile, OptionalFolder, Runs
from taskprism.export.hub_folder import push_run, save_run


def push(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    repository: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OWNER/NAME")],
    /,
    *,
    private: bool = False,
    revision: Annotated[str | None, tyro.conf.arg(metavar="BRANCH")] = None,
    checkpoint: Literal["last", "best"] | None = None,
    compare_with: Runs = (),
    license: Annotated[str | None, tyro.conf.arg(metavar="LICENSE")] = None,
    picture: OptionalFile = None,
    save_to: OptionalFolder = None,
) -> None:
    """Upload a trained run to the Hugging Face hub, with a model card that has its scores.

    Config, weights, model card and a picture are uploaded; no optimizer state, log or recipe. Log
    in first with `hf auth login`, or set HF_TOKEN.

    Args:
        run: A run directory or its URL, or a saved model.
        repository: Id on the hub; the repository is created if it does not exist.
        private: Make a new repository private.
        revision: Branch to upload to; it is created if it does not exist. By default main.
        checkpoint: Weights of the last epoch or of the best one; by default those that metrics.json
            scores.
        compare_with: Other runs, or folders of runs, for a table in the card: other seeds, other
            methods, and the single-task runs that Δm needs.
        license: License of the model, such as apache-2.0. By default the card states the terms of
            the data and of the initial weights only.
        picture: Image that the card shows; by default predictions for a free photograph.
        save_to: Write the files into this folder and upload nothing.
    """
    if save_to is not None:
        save_run(
            run,
            save_to,
            repository,
            checkpoint=checkpoint,
            compare_with=compare_with,
            license=license,
            picture=picture,
        )
        print(f"Wrote {save_to}. Upload it with the same command without --save-to.")
        return
    url = push_run(
        run,
        repository,
        checkpoint=checkpoint,
        compare_with=compare_with,
        license=license,
        picture=picture,
        private=private or None,
        revision=revision,
    )
    print(f"Uploaded {run} to {url}")
