"""Records of schema 1 become records of today: no score changes, every id is that of the content, and a kill loses
nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from uora_bench.cli.main import main
from uora_bench.errors import UserError
from uora_bench.grid import build, request
from uora_bench.records import migrate
from uora_bench.records.migrate import migrate_records, new_word
from uora_bench.records.record import read_record, record_paths
from uora_bench.report import grades
from uora_bench.util import atomic

DATA = Path(__file__).parent / "data"  # records as commit 4813ca7 has them, with the files beside them cut short
FOLDERS = ("minilm_glue", "tiny_alpaca", "tiny_e2e")
ANSWERS = "20e235644b3cdcc4"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    shutil.copytree(DATA / "schema1", tmp_path / "results")
    return tmp_path / "results"


def contents(results: Path) -> dict[str, bytes]:
    return {str(p.relative_to(results)): p.read_bytes() for p in sorted(results.rglob("*")) if p.is_file()}


def raw(results: Path) -> dict[str, dict[str, Any]]:
    """The JSON of every record, by its id."""
    paths = [p for folder in (results / "records").iterdir() for p in record_paths(folder)]
    return {p.stem: json.loads(p.read_text("utf-8")) for p in paths}


def scores(results: Path) -> Counter[str]:
    """What may not change, as text: experiment, label, and every score of every rule and epoch with dev's halves."""
    found: Counter[str] = Counter()
    for data in raw(results).values():
        epochs = []
        for entry in data["epochs"]:
            dev = dict(entry["scores"].get("dev", {}))
            halves = dev.pop("halves", None) or entry.get("halves")
            epochs.append([{**entry["scores"], "dev": dev}, halves, entry["train_loss"], entry["seconds"]])
        said = [data[k] for k in ("experiment", "label", "scores", "counts", "seconds", "metric", "splits", "method")]
        found[json.dumps([said, epochs], sort_keys=True)] += 1
    return found


def id_of(data: dict[str, Any]) -> str:
    fingerprint = "/".join(f"{k}:{v}" for k, v in sorted(data["provenance"]["data"].items()))
    text = json.dumps([data["cell"], fingerprint], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def put(results: Path, experiment: str, data: dict[str, Any], cell_id: str | None = None) -> str:
    """Write a record of schema 1 under the id of its content, or another one."""
    data = {**data, "cell_id": cell_id or id_of(data)}
    folder = results / "records" / experiment
    folder.mkdir(exist_ok=True)
    (folder / f"{data['cell_id']}.json").write_text(json.dumps(data), "utf-8")
    return str(data["cell_id"])


def grade(results: Path, cell_id: str) -> None:
    """Put grades beside the answers of ``cell_id``, as the judge leaves them."""
    folder = results / "records" / "tiny_alpaca"
    digest = hashlib.sha256((folder / f"{cell_id}.mt_bench.jsonl").read_bytes()).hexdigest()
    content = {
        "complete": True, "turn_1": 5.0, "turn_2": 6.0, "score": 5.5, "judge": {"model": "m", "prompt_version": "1"},
        "answers": {"file": f"{cell_id}.mt_bench.jsonl", "sha256": digest},
    }  # fmt: skip
    (folder / f"{cell_id}.mt_bench_scores.json").write_text(json.dumps(content), "utf-8")
    (folder / f"{cell_id}.mt_bench_judgements.jsonl").write_text('{"key": "a"}\n', "utf-8")


def test_every_score_stays_and_every_id_is_that_of_the_content(results: Path) -> None:
    before, old = scores(results), set(raw(results))
    assert [id_of(data) == cell_id for cell_id, data in raw(results).items()] == [True] * 3
    assert migrate_records(results) == migrate.Migrated(3, 3, 0)
    assert scores(results) == before
    found = raw(results)
    assert {data["provenance"]["migrated_from"] for data in found.values()} == old
    assert not old & set(found)
    for cell_id, data in found.items():
        assert cell_id == data["cell_id"] == id_of(data)
        record = read_record(results / "records" / data["experiment"] / f"{cell_id}.json")
        assert record.cell["trainer"]["lr_scheduler"] == "linear"
        assert {"length_bucket", "lr_scheduler"} <= record.cell["trainer"].keys()
        assert "target_modules" in record.cell["backbone"]
        assert record.cell["init_from"] is None
        assert record.bytes is not None
    text = "".join(json.dumps(data) for data in found.values())
    for name in ("schedule", "length_window", "initialise_from", "to_ship", "kernel", "passes", "targets"):
        assert f'"{name}"' not in text
    glue = next(data for data in found.values() if data["experiment"] == "minilm_glue")
    assert set(glue["cell"]["backbone"]["target_modules"]) == {"q", "v"}
    assert glue["provenance"]["forward"] == {"factored": 12}
    assert set(glue["provenance"]["cpu_ops"]) == {"attention", "dropout"}
    assert glue["provenance"]["trainer"]["cpu_ops"] == "auto"
    assert all(len(entry["halves"]) == 2 for entry in glue["epochs"])
    alpaca = next(data for data in found.values() if data["experiment"] == "tiny_alpaca")
    assert "method.target_modules" in alpaca["sources"]


def test_a_second_call_changes_nothing(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["records", "migrate", f"results.dir={results}"]) == 0
    assert "3 record(s) brought to schema 2, 3 file(s)" in capsys.readouterr().out
    once = contents(results)
    assert main(["records", "migrate", f"results.dir={results}"]) == 0
    assert "0 record(s) brought to schema 2, 0 file(s) beside them renamed; 3 " in capsys.readouterr().out
    assert contents(results) == once


def test_what_lies_beside_a_record_goes_with_it(results: Path) -> None:
    grade(results, ANSWERS)
    before = contents(results)
    migrate_records(results)
    record = next(d for d in raw(results).values() if d["provenance"]["migrated_from"] == "b81eac0336c751e4")
    for role, name in record["provenance"]["outputs"].items():
        path = results / "records" / "tiny_e2e" / name
        assert name == f"{record['cell_id']}.{role}.txt"
        assert path.read_bytes() == before[f"records/tiny_e2e/b81eac0336c751e4.{role}.txt"]
    folder = results / "records" / "tiny_alpaca"
    (path,) = record_paths(folder)
    answers = [json.loads(line) for line in (folder / f"{path.stem}.mt_bench.jsonl").read_text("utf-8").splitlines()]
    assert {a["generation"]["cell_id"] for a in answers} == {path.stem}
    # the grades are of the file as it is now: a table takes them
    assert grades.graded(read_record(path), folder).scores["last"].scores["mt_bench"]["score"] == 5.5
    assert not [name for name in contents(results) if ANSWERS in name or "b81eac0336c751e4" in name]


def test_ids_that_other_records_name_are_the_new_ones(results: Path) -> None:
    (start, first), *_ = raw(results).items()
    warm = {**first, "cell": {**first["cell"], "initialise_from": "ab" * 32}}
    warm["provenance"] = {**first["provenance"], "initialise_from": start}
    name = put(results, first["experiment"], warm)
    migrate_records(results)
    found = {data["provenance"]["migrated_from"]: data for data in raw(results).values()}
    assert found[name]["provenance"]["init_from"] == found[start]["cell_id"]
    assert found[name]["cell"]["init_from"] == "ab" * 32


def test_the_words_of_a_command_are_todays() -> None:
    assert new_word("trainer.schedule=cosine") == "trainer.lr_scheduler=cosine"
    assert new_word("method.kernel=apart") == "method.forward=delta_weight"
    assert new_word("method.kernel=auto") == "method.forward=auto"
    assert new_word("backbone.targets.modules.q.path=x") == "backbone.target_modules.modules.q.path=x"
    assert new_word("method.rank=8") == "method.rank=8"


def test_the_paths_of_a_forward_pass_are_named_in_order(results: Path) -> None:
    (_, first), *_ = raw(results).items()
    known = {**first["provenance"], "kernel": {"apart+plain": 3, "composed": 1}}
    put(results, "more", {**first, "provenance": known})
    migrate_records(results)
    (path,) = record_paths(results / "records" / "more")
    assert read_record(path).provenance.forward == {"delta_weight+factored": 3, "merged_weight": 1}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(16))  # eight files are written and eight removed
def test_a_kill_in_the_middle_loses_nothing_and_the_same_call_goes_on(
    moment: int, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grade(results, ANSWERS)
    before = contents(results)
    shutil.copytree(results, tmp_path / "undisturbed")
    migrate_records(tmp_path / "undisturbed")
    steps = [0]

    def dies(act: Any) -> Any:
        def step(*args: Any, **more: Any) -> Any:
            if steps[0] == moment:
                raise Killed
            steps[0] += 1
            return act(*args, **more)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(atomic, "write_file", dies(atomic.write_file))
        patched.setattr(Path, "unlink", dies(Path.unlink))
        with pytest.raises(Killed):
            migrate_records(results)
    for name, content in before.items():  # what is gone is there under its new name
        if not (results / name).is_file():
            new = {data["provenance"].get("migrated_from"): cell_id for cell_id, data in raw(results).items()}
            stem = Path(name).name.partition(".")[0]
            moved = results / name.replace(stem, new[stem])
            assert moved.is_file(), name
            assert moved.suffix != ".txt" or moved.read_bytes() == content
    migrate_records(results)
    assert contents(results) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("change", ["content", "name"])
def test_a_record_that_is_not_named_by_its_content_stops_everything(change: str, results: Path) -> None:
    (cell_id, first), *_ = raw(results).items()
    if change == "content":
        put(results, "made_up", {**first, "cell": {**first["cell"], "seed": 7}}, cell_id)
    else:
        put(results, "made_up", first, "0123456789abcdef")
    before = contents(results)
    with pytest.raises(UserError, match="does not match its content") as caught:
        migrate_records(results)
    assert "made_up" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(results) == before


def test_a_new_record_of_the_same_cell_is_never_replaced(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "other")
    migrate_records(tmp_path / "other")
    (path,) = record_paths(tmp_path / "other" / "records" / "tiny_e2e")
    data = json.loads(path.read_text("utf-8"))
    del data["provenance"]["migrated_from"]  # run again, by today's program
    (results / "records" / "tiny_e2e" / path.name).write_text(json.dumps(data), "utf-8")
    before = contents(results)
    with pytest.raises(UserError, match="are records of one cell"):
        migrate_records(results)
    assert contents(results) == before


def test_a_failure_that_a_launcher_wrote_keeps_its_id(results: Path) -> None:
    (_, first), *_ = raw(results).items()
    known = {k: v for k, v in first["provenance"].items() if k in ("git", "command", "trainer")}
    known["failure"] = {"kind": "crash", "written_by": "the launcher"}
    failed = {k: first[k] for k in ("schema", "experiment", "label", "cell", "recipe", "sources", "metric")}
    failed |= {"status": "failed", "reason": "ended by SIGKILL", "provenance": known}
    name = put(results, "failures", failed, "0123456789abcdef")
    migrate_records(results)
    record = read_record(results / "records" / "failures" / f"{name}.json")
    assert (record.schema, record.cell_id, record.reason) == (2, name, "ended by SIGKILL")
    assert record.cell["trainer"]["lr_scheduler"] == "linear"


@pytest.mark.parametrize(
    "words",
    [["plan", "method=lora", "task=tiny/nli", "experiment_name=x"], ["tables", "experiment=tiny_e2e"],
     ["page", "experiment=tiny_e2e"], ["figures", "experiment=minilm_glue"]],
)  # fmt: skip
def test_every_reader_says_in_one_line_how_to_go_on(
    words: list[str], results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"results.dir={results}", *([f"runs.dir={tmp_path / 'runs'}"] if words[0] == "plan" else [])]
    assert main([*words, *where]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"is of schema 1; run `uora-bench records migrate results.dir={results}`" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "records migrate"),
        (["migrat"], "did you mean 'migrate'"),
        (["migrate", "result.dir=x"], "did you mean 'results.dir'"),
        (["migrate", "results.dir=nowhere"], "is no folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["records", *words]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_a_plan_finds_migrated_records(results: Path, tmp_path: Path) -> None:
    migrate_records(results)
    (path,) = record_paths(results / "records" / "minilm_glue")
    cell = read_record(path).cell
    words = [f"method={cell['method']['name']}", f"task={cell['task']['name']}", f"seed={cell['seed']}"]
    where = [f"results.dir={results}", f"runs.dir={tmp_path / 'runs'}", "experiment_name=minilm_glue"]
    plan, _ = build.build(request.read_request([*words, "backbone=minilm", *where]))
    assert [(item.state, item.cell_id) for item in plan.items] == [("done", path.stem)]
    assert os.listdir(results / "records" / "minilm_glue") == [path.name]
