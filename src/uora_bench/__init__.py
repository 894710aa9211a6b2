"""uora_bench: trustworthy comparisons of parameter-efficient fine-tuning methods.

``inject`` puts a method on any model; ``save_adapter`` and ``load_adapter`` keep what it learnt. ``run``,
``plan``, ``build_table``, ``load_records``, ``load_epochs`` and ``load_predictions`` give grids, tables and records to
Python code.

Importing the package is free of torch, transformers, datasets and wandb: everything heavy is imported where it is used.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from uora_bench.util.log import configure
from uora_bench.util.version import __version__

if TYPE_CHECKING:
    from uora_bench.api.adapters import inject, load_adapter, save_adapter, trainer_callback
    from uora_bench.api.grids import build_table, plan, run
    from uora_bench.records.frame import load_epochs, load_predictions, load_records

__all__ = [
    "__version__",
    "build_table",
    "inject",
    "load_adapter",
    "load_epochs",
    "load_predictions",
    "load_records",
    "plan",
    "run",
    "save_adapter",
    "trainer_callback",
]

_MODULES = {
    "build_table": "api.grids",
    "inject": "api.adapters",
    "load_adapter": "api.adapters",
    "load_epochs": "records.frame",
    "load_predictions": "records.frame",
    "load_records": "records.frame",
    "plan": "api.grids",
    "run": "api.grids",
    "save_adapter": "api.adapters",
    "trainer_callback": "api.adapters",
}

# Imported by PEFT or for a 4-bit backbone, bitsandbytes regrets the absence of a CPU kernel that is never used here
# (`uora_bench.models.quantisation.keep_layout`); one line that is no mistake of the user's.
logging.getLogger("bitsandbytes.backends.cpu").setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    """A name of the API, imported when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module 'uora_bench' has no attribute '{name}'")
    configure()  # UORA_LOG holds for Python code, too
    return getattr(importlib.import_module(f"uora_bench.{_MODULES[name]}"), name)
