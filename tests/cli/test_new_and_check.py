"""`new` and `check` from an empty folder: what is written runs, what is checked is said, what cannot be is refused."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from accelerate.state import AcceleratorState

from tests.support.command_line import Result, environment, finish, only_record, start
from uora_bench.cli.main import main
from uora_bench.config import plugins
from uora_bench.contract import harness, skeletons
from uora_bench.grid.expand import expand

Run = Callable[..., Result]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for this process, with no plug-in named, and no precision settled by another test."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def run(tmp_path: Path, root: Path) -> Run:
    """Run a command line in an empty folder; no traceback may show."""
    return lambda *words: finish(start(tmp_path, root, *words))


def test_a_new_method_keeps_the_contract_trains_and_is_named_in_its_record(run: Run, tmp_path: Path) -> None:
    made = run("new", "method", "my_lora")
    assert made.returncode == 0, made.stderr
    files = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert all(f"  {name}\n" in made.stdout for name in files)
    assert len(files) == 5
    checked = run("check", "my_lora")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stderr == ""
    assert checked.stdout.splitlines()[-1].startswith("37 ok, 1 left out")
    # the commands it names, the second as it stands but for its length
    commands = [line.split() for line in made.stdout.splitlines() if line.startswith("  uora-bench ")]
    assert commands[0][1:] == ["check", "my_lora"]
    trained = run(*(word for word in commands[1][1:] if "max_steps" not in word), "trainer.max_steps=2")
    assert trained.returncode == 0, trained.stderr
    record = json.loads(only_record(tmp_path).read_text("utf-8"))
    assert record["cell"]["method"]["name"] == "my_lora"
    gave = ["methods/my_lora", "method/my_lora", "recipe/my_lora/tiny_roberta"]
    assert record["provenance"]["plugins"]["uora_plugins"]["gave"] == gave


@pytest.mark.slow
def test_the_test_of_a_new_method_runs_wherever_pytest_is_started(run: Run, tmp_path: Path, root: Path) -> None:
    assert run("new", "method", "my_lora", "into=somewhere").returncode == 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "somewhere" / "tests")]
    done = subprocess.run(
        [*command, "-k", "equation or closed_form"], cwd=tmp_path.parent, env=environment(root), capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout


@pytest.mark.parametrize(
    ("kind", "name"), [("task", "mine/reviews"), ("backbone", "my_encoder"), ("experiment", "my_grid")]
)
def test_a_new_yaml_is_composed_described_and_trained(
    kind: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", kind, name, "into=own"]) == 0
    command = f"uora-bench check {name} plugins=own"
    assert f"  {command}\n" in capsys.readouterr().out
    code = main(command.split()[1:])
    out = capsys.readouterr().out
    assert code == 0, out
    states = [line.split(":")[0].split() for line in out.splitlines()[1:-1]]
    assert {words[0] for words in states} == {"ok"}
    assert [words[1] for words in states] == ["composes", "preflight", *["dry"] * (len(states) - 3), "trains"]
    assert not (here / "results").exists()


def test_a_new_experiment_is_the_grid_that_it_is_given(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["method=lora,uora", "seed=0,1", "task=tiny/nli", "lr=1e-2", "target_modules=[q,v],[k]", "data.root=x"]
    assert main(["new", "experiment", "my_grid", *words]) == 2
    assert "data.root is given to uora-bench sweep" in capsys.readouterr().err
    assert main(["new", "experiment", "my_grid", *words[:-1]]) == 0
    (made,) = here.rglob("*.yaml")
    found = yaml.safe_load(made.read_text("utf-8"))
    assert (found["title"], found["note"]) == ("lora, uora on tiny/nli", "")  # both are shown with the plan
    assert found["axes"] == {
        "method": ["lora", "uora"], "task": ["tiny/nli"], "seed": [0, 1], "method.target_modules": [["q", "v"], ["k"]],
    }  # fmt: skip
    assert found["set"] == {"trainer.lr_adapter": 0.01, "tracker": "none"}
    assert "rows" not in found["table"], "a method has two"
    grid = expand(["experiment=my_grid"])
    assert [item.key for item in grid.items] == [item.key for item in expand([*words[:-1], "tracker=none"]).items]
    assert len(grid.items) == 8
    assert main(["new", "experiment", "other_grid", *words[:3]]) == 0
    path = here / "uora_plugins/configs/experiment/other_grid.yaml"
    assert [row["label"] for row in yaml.safe_load(path.read_text("utf-8"))["table"]["rows"]] == ["lora", "uora"]


def test_a_grid_on_one_file_of_sorted_rows_is_checked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sorted((f"{word} film {i}", label) for label, word in (("a", "bad"), ("b", "good")) for i in range(300))
    Path("rows.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), "utf-8")
    words = ["method=lora", "seed=0", "task=text/local", "task.path=rows.csv", "task.label=label"]
    assert main(["new", "experiment", "my_grid", *words, "backbone=tiny_roberta"]) == 0
    Path("folder").mkdir()
    Path("folder/train.csv").write_bytes(Path("rows.csv").read_bytes())  # dev is drawn from it
    for given in (["my_grid"], ["my_grid", "task.path=folder"], ["text/local", *words[3:], "backbone=tiny_roberta"]):
        assert main(["check", *given]) == 0, capsys.readouterr().out
        assert "trains: two steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("experiment mine method=lorra", "did you mean 'lora'"),
        ("experiment mine task=tiny/nli backbone=tiny_vit", "no cell of this grid can be"),
        ("experiment mine launcher=local", "launcher is given to uora-bench sweep"),
        ("experiment mine experiment=quickstart", "experiment is given to uora-bench sweep"),
        ("method mine method=lora", "new method takes no 'method=lora'"),
        ("method lora", "there is one already"),
        ("method lo_ra", "it would be taken for 'lora'"),
        ("method base", "the package has a module of that name"),
        ("method Mine", "write small letters, digits and _, as my_mine"),
        ("method class", "'class' cannot be a name"),
        ("method _mine", "'_mine' cannot be a name"),
        ("method mine/lora", "'mine/lora' cannot be a name"),
        ("task mine/null", "'null' cannot be a name"),
        ("task a/b/c", "a folder and a word"),
        ("methode mine", "did you mean 'method'?"),
        ("method", "new takes method|task|backbone|experiment NAME, not 1 word"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    words: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert list(here.iterdir()) == []


def test_nothing_is_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "own" / "tests" / "test_mine.py"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert main(["new", "method", "mine", "into=own"]) == 2
    assert "is there already, and nothing is written over" in capsys.readouterr().err
    assert [p for p in here.rglob("*") if p.is_file()] == [path]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nothing", "there is no method, task, backbone or experiment 'nothing'"),
        ("tied_lora", "several things (method, experiment); add kind=method or kind=experiment"),
        ("lora kind=task", "there is no task 'lora'"),
        ("lora only=xyzzy", "no check has that in its name"),
        ("lora only=killed", "add slow=true"),
        ("lora method.rank=3", "drop the word"),
        ("tiny/nli slow=true", "choose among the checks of a method"),
        ("tiny/nli task=glue/rte", "what is checked is task=tiny/nli"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    words: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("glue/rte", "left out  trains: needs split train of glue/rte, split validation of glue/rte, model FacebookAI"),
        ("roberta_base", "left out  trains: needs model FacebookAI/roberta-base"),
        ("tiny/nli task.metric.primary=nothing", "failed    preflight: "),
        ("tiny/nli backbone=tiny_vit", "failed    preflight: task=tiny/nli needs a backbone of kind encoder"),
        ("tiny/nli task.splits.dev=nothing", "failed    trains: "),
    ],
)
def test_what_was_not_tried_or_failed_is_said(
    words: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["check", *words.split()])
    out = capsys.readouterr().out
    assert said in out
    assert code == ("failed" in said)


def test_a_method_that_cannot_be_imported_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "method", "broken"]) == 0
    (here / "uora_plugins" / "methods" / "broken.py").write_text("import nothing_of_this_name\n")
    capsys.readouterr()
    assert main(["check", "broken"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "broken.py cannot be imported: ModuleNotFoundError" in lines[1]


def test_what_a_new_method_may_get_wrong_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "method", "my_gate"]) == 0
    path = here / "uora_plugins" / "methods" / "my_gate.py"
    right = path.read_text("utf-8")
    said = {
        right.replace("self.scale = nn.Parameter(A), nn.Parameter(B), scale", "self.scale = nn.Parameter(A), "
                      "nn.Parameter(B), scale\n        self.gate = nn.Parameter(torch.ones(1))"):
        "method=my_gate: parameter 'gate' of the branch on roberta.encoder.layer.0.attention.self.query is float32 on "
        "cpu, and must be float64 on cpu; give the tensor the dtype= and device=",
        right.replace('name = "my_gate"', 'name = "my_gait"'): "its class MyGate has name = 'my_gait', and a method is",
    }  # fmt: skip
    assert right not in said
    for text, part in said.items():
        path.write_text(text, "utf-8")
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.startswith("uora_bench_plugins")]:
            del sys.modules[name]
        harness.looked_at.cache_clear()
        capsys.readouterr()
        assert main(["check", "my_gate"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3, lines
        assert part in lines[1]


def test_in_another_folder_the_missing_plug_ins_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["method=my_lora"], ["check", "my_lora"], ["tables", "experiment=my_grid"],
                  ["plan", "experiment=my_grid"], ["explain", "my_grid", "a", "b"]):  # fmt: skip
        assert main(words) == 2
        assert "no ./uora_plugins in this folder" in capsys.readouterr().err, words
    assert main(["check", "lorra"]) == 2
    assert "uora_plugins" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_slow_checks_of_a_new_method(run: Run) -> None:
    assert run("new", "method", "my_lora").returncode == 0
    for name in ("two_processes_train", "killed_run"):
        done = run("check", "my_lora", "slow=true", f"only={name}")
        assert done.returncode == 0, done.stdout


def test_every_kind_has_templates_that_name_what_is_made() -> None:
    for kind in skeletons.KINDS:
        files = list((skeletons.TEMPLATES / kind).rglob("*.j2"))
        assert files
        assert all("NAME" in path.relative_to(skeletons.TEMPLATES).as_posix() for path in files)
