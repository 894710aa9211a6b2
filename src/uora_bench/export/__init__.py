"""Finished cells leave the suite: as a PEFT adapter, as a plain merged model, or in our own format.

`load_model` is the way back in: a run folder, or a folder of ``format=native``, becomes a model ready for inference.
``uora-bench export`` is the command line (`uora_bench.cli.export`); nothing that trains imports this.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from uora_bench.config.cell import Cell


def load_model(
    folder: str | Path, weights: Literal["last", "best"] = "last", backbone: str | Path | None = None
) -> tuple[Any, Any, Cell]:
    """(model, tokenizer, cell) of the run folder or native export ``folder``; the model on the CPU, in eval mode.

    ``weights``: those after the last epoch, or those of the epoch that dev scored best (run folders only).
    ``backbone``: the folder of the backbone's weights, where the run had them from one (``backbone.path``) that is not
    there any more.

    Raises:
        UserError: when the folder is not of a finished cell, or the backbone cannot be had or is another one.
    """
    from uora_bench.export import loading, source

    loaded = loading.load_cell(source.read_source(Path(folder)), weights, None if backbone is None else str(backbone))
    return loaded.model, loaded.tokenizer, loaded.cell
