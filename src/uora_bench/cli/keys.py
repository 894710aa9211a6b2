"""Keys that several commands have: one name and one meaning each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from uora_bench.cli.parser import Given, Key

if TYPE_CHECKING:
    from uora_bench.grid.table_spec import Rule

DATA_ROOT = Key("data.root", "folder of local data files and models (or UORA_DATA_DIR)", shown="<folder>")
RESULTS = Key("results.dir", "where records, tables and figures are", "results", others=("results",))
RUNS = Key("runs.dir", "where checkpoints, weights and logs are", "runs", others=("runs",))
EXPERIMENT = Key("experiment", "a preset, or a file of your own", shown="NAME|./grid.yaml")
EXPERIMENT_NAME = Key("experiment_name", "records go to <results.dir>/records/<name>/", "scratch")
RECORDED = Key("experiment", "whose records; all where none is named", shown="NAME|./grid.yaml")
OF_CELL = Key("experiment", "whose cell it is, where several experiments have it", shown="NAME")
RUN_RESULTS = replace(RESULTS, help="where the cell's record is; else what the run had", default=None, shown="<folder>")
BACKBONE = Key(
    "backbone.path", "the backbone's weights, where the run's own are gone", shown="<folder>", others=("backbone",)
)
RULE = Key("rule", "whose epoch counts (default: the table's own rule)", choices=("last", "best_dev", "heldout_dev"))
CHECK = Key("check", "change nothing; are the files there what the records give?", flag=True)
CACHE = Key("cache", "false: compute all numbers again, though nothing changed", "true", ("true", "false"))
FORCE = Key("force", "do it again even if the result exists", flag=True)
DRY_RUN = Key("dry_run", "say what would be done, and do nothing", flag=True)
CELL = (
    Key("method", "what adapts the backbone", "uora"),
    Key("task", "what it is trained and scored on", "tiny/nli"),
    Key("backbone", "the pretrained model (default: the task's)"),
    Key("recipe", "hyperparameters (default: those of method and backbone)", shown="none"),
    Key("seed", "of head, data order, dropout and adapter", "0"),
)
TRACKER = Key("tracker", "where curves go", "wandb", shown="wandb|trackio|tensorboard|none")
ANY = Key("any.key", "every key of configs/, as trainer.epochs=3 trainer.precision=auto")


def rule_of(given: Given) -> Rule | None:
    """The selection rule that ``given`` asks for; None leaves it to each table."""
    return cast("Rule | None", given.text(RULE.name))
