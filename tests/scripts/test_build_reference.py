"""The reference pages: every key, option, command and field of the code is on them, with its comment and its type."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from annotated_types import Ge, Lt

import uora_bench
from tests.support.paths import ROOT
from tests.support.scripts import script
from uora_bench.cli.main import MODULES
from uora_bench.config import registry
from uora_bench.config.compose import compose

reference = script("build_reference")
sources = script("reference_sources")
PAGES = reference.pages()


def test_every_key_of_a_cell_is_on_a_page() -> None:
    page = PAGES["reference/configuration.md"]
    values = compose(["method=lora", "task=tiny/nli"]).values
    flat = {f"trainer.{key}" for key in values["trainer"]} | {f"tracker.{key}" for key in values["tracker"]}
    flat |= {"seed", "experiment_name", "force", "dry_run", "data.root", "results.dir", "runs.dir"}
    assert [key for key in sorted(flat) if f"| `{key}` |" not in page] == []


@pytest.mark.parametrize("name", registry.choices("method"))
def test_every_option_of_a_method_is_on_its_page(name: str) -> None:
    part = PAGES["reference/methods.md"].split(f"## method={name}\n")[1].split("\n## ")[0]
    own = yaml.safe_load((ROOT / "configs" / "method" / f"{name}.yaml").read_text("utf-8"))
    assert [key for key in own if key not in ("name", "version", "defaults") and f"`method.{key}" not in part] == []


def test_every_command_and_function_and_choice_is_on_a_page() -> None:
    assert [name for name in MODULES if f"\n## {name}\n" not in PAGES["reference/commands.md"]] == []
    assert [n for n in uora_bench.__all__ if n != "__version__" and f".{n}\n" not in PAGES["reference/api.md"]] == []
    for group in ("task", "backbone", "recipe", "experiment"):
        page = PAGES[f"reference/{group}s.md"]
        assert [name for name in registry.choices(group) if f"\n## {name}\n" not in page] == []


def test_comments_and_types_stand_beside_their_keys() -> None:
    page = PAGES["reference/configuration.md"]
    assert "| `trainer.warmup_ratio` | `0.06` | number ≥ 0, &lt; 1 | share of all optimizer steps |" in page
    # a comment of several lines is one text
    assert "for a backbone that is too large for one GPU: start with torchrun" in page
    assert "`learning_rate`" in page.split("| `trainer.lr_adapter` | `")[-1].split("\n")[0]


def test_the_schema_has_every_key_of_the_committed_records() -> None:
    schema = json.loads(PAGES["reference/record.schema.json"])

    def missing(value: Any, part: dict[str, Any], where: str) -> list[str]:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        for one in part.get("anyOf", ()):
            if value is not None and one.get("type") != "null":
                return missing(value, one, where)
        if isinstance(value, list):
            return [name for item in value for name in missing(item, part.get("items", {}), where)]
        known = part.get("properties")
        if not isinstance(value, dict) or known is None:
            return []
        found = [f"{where}.{key}" for key in value if key not in known]
        return found + [n for key in value if key in known for n in missing(value[key], known[key], f"{where}.{key}")]

    records = [
        path for folder in (ROOT / "results" / "records").glob("*_*") for path in sorted(folder.glob("*.json"))[:1]
    ]
    records = [path for path in records if not path.parent.name.startswith("theory")]
    assert len(records) > 5
    assert [name for path in records for name in missing(json.loads(path.read_text("utf-8")), schema, path.stem)] == []
    assert missing({"schema": 2, "seconds": {"setup": 1, "nonsense": 2}}, schema, "r") == ["r.seconds.nonsense"]
    assert schema["properties"]["examples_per_second"]["description"] == "training"


@dataclass
class Example:
    """Options."""

    size: Annotated[int, Ge(1), Lt(5)]  # of it
    kind: Literal["a", "b"] | None = None
    pairs: tuple[float, ...] = ()


def test_a_dataclass_is_a_table() -> None:
    assert reference.typed(Example, "x.")[2:] == [
        "| `x.size` | whole number ≥ 1, &lt; 5 | required | of it |",
        "| `x.kind` | `a`, `b` or null | `null` |  |",
        "| `x.pairs` | list of number | `[]` |  |",
    ]
    with pytest.raises(ValueError, match="Example has no field epochs"):
        reference.key_rows(ROOT / "configs" / "trainer" / "default.yaml", Example)


def test_a_yaml_file_is_read_with_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        '# What\n# it is\na: "x # y"   # one\n         # two\n# none\nb: {c: 1}\nd:\n  e: null # three\n', "utf-8"
    )
    assert [(key.name, key.value, key.comment) for key in sources.yaml_keys(path)] == [
        ("a", '"x # y"', "one two"), ("b", "{c: 1}", ""), ("d.e", "null", "three"),
    ]  # fmt: skip
    assert sources.leading_comment(path) == "What it is"
