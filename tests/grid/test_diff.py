"""A grid against records: done, stale, failed, running, to do, each for its reason; and what the rest will take."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.command_line import last_of_each
from tests.support.records import changed, finished_record
from uora_bench.config.cell import Cell
from uora_bench.errors import UserError
from uora_bench.grid import build, expand, memory, request, show
from uora_bench.grid.model import Plan
from uora_bench.records import attempts
from uora_bench.records.record import CellRecord, Retention

WORDS = ("method=lora,uora", "task=tiny/nli", "seed=0,1", "experiment_name=x")


class Place:
    """A folder with records and runs, and plans of the grid in it."""

    def __init__(self, folder: Path) -> None:
        self.results, self.runs = folder / "results", folder / "runs"

    def plan(self, *words: str, queued: dict[str, str] | None = None) -> Plan:
        asked = [*(w for w in WORDS if w.split("=")[0] not in {v.split("=")[0] for v in words}), *words]
        where = [f"results.dir={self.results}", f"runs.dir={self.runs}"]
        return build.build(request.read_request([*asked, *where]), queued=queued)[0]

    def states(self, *words: str, queued: dict[str, str] | None = None) -> dict[str, str]:
        items = self.plan(*words, queued=queued).items
        return {i.label.replace(" tiny/nli tiny_roberta seed=", " "): f"{i.state} {i.reason}".strip() for i in items}

    def cell(self, method: str = "lora", *words: str) -> Cell:
        found = expand.expand(last_of_each(f"method={method}", "task=tiny/nli", "seed=0", *words)).items[0].cell
        assert found is not None
        return found

    def write(self, cell: Cell, experiment: str = "x", **changes: object) -> CellRecord:
        record = finished_record(cell, cell.cell_id("data"), experiment, **changes)
        record.write(self.results / "records" / experiment)
        return record

    def lease(self, cell: Cell) -> None:
        attempts.write_lease(attempts.attempts_folder(self.runs, "x"), cell.key, cell.cell_id("data"), "now")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_nothing_there_is_all_to_do(place: Place) -> None:
    assert place.states() == {"lora 0": "todo", "lora 1": "todo", "uora 0": "todo", "uora 1": "todo"}


def test_a_finished_record_without_what_is_asked_for_says_so(place: Place) -> None:
    place.write(place.cell())
    place.write(place.cell("uora"), retention=Retention("drift", "text", 10, 0.0, 0.1, 0.0, 0.0))
    states = place.states("retention.measure=true")
    assert states["lora 0"] == "done without retention (force=true runs again and measures it)"
    assert states["uora 0"] == "done"
    assert place.states()["lora 0"] == "done"


def test_a_record_is_found_again_and_one_elsewhere_does_not_count(place: Place) -> None:
    place.write(place.cell())
    place.write(place.cell("uora"), experiment="other")
    states = place.states()
    assert states["lora 0"] == "done"
    assert states["uora 0"] == "todo"
    assert [i.state for i in place.plan().to_run()] == ["todo"] * 3


def test_a_record_made_with_other_versions_or_defaults_is_stale_and_says_why(place: Place) -> None:
    cell = place.cell()
    place.write(replace(cell, method=replace(cell.method, version=0)))
    assert place.states()["lora 0"] == "stale made with other settings: method.version 0 → 1"
    place.write(replace(cell, trainer=replace(cell.trainer, batch_size=77)))
    assert "method.version 0 → 1" in place.states()["lora 0"] or "trainer.batch_size 77" in place.states()["lora 0"]
    place.write(cell)
    assert place.states()["lora 0"] == "done"


def test_a_setting_of_the_command_line_makes_another_cell_not_a_stale_one(place: Place) -> None:
    place.write(place.cell("lora", "trainer.epochs=3"), provenance={"command": ["trainer.epochs=3"]})
    assert place.states()["lora 0"] == "todo"
    assert place.states("trainer.epochs=3")["lora 0"] == "done"
    place.write(place.cell())
    assert place.states("method.rank=3", "method=lora")["lora 0"] == "todo"


def test_changed_local_data_is_stale(place: Place, tmp_path: Path) -> None:
    root = tmp_path / "data" / "glue" / "rte"
    root.mkdir(parents=True)
    (root / "train.jsonl").write_text("{}")
    words = ("task=glue/rte", "backbone=tiny_roberta", f"data.root={tmp_path / 'data'}")
    cell = place.cell("lora", *words)
    import hashlib

    digest = hashlib.sha256(b"{}").hexdigest()[:16]
    place.write(cell, provenance={"data_files": {"train.jsonl": digest}, "command": []})
    (state,) = {i.state for i in place.plan("method=lora", "seed=0", *words).items}
    assert state == "done"
    (root / "train.jsonl").write_text("{ }")
    (item,) = place.plan("method=lora", "seed=0", *words).items
    assert (item.state, item.reason) == ("stale", "data changed: train.jsonl")


def test_failures_say_their_reason_whoever_wrote_it(place: Place) -> None:
    done = finished_record(place.cell(), place.cell().cell_id("data"), "x")
    failed = replace(done, status="failed", reason="the loss is not finite")
    failed.write(place.results / "records" / "x")
    refused = attempts.Attempt("now", 1.0, "refused", "no such file")
    attempts.add_attempt(attempts.attempts_folder(place.runs, "x"), place.cell("uora").key, refused)
    states = place.states()
    assert states["lora 0"] == "failed the loss is not finite"
    assert states["uora 0"] == "failed no such file"
    assert len(place.plan().to_run()) == 4
    place.write(place.cell())
    assert place.states()["lora 0"] == "done"


def test_a_running_cell_is_known_by_its_lock(place: Place) -> None:
    cell = place.cell()
    place.lease(cell)
    lock = place.runs / "x" / f"{cell.cell_id('data')}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        assert place.states()["lora 0"].startswith("running process ")
    assert place.states()["lora 0"] == "todo"
    checkpoint = place.runs / "x" / cell.cell_id("data") / "checkpoints" / "last.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert place.states()["lora 0"] == "todo resumes from its checkpoint"
    checkpoint.rename(checkpoint.with_name("previous.pt"))  # killed between the two renames of a save
    assert place.states()["lora 0"] == "todo resumes from its checkpoint"
    checkpoint.with_name("previous.pt").unlink()
    assert place.states()["lora 0"] == "todo"


def test_what_a_cluster_holds_is_not_submitted_again(place: Place) -> None:
    queued = {place.cell().key: "job 7 PENDING"}
    assert place.states(queued=queued)["lora 0"] == "queued job 7 PENDING"
    place.write(place.cell())
    assert place.states(queued=queued)["lora 0"] == "done"


def test_a_warm_start_is_done_only_with_the_record_it_started_from(place: Place) -> None:
    cold, warm = place.cell(), replace(place.cell(), init_from="ab" * 32)
    place.write(warm, provenance={"init_from": "someid", "command": []})
    assert place.states()["lora 0"] == "todo"
    assert place.states("init_from=somewhere/someid")["lora 0"] == "done"
    assert place.states("init_from=otherid")["lora 0"] == "todo"
    place.write(cold)
    assert place.states()["lora 0"] == "done"


def test_weights_of_ones_own_are_told_apart(place: Place, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(name)
    from uora_bench.util import weights

    digest = weights.sha256_of(tmp_path / "a")
    cell = place.cell("lora", f"backbone.path={tmp_path}/a")
    place.write(replace(cell, weights=digest))
    assert place.states()["lora 0"] == "todo"
    states = [i.state for i in place.plan(f"backbone.path={tmp_path}/a,{tmp_path}/b", "method=lora", "seed=0").items]
    assert sorted(states) == ["done", "todo"]
    (tmp_path / "a" / "tokenizer.json").write_text("{}")  # another tokenizer is another cell
    states = [i.state for i in place.plan(f"backbone.path={tmp_path}/a", "method=lora", "seed=0").items]
    assert states == ["todo"]


def test_a_file_written_anew_with_the_same_rows_is_no_other_data(place: Place, tmp_path: Path) -> None:
    root = tmp_path / "data" / "glue" / "rte"
    root.mkdir(parents=True)
    (root / "train.jsonl").write_text("{}")
    words = ("task=glue/rte", "backbone=tiny_roberta", f"data.root={tmp_path / 'data'}", "method=lora", "seed=0")
    cell = place.cell("lora", *words)
    place.write(cell, provenance={"data_files": {"train.jsonl": "another"}, "command": []})
    assert [i.state for i in place.plan(*words).items] == ["stale"]
    looked = attempts.Attempt("2999-01-01T00:00:00+00:00", 1.0, "done")  # the cell found its record as good as new
    attempts.add_attempt(attempts.attempts_folder(place.runs, "x"), cell.key, looked)
    assert [i.state for i in place.plan(*words).items] == ["done"]


@pytest.mark.parametrize(
    ("made", "asked"), [("method.target_modules=[q]", "method.target_modules=[k]"), ("method.rank=4", "method.rank=8")]
)
def test_a_given_setting_is_never_stale(made: str, asked: str, place: Place) -> None:
    place.write(place.cell("lora", made), provenance={"command": [made]})
    assert place.states(asked)["lora 0"] == "todo"


def test_force_makes_what_is_done_open(place: Place) -> None:
    place.write(place.cell())
    assert place.states("force=true")["lora 0"] == "stale force=true"


def test_a_record_that_cannot_be_read_is_named(place: Place) -> None:
    record = place.write(place.cell())
    path = place.results / "records" / "x" / f"{record.cell_id}.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match=f"{record.cell_id}.json"):
        place.plan()


# --- estimates ----------------------------------------------------------------------------------------------------


def estimate(plan: Plan, method: str) -> tuple[float | None, int | None, str]:
    item = next(i for i in plan.items if i.label.startswith(method))
    return item.seconds, item.memory_bytes, item.basis


def test_no_record_no_estimate(place: Place) -> None:
    assert estimate(place.plan(), "lora") == (None, None, "")


def test_time_scales_with_the_examples_and_evaluation_with_the_epochs(place: Place) -> None:
    # 100 rows, 2 epochs: 5 s to set up, 100 s to train 200 examples at 2 a second, 20 s to evaluate twice
    place.write(place.cell("lora", "trainer.epochs=2"), experiment="past")
    plan = place.plan("trainer.epochs=6")
    seconds, memory, basis = estimate(plan, "lora")
    assert seconds == pytest.approx(5 + 300 + 60)
    assert memory == 10**9
    assert basis == "1 record of this method, task and backbone, CPU"
    assert estimate(plan, "uora")[0] == pytest.approx(365)  # of the same task and backbone
    assert "task and backbone" in estimate(plan, "uora")[2]
    seconds, _, _ = estimate(place.plan("trainer.epochs=6", "trainer.evaluate=last"), "lora")
    assert seconds == pytest.approx(5 + 300 + 10)
    batch = place.cell().trainer.batch_size
    seconds, _, _ = estimate(place.plan("trainer.max_steps=50"), "lora")
    assert seconds == pytest.approx(5 + 50 * batch / 2 + 10 * 50 * batch / 100)


def test_the_estimate_is_a_median_over_the_commonest_device(place: Place) -> None:
    for number, (train, gpu) in enumerate([(100.0, ""), (140.0, ""), (900.0, ""), (1.0, "GPU X")]):
        record = finished_record(place.cell("lora", "trainer.epochs=2", f"seed={number}"), f"{number:016d}", "past")
        facts = {"command": [], "hardware": {"gpus": [gpu]} if gpu else {}}
        seconds = replace(record.seconds, train=train)  # type: ignore[type-var]
        record = changed(record, seconds=seconds, examples_per_second=200 / train, provenance=facts)
        record.write(place.results / "records" / "past")
    seconds, _, basis = estimate(place.plan("trainer.epochs=2"), "lora")
    assert seconds == pytest.approx(165)
    assert basis == "3 records of this method, task and backbone, CPU"


def test_failed_and_broken_records_estimate_nothing(place: Place) -> None:
    place.write(place.cell(), experiment="past", status="failed", reason="x")
    folder = place.results / "records" / "past"
    (folder / "broken.json").write_text("{")
    (folder / "list.json").write_text(json.dumps({"status": "done"}))
    assert estimate(place.plan(), "lora")[0] is None


def test_a_trace_foretells_the_memory_of_every_row_that_can_be_traced(place: Place) -> None:
    place.write(place.cell("lora", "trainer.epochs=2"), experiment="past")
    where = [f"results.dir={place.results}", f"runs.dir={place.runs}"]
    wanted = request.read_request(
        ["method=lora,uora,vera,full", "task=tiny/nli", "seed=0,1", "experiment_name=x", *where]
    )
    plan, grid = build.build(wanted)
    cells = {p.key: p.cell for p in grid.items}
    asked: list[str] = []

    def trace(cell: Cell) -> int:
        asked.append(cell.method.name)
        if cell.method.name == "full":
            raise UserError("not this one")
        return 5 * 10**9

    told, notes = memory.fill(plan, cells, trace)
    # one of two seeds; LoRA's record may be of another rank or batch
    assert sorted(asked) == ["full", "lora", "uora", "vera"]
    assert notes == ["not traced: full tiny/nli tiny_roberta: not this one"]
    sizes = {i.row.split()[0]: (i.memory_bytes, i.memory_traced) for i in told.items}
    assert sizes == {
        "lora": (5 * 10**9, True),
        "uora": (5 * 10**9, True),
        "vera": (5 * 10**9, True),
        "full": (10**9, False),
    }
    assert all(now.seconds == before.seconds for now, before in zip(told.items, plan.items, strict=True))
    assert show.totals(told)[-1].endswith("~5.0 GB at most")
    assert "~" not in " ".join(show.totals(plan))
