"""A record that was damaged or changed by hand is refused in one line, or harms nobody who reads it."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.records import finished_record
from uora_bench.cli.main import main
from uora_bench.config.compose import compose
from uora_bench.config.registry import task_options
from uora_bench.errors import UserError
from uora_bench.execution.run import summary
from uora_bench.grid.diff import Records
from uora_bench.records.record import CellRecord, read_record, record_data, record_text, set_aside
from uora_bench.report import explain
from uora_bench.report.collect import Run
from uora_bench.report.page.cells import Cells

ODD: list[Any] = [None, [], {}, "x", "", "\ud800", True, -1, 10**400, 1e308, [[]], {"a": {}}, [None]]
SHORT = (
    "method=head_only", "task=tiny/nli", "recipe=none", "tracker=none", "trainer.max_steps=1", "trainer.batch_size=4",
    "trainer.precision=float32", "task.splits.train=train[:8]", "task.splits.dev=validation[:8]",
    "task.splits.test=null",
)  # fmt: skip


def made() -> CellRecord:
    cell = compose(["task=glue/mrpc", "method=lora", "recipe=none"]).cell
    return finished_record(cell, "0" * 16, "x")


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


def with_value(data: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(data)
    node: Any = changed
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return changed


def use(record: CellRecord) -> None:
    """What a plan, a table, the page and a run that finds it make of a record."""
    record.metric.script  # noqa: B018
    (found,) = Records([record]).found
    _ = found.flat, found.started_from
    text = summary(record) if record.status == "done" else ""
    cell = record.cell
    run = Run(cell["task"]["name"], cell["seed"], {"method": cell["method"]["name"]}, record.metric,
              cell["task"]["splits"], record.status, recorded=record, cell_id=record.cell_id)  # fmt: skip
    known = Cells()
    known.add(run, "x", orphan=True)
    text += explain.command(run) + json.dumps(known.found, ensure_ascii=False)
    text.encode("utf-8")


def check(path: Path, text: str) -> bool:
    """Whether the record is refused; else everybody can use it."""
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    said = ""
    try:
        record = read_record(path)
    except UserError as error:
        said = str(error)
    if not said:
        use(record)
    assert "\n" not in said
    said.encode("utf-8")
    return bool(said)


def test_odd_values_anywhere_are_refused_or_harmless(tmp_path: Path) -> None:
    data = json.loads(record_text(record_data(made())))
    path = tmp_path / f"{data['cell_id']}.json"
    assert not check(path, json.dumps(data))
    draw = random.Random(0)
    refused = [check(path, json.dumps(with_value(data, where, draw.choice(ODD)))) for where in places(data)]
    assert sum(refused) > len(refused) // 3


@pytest.mark.slow
def test_every_odd_value_at_every_place(tmp_path: Path) -> None:
    data = json.loads(record_text(record_data(made())))
    for where in places(data):
        for value in ODD:
            check(tmp_path / f"{data['cell_id']}.json", json.dumps(with_value(data, where, value)))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["scores"]["last"]["scores"]["dev"].update(accuracy="0.5"),
        lambda d: d["scores"]["last"]["scores"]["dev"].update(accuracy=None),
        lambda d: d["scores"]["last"]["scores"]["dev"].update(f1=[0.5]),
        lambda d: d["scores"]["best_dev"]["scores"].pop("dev"),
        lambda d: d["epochs"][0]["scores"]["dev"].update(accuracy=True),
        lambda d: d["splits"].update(dev=[]),
        lambda d: d["cell"]["task"]["splits"].update(dev=[]),
        lambda d: d["cell"].pop("method"),
        lambda d: d.update(label="\ud800"),
        lambda d: d.update(cell_id="1" * 16),
        lambda d: d["method"].update(a=json.loads("[" * 200 + "]" * 200)),
    ],
)
def test_what_cannot_be_used_is_refused(change: Any, tmp_path: Path) -> None:
    data = json.loads(record_text(record_data(made())))
    change(data)
    assert check(tmp_path / f"{'0' * 16}.json", json.dumps(data))


def test_nesting_beyond_the_parser_is_one_line(tmp_path: Path) -> None:
    assert check(tmp_path / f"{'0' * 16}.json", "[" * 100_000)


@pytest.mark.parametrize("family", ["os", "base", "..records.record", "text_classification.x", "", "__init__"])
def test_a_family_is_the_name_of_a_file_and_never_a_path_to_import(family: str) -> None:
    with pytest.raises(UserError, match="no family"):
        task_options(family)


def test_a_record_of_another_cell_is_not_already_done_and_force_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("uora_bench.util.signals.StopRequest.install", lambda self: None)
    assert main(list(SHORT)) == 0
    (path,) = tmp_path.glob("results/records/scratch/*.json")
    first = path.read_bytes()
    capsys.readouterr()
    assert main([*SHORT, "force=true"]) == 0
    (old,) = tmp_path.glob(f"results/records/scratch/replaced/{path.stem}.*/*.json")
    assert old.read_bytes() == first
    assert str(old.parent.relative_to(tmp_path)) in capsys.readouterr().err
    assert list(path.parent.glob("*.json")) == [path]
    data = json.loads(path.read_text())
    data["cell"]["seed"] = 1
    path.write_text(json.dumps(data))
    assert main(list(SHORT)) == 2
    assert "does not match its name" in capsys.readouterr().err


def test_setting_aside_takes_all_that_is_named_after_the_record(tmp_path: Path) -> None:
    made().write(tmp_path)
    beside = tmp_path / f"{'0' * 16}.dev.txt"
    beside.write_text("what it wrote")
    target = set_aside(tmp_path, "0" * 16)
    assert target is not None
    assert {p.name for p in target.iterdir()} == {f"{'0' * 16}.json", beside.name}
    assert set_aside(tmp_path, "0" * 16) is None
    made().write(tmp_path)
    again = set_aside(tmp_path, "0" * 16)
    assert again not in (None, target)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("counts", "adapter"), -1, "counts.adapter=-1 must be at least 0"),
        (("seconds", "train"), -0.5, "seconds.train=-0.5 must be at least 0"),
        (("seconds", "total"), 1e300, "at most 1e+30"),
        (("peak_memory_bytes",), 10**400, "at most 1e+30"),
        (("splits", "dev", "rows"), -1, "rows=-1 must be at least 0"),
        (("work",), {"tokens": 1, "tokens_padded": 1, "forward": -1}, "work.forward=-1 must be at least 0"),
        (("energy",), {"joules": -1, "source": "rapl"}, "energy.joules=-1.0 must be at least 0"),
    ],
)
def test_a_negative_or_endless_cost_is_refused(path: tuple[str, ...], value: Any, said: str, tmp_path: Path) -> None:
    file = tmp_path / f"{'0' * 16}.json"
    file.write_text(json.dumps(with_value(record_data(made()), path, value)))
    with pytest.raises(UserError) as caught:
        read_record(file)
    assert said in str(caught.value)
