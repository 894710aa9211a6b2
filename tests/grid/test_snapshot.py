"""What jobs run is a copy: whole, made once, of absolute paths, and it says where it came from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from uora_bench.cli.main import main
from uora_bench.config import compose, plugins
from uora_bench.errors import UserError
from uora_bench.grid import model
from uora_bench.grid.launch import slurm, snapshot
from uora_bench.records import provenance
from uora_bench.util.version import __version__


def make_plan(*words: str, results: str = "results", runs: str = "runs") -> model.Plan:
    item = model.Item("0123456789abcdef", "a cell", ("method=lora", *words))
    return model.Plan(model.SCHEMA, "x", "", results, runs, (item,))


def words_of(plan: model.Plan) -> dict[str, str]:
    return dict(word.split("=", 1) for word in plan.items[0].overrides)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one module in place of ours, whose copy takes no time."""
    package = here / "checkout" / "src" / "uora_bench"
    (package / "grid" / "launch").mkdir(parents=True)
    (package / "__pycache__").mkdir()
    (package / "__init__.py").write_text("A = 1\n")
    (package / "__pycache__" / "old.pyc").write_text("")
    configs = here / "checkout" / "configs"
    configs.mkdir()
    (configs / "config.yaml").write_text("seed: 0\n")
    monkeypatch.setattr(snapshot, "__file__", str(package / "grid" / "launch" / "snapshot.py"))
    monkeypatch.setattr("uora_bench.config.registry.configs_dir", lambda: configs)
    return package


def test_a_snapshot_holds_code_configuration_plan_and_where_they_came_from(small: Path) -> None:
    folder = snapshot.take(make_plan())
    assert folder.parent == Path("runs/x/snapshots").absolute()
    assert (folder / "src/uora_bench/__init__.py").read_text() == "A = 1\n"
    assert (folder / "configs/config.yaml").read_text() == "seed: 0\n"
    assert not list(folder.rglob("__pycache__"))
    assert model.read_plan(folder / "plan.json").runs_dir == str(Path("runs").absolute())
    facts = json.loads((folder / "snapshot.json").read_text())
    assert facts == {**provenance.git_state(), "version": __version__, "hash": folder.name}
    assert not (folder / "src/uora_bench/__init__.py").stat().st_mode & 0o222
    assert not (folder / "src/uora_bench").stat().st_mode & 0o222


def test_the_same_contents_are_copied_once_and_others_beside_them(small: Path) -> None:
    first = snapshot.take(make_plan())
    before = (first / "src/uora_bench/__init__.py").stat().st_ino
    assert snapshot.take(make_plan()) == first
    assert (first / "src/uora_bench/__init__.py").stat().st_ino == before
    (small / "__init__.py").write_text("A = 2\n")
    second = snapshot.take(make_plan())
    assert second != first
    assert (first / "src/uora_bench/__init__.py").read_text() == "A = 1\n"
    assert snapshot.take(make_plan("seed=1")) not in (first, second)
    assert sorted(p.name[:1] == "." for p in first.parent.iterdir()) == [False] * 3  # no draft is left


def test_a_copy_that_fails_leaves_nothing(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(draft: Path) -> None:
        (draft / "src").mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "_copy", full)
    with pytest.raises(OSError, match="No space"):
        snapshot.take(make_plan())
    assert list(Path("runs/x/snapshots").iterdir()) == []


def test_paths_become_absolute_and_everything_else_stays(here: Path) -> None:
    (here / "2024").mkdir()
    plan = make_plan("data.root=2024", "backbone.path=my models/vit", "runs.dir=runs", "trainer.epochs=3", "seed=1")
    found = snapshot.absolute(plan)
    assert (found.results_dir, found.runs_dir) == (str(here / "results"), str(here / "runs"))
    words = words_of(found)
    assert words["data.root"] == str(here / "2024")
    assert words["backbone.path"] == str(here / "my models/vit")
    assert words["runs.dir"] == str(here / "runs")
    assert words["results.dir"] == str(here / "results")  # not given, so the default's place
    assert (words["trainer.epochs"], words["seed"]) == ("3", "1")
    assert len(found.items[0].overrides) == len(words)


def test_a_comma_in_a_folder_survives(here: Path) -> None:
    from uora_bench.config.compose import read_override

    plan = snapshot.absolute(make_plan("data.root='a, b'"))
    (given,) = (w for w in plan.items[0].overrides if w.startswith("data.root="))
    assert read_override(given).value() == str(here / "a, b")


@pytest.mark.parametrize("given", ["17175e3302008168", "1717533302008168", "0a"])
def test_a_cell_id_to_start_from_is_no_path(here: Path, given: str) -> None:
    assert words_of(snapshot.absolute(make_plan(f"init_from={given}")))["init_from"] == given


def test_a_folder_to_start_from_is(here: Path) -> None:
    (here / "0a").mkdir()
    for given in ("0a", "runs/x/0a"):
        words = words_of(snapshot.absolute(make_plan(f"init_from={given}")))
        assert words["init_from"] == str(here / given)


def test_null_stays_null(here: Path) -> None:
    words = words_of(snapshot.absolute(make_plan("data.root=null", "init_from=null")))
    assert (words["data.root"], words["init_from"]) == ("null", "null")


def test_the_environments_data_is_named_in_the_words(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UORA_DATA_DIR", "data")
    assert words_of(snapshot.absolute(make_plan()))["data.root"] == str(here / "data")
    assert words_of(snapshot.absolute(make_plan("data.root=other")))["data.root"] == str(here / "other")


def test_a_real_snapshot_runs_and_knows_its_commit(here: Path) -> None:
    folder = snapshot.take(make_plan())
    facts = json.loads((folder / "snapshot.json").read_text())
    (folder / "snapshot.json").chmod(0o644)
    (folder / "snapshot.json").write_text(json.dumps({**facts, "commit": "c0ffee", "dirty": True}))
    code = (
        "from uora_bench.config import compose, registry; from uora_bench.records import provenance; "
        "print(provenance.__file__); "
        "print(registry.configs_dir()); print(provenance.git_state()); "
        "print(compose.compose(['method=lora', 'task=tiny/nli']).values['method']['name'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    file, configs, state, method = done.stdout.splitlines()
    assert Path(file).is_relative_to(folder)
    assert configs == str(folder / "configs")
    assert state == "{'commit': 'c0ffee', 'dirty': True}"
    assert method == "lora"
    # every configuration file of the checkout is in it
    names = {p.relative_to(ROOT / "configs") for p in (ROOT / "configs").rglob("*.yaml")}
    assert {p.relative_to(folder / "configs") for p in (folder / "configs").rglob("*.yaml")} == names


def test_a_job_has_a_copy_of_the_plug_ins_and_is_the_same_cell(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two plug-ins in folders of one name, the second with a file beside its code; changed after the submission."""
    named = here / "mine" / "uora_plugins"
    for name, into in (("my_lora", "uora_plugins"), ("my_vera", str(named))):
        assert main(["new", "method", name, f"into={into}"]) == 0
    (named / "plugin.yaml").write_text("name: named\nversion: 2\n")
    (named / "methods" / "scale.txt").write_text("1")
    monkeypatch.setenv(plugins.VARIABLE, "mine/uora_plugins")
    plan = make_plan("method=my_lora", runs="mine/uora_plugins/runs")  # what it writes is no part of a plug-in
    cells = {name: compose.compose([f"method={name}"]).cell for name in ("my_lora", "my_vera")}
    folder = snapshot.take(plan)
    assert snapshot.take(plan) == folder
    for path in (named, here / "uora_plugins"):
        (path / "methods" / "helper.py").write_text("x = 1\n")
    copies = snapshot.plugin_folders(folder).split(os.pathsep)
    assert [str(Path(copy).relative_to(folder)) for copy in copies] == [f"plugins/{i}/uora_plugins" for i in (0, 1)]
    assert (Path(copies[0]) / "methods" / "scale.txt").is_file()
    assert not [path for copy in copies for path in Path(copy).iterdir() if path.name in ("tests", "runs")]
    code = (
        "from uora_bench.config import compose, plugins; "
        "print([(p.name, p.version) for p in plugins.active()]); "
        "print(*[compose.compose([f'method={n}']).cell.cell_id('data') for n in ('my_lora', 'my_vera')])"
    )
    lines = [*slurm._of_snapshot(folder), f"cd {folder}", f'exec {sys.executable} -c "{code}"']
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(["sh", "-ec", "\n".join(lines)], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    names, ids = done.stdout.splitlines()
    assert names == "[('named', '2'), ('uora_plugins', None)]"
    assert ids.split() == [cell.cell_id("data") for cell in cells.values()]


def test_a_plug_in_whose_copy_would_be_another_one_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["new", "method", "my_lora", "into=."]) == 0
    monkeypatch.setenv(plugins.VARIABLE, str(here))
    assert snapshot.plugin_folders(snapshot.take(make_plan())).endswith(f"plugins/0/{here.name}")
    (here / "results").mkdir()
    (here / "results" / "notes.py").write_text("")
    with pytest.raises(UserError, match=r"Python files of results\.dir or runs\.dir"):
        snapshot.take(make_plan("seed=1"))


def test_a_metric_of_a_file_is_found_from_everywhere(here: Path) -> None:
    assert words_of(snapshot.absolute(make_plan("task.metric.name=./near.py")))["task.metric.name"] == str(
        here / "near.py"
    )
    assert words_of(snapshot.absolute(make_plan("task.metric.name=near")))["task.metric.name"] == "near"
