"""Tables that would say something else than their specification means are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.table_bench import GRID, Bench
from uora_bench.errors import UserError


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_specification_that_leaves_two_cells_of_a_seed_in_one_place_is_refused(bench: Bench) -> None:
    bench.preset(table={"rows": [{"label": "both", "when": {"method": ["lora", "uora"]}}]})
    with pytest.raises(UserError, match="two cells of one seed"):
        bench.table()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"columns": [{"metric": "acuracy"}]}, "column 'a': glue/rte has no 'acuracy'; did you mean 'accuracy'?"),
        ({"columns": [{"split": "tset"}]}, "column 'a': glue/rte scores no split 'tset'"),
        ({"columns": [{"split": "mt_bench", "metric": "turn_3"}]}, "mt_bench has no 'turn_3'; "),
        ({"columns": [{"metric": "accuracy", "higher_is_better": False}]}, "higher_is_better of accuracy is true"),
        ({"columns": [{}, {}]}, "two columns of the table are called 'a'"),
        ({"rows": [{"label": "r", "when": {"method": m}} for m in ("lora", "uora")]}, "two rows of the table"),
        ({"rows": [{"label": "lora", "when": {"method": "uora"}}]}, "two rows of the table are called 'lora'"),
        ({"columns": [{}, {"label": "b", "scale": 1.0}], "average": True}, "table.average needs"),
        ({"columns": [{}, {"label": "b", "scale": 1.0}], "reference": "lora"}, "a table with a reference row"),
    ],
)  # fmt: skip
def test_a_table_that_would_say_something_else_is_refused(bench: Bench, spec: dict[str, Any], said: str) -> None:
    columns = [{"task": "glue/rte", "label": "a", **column} for column in spec.get("columns", [{}])]
    bench.preset(axes={**GRID["axes"], "task": ["glue/rte"]}, table={**spec, "columns": columns})
    for method in ("lora", "uora"):
        bench.record(f"method={method} task=glue/rte seed=0", 0.5)
    with pytest.raises(UserError, match=re.escape(said)):
        bench.table()


def test_a_column_knows_the_direction_and_the_scale_of_its_value(bench: Bench) -> None:
    column = {"task": "instruct/alpaca_1000", "label": "p", "metric": "perplexity"}
    axes = {"method": ["lora", "uora"], "task": ["instruct/alpaca_1000"], "seed": [0]}
    bench.preset(axes=axes, set={"backbone": "tiny_llama"}, table={"columns": [column]})
    (found,) = bench.table().columns
    assert (found.higher_is_better, found.scale) == (False, 1.0)
