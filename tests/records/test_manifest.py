"""The manifest of a grid: whatever is changed, removed, added or put in from elsewhere is named."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from uora_bench.cli.main import main
from uora_bench.errors import UserError
from uora_bench.records.manifest import _chained, check_manifest, write_manifest
from uora_bench.theory import record as theory


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    """A copy of a committed grid, with its manifest."""
    made = tmp_path / "results" / "records" / "minilm_glue"
    shutil.copytree(root / "results" / "records" / "minilm_glue", made)
    write_manifest(made)
    return made


def first(folder: Path) -> Path:
    return min(path for path in folder.glob("*.json"))


def rewrite(path: Path, change: Any) -> None:
    data = json.loads(path.read_text("utf-8"))
    change(data)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")


def problems(folder: Path) -> str:
    return "\n".join(check_manifest(folder).problems)


def test_a_grid_that_nobody_touched_is_checked_in_a_second(folder: Path) -> None:
    started = time.perf_counter()
    found = check_manifest(folder)
    assert time.perf_counter() - started < 5
    assert found.problems == ()
    assert found.files == len(list(folder.glob("*.json")))
    before = (folder / "manifest.jsonl").read_bytes()
    assert write_manifest(folder) == found
    assert (folder / "manifest.jsonl").read_bytes() == before


def test_a_changed_score_is_named(folder: Path) -> None:
    path = first(folder)

    def better(data: Any) -> None:
        dev = data["scores"]["last"]["scores"]["dev"]
        dev[data["metric"]["primary"]] += 0.01

    rewrite(path, better)
    assert f"{path.name} (" in problems(folder)
    assert "): changed" in problems(folder)
    assert "its scores are not those of the epochs that the rules choose" in problems(folder)
    with pytest.raises(UserError, match="no manifest is written of what is not sound"):
        write_manifest(folder)


def test_what_was_removed_or_changed_is_not_sealed_and_what_was_added_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["verify", "experiment=minilm_glue", f"results.dir={folder.parent.parent}"]
    away, manifest = first(folder), (folder / "manifest.jsonl").read_bytes()
    kept = away.read_bytes()
    away.unlink()
    assert main([*words, "write=true"]) == 2
    assert "the manifest is not written while minilm_glue has a problem" in (said := capsys.readouterr().err)
    assert said.count("\n") == 1
    assert (folder / "manifest.jsonl").read_bytes() == manifest
    (folder / "manifest.jsonl").unlink()  # meant, and said so
    assert main([*words, "write=true"]) == 0
    away.write_bytes(kept)
    assert main(words) == 1
    assert "not in the manifest" in capsys.readouterr().out
    assert main([*words, "write=true"]) == 0
    assert (folder / "manifest.jsonl").read_bytes() == manifest


def test_a_changed_rate_is_named(folder: Path) -> None:
    path = first(folder)
    rewrite(path, lambda data: data["cell"]["trainer"].update(lr_adapter=0.5))
    assert "its settings or the hashes of its data were changed: they are another cell's" in problems(folder)


def test_a_metric_that_is_not_that_of_the_settings_is_named(folder: Path) -> None:
    path = first(folder)
    rewrite(path, lambda data: data["metric"].update(higher_is_better=False))
    assert "its metric.higher_is_better is not that of its settings" in problems(folder)


def test_a_removed_seed_is_named_by_its_label(folder: Path) -> None:
    path = first(folder)
    label = json.loads(path.read_text("utf-8"))["label"]
    path.unlink()
    assert problems(folder) == f"{path.name} ({label}): removed"


def test_a_record_of_another_version_is_named(folder: Path) -> None:
    path = first(folder)
    rewrite(path, lambda data: data["provenance"]["versions"].update(uora_bench="1.0"))
    (folder / "manifest.jsonl").unlink()
    write_manifest(folder)
    rewrite(path, lambda data: data["provenance"]["versions"].update(uora_bench="9.9"))
    assert "changed (version 9.9, it was 1.0)" in problems(folder)
    rewrite(path, lambda data: data.update(schema=1))
    assert "changed (schema 1, it was 2; version 9.9" in problems(folder)
    assert "is of schema 1" in problems(folder)


def test_a_record_that_was_added_and_a_manifest_that_was_edited_are_named(folder: Path, root: Path) -> None:
    other = first(root / "results" / "records" / "minilm_search")
    shutil.copy(other, folder)
    assert problems(folder) == f"{other.name}: not in the manifest"
    (folder / other.name).unlink()
    lines = (folder / "manifest.jsonl").read_text("utf-8").splitlines()
    (folder / "manifest.jsonl").write_text("\n".join([lines[0], *lines[2:]]) + "\n", "utf-8")
    found = check_manifest(folder)
    assert "manifest.jsonl: line 2 was changed, or one before it was added or removed" in found.problems
    assert any(problem.endswith("not in the manifest") for problem in found.problems)


def test_a_record_made_anew_with_its_line_changes_the_head(folder: Path) -> None:
    head = check_manifest(folder).head
    rewrite(first(folder), lambda data: data.update(label="another"))
    (folder / "manifest.jsonl").unlink()
    write_manifest(folder)
    found = check_manifest(folder)
    assert found.problems == ()
    assert found.head != head


def test_the_command_says_what_is_wrong_and_ends_with_1(
    folder: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first_name = first(folder).name
    results = f"results.dir={folder.parents[1]}"
    assert main(["verify", "all=true", results]) == 0
    assert "as they were written" in capsys.readouterr().out
    first(folder).unlink()
    assert main(["verify", "experiment=minilm_glue", results]) == 1
    assert ": 1 problem\n" in capsys.readouterr().out
    for words, message in (
        (["verify", results], "name a cell_id"),
        (["verify", "experiment=minilm_glu", results], "did you mean 'minilm_glue'"),
        (["verify", "0" * 16, results], "there is no record of cell"),
        (["verify", "all=true", "data.root=x", results], "without a cell_id nothing is run"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err
    for path in folder.glob("*.json"):
        path.unlink()
    assert main(["verify", "all=true", results]) == 1
    said = capsys.readouterr().out
    assert said.startswith("minilm_glue: 0 files, head ")
    assert said.count(": removed\n") > 90
    shutil.copy(root / "results" / "records" / "minilm_glue" / first_name, folder / first_name)
    (folder / "manifest.jsonl").unlink()
    assert main(["verify", "all=true", results]) == 1
    assert "verify experiment=minilm_glue write=true makes it" in capsys.readouterr().out


def test_a_search_that_was_edited_is_named(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("records/smollm2_search", "searches"):
        shutil.copytree(root / "results" / name, tmp_path / name)
    words = ["verify", "all=true", f"results.dir={tmp_path}"]
    assert main(words) == 0
    assert "searches: 3 files: as they were written\n" in capsys.readouterr().out
    path = tmp_path / "searches" / "smollm2_search.json"
    path.write_text(path.read_text("utf-8").replace("0.0005", "0.0006", 1), "utf-8")
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "searches: 3 files: 1 problem\n" in said
    assert f"the search '{path}' is not as it was written" in said


def test_every_committed_grid_has_a_manifest_that_holds(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    started = time.process_time()
    assert main(["verify", "all=true"]) == 0
    assert time.process_time() - started < 3  # about half a second of an idle core
    said = capsys.readouterr().out.splitlines()
    known = {p.parent.name for p in (root / "results" / "records").glob("*/manifest.jsonl")}
    assert {line.partition(":")[0] for line in said} == {*known, "searches"}
    assert known >= {"minilm_glue", "tiny_e2e", "theory_digits"}


def test_a_changed_record_of_the_theory_is_named(root: Path, tmp_path: Path) -> None:
    made = tmp_path / "theory_digits"
    shutil.copytree(root / "results" / "records" / "theory_digits", made)
    rewrite(first(made), lambda data: data["cell"].update(seed=99))
    found = "\n".join(check_manifest(made, theory.record_problems).problems)
    assert "): changed" in found
    assert "its cell_id is not that of its content" in found


def test_what_is_no_manifest_and_one_that_lists_a_file_twice_are_told(folder: Path) -> None:
    path = folder / "manifest.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for bad in ("", "\n", "[]", "1", '{"name": 1, "chain": ""}', "[" * 100_000, '{"name": "\\ud800", "chain": ""}'):
        path.write_text(bad)
        with pytest.raises(UserError, match=r"cannot read .*take it from a copy"):
            check_manifest(folder)
    for odd in ([{**lines[0], "sha256": "0" * 64}, *lines], lines[::-1]):  # each with a chain that is right
        path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in _chained(odd)))
        assert (
            problems(folder)
            == "manifest.jsonl: it does not have every file once, by name: it was not written by verify"
        )


@pytest.mark.parametrize("text", ["", "{", '{"schema": 2, "provenance": []}', '{"provenance": {"versions": []}}'])
def test_a_damaged_record_is_a_problem_and_does_not_hide_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    first(folder).write_text(text)
    max(folder.glob("*.json")).unlink()
    assert main(["verify", "all=true", f"results.dir={folder.parents[1]}"]) == 1
    said = capsys.readouterr().out
    assert f"{first(folder).name}" in said
    assert ": changed" in said
    assert ": removed" in said
    with pytest.raises(UserError, match="no manifest is written of what is not sound"):
        write_manifest(folder)
