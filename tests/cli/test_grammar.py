"""One grammar for all commands: keys, options, words, and how each of them ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from uora_bench.cli import keys
from uora_bench.cli.main import MODULES, load_command, main
from uora_bench.cli.parser import Command, Key
from uora_bench.errors import UserError
from uora_bench.grid.table_spec import Rule

COMMANDS = [load_command(name) for name in MODULES]
# what stands for a command's words
WORDS = {"explain": ["t", "r", "c"], "export": ["x"], **{f"mt-bench {c}": ["x"] for c in ("answer", "judge", "scores")}}
# command -> words that are a whole command line of it but for one key that nobody has
MISSPELT = {
    "run": ["trainer.epohs=1"], "plan": ["trainer.epohs=1"], "sweep": ["trainer.epohs=1"],
    "search": ["experiment=minilm_search", "trainer.epohs=1"],
    "memory": ["sede=1"],
    "prefetch": ["trainer.epohs=1", "data.root=x"], "tables": ["rulee=last"], "figures": ["chek=true"],
    "page": ["experimnt=x"], "explain": ["t", "r", "c", "rul=last"], "export": ["x", "formt=peft"],
    "theory": ["figure=1", "repetition=3"], "mt-bench answer": ["x", "limt=3"], "mt-bench judge": ["x", "limt=3"],
    "mt-bench scores": ["x", "judge.modle=x"], "records migrate": ["result.dir=x"], "list": ["lists=x"],
    "check": ["lora", "trainer.epohs=1"], "new": ["method", "x", "int=y"], "verify": ["all=true", "experimnt=x"],
}  # fmt: skip


def one_line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    return line


def of(*keys: Key, most: int = 0, passed: tuple[Key, ...] = ()) -> Command:
    return Command("made-up", "of a test", lambda given: 0, words="<x>", most=most, keys=keys, passed=passed)


@pytest.mark.parametrize("words", [["--out=a=b"], ["--out", "a=b"], ["out=a=b"], ["--o-u.t", "a=b"]])
def test_a_key_may_be_given_in_every_form(words: list[str]) -> None:
    key = Key("out", "", others=("o_u_t",))
    given = of(key, Key("b", "", flag=True), most=1).read(["--b", "x", *words])
    assert (given.text("out"), given.flag("b"), given.names) == ("a=b", True, ["x"])


def test_an_option_of_two_states_takes_no_word_after_it_but_true_and_false() -> None:
    command = of(Key("force", "", flag=True), most=1)
    for words, value in ((["--force", "x"], True), (["--force", "false", "x"], False), (["x"], False)):
        given = command.read(words)
        assert (given.flag("force"), given.names) == (value, ["x"])
    with pytest.raises(UserError, match="force=yes must be true or false"):
        command.read(["force=yes"]).flag("force")


def test_a_key_has_one_value_and_its_default_where_none_is_given() -> None:
    command = of(Key("a", "", "1", ("1", "2")), Key("b", ""), Key("c", "", many=True))
    assert command.read([]).text("a") == "1"
    assert command.read(["a=2", "--a", "2"]).text("a") == "2"
    assert command.read(["b=1e-3", "b=0.001"]).text("b") == "0.001"
    assert command.read(["c=1", "c=2"]).every("c") == ["1", "2"]
    with pytest.raises(UserError, match="'a=1' and 'a=2' both set a; keep one of them"):
        command.read(["a=1", "a=2"])
    assert command.read(["b=null"]).text("b") is None
    with pytest.raises(UserError, match="a=3: there is no such choice"):
        command.read(["a=3"]).text("a")


def test_what_is_not_the_commands_own_goes_on_as_key_and_value() -> None:
    command = of(Key("check", "", flag=True), passed=(keys.DRY_RUN, keys.DATA_ROOT, Key("launcher.*", "")))
    given = command.read(
        ["--check", "--dry-run", "--data-root", "d", "--lr", "1e-3", "--bf16", "--launcher.minutes=3", "seed=1", "word"]
    )
    assert given.flag("check")
    wanted = ["dry_run=true", "data.root=d", "lr=1e-3", "bf16=true", "launcher.minutes=3", "seed=1", "word"]
    assert given.passed == wanted


def test_an_option_before_a_key_has_no_value() -> None:
    with pytest.raises(UserError, match="'--lr' needs a value: write lr=…"):
        load_command("run").read(["--lr", "method=lora"])
    with pytest.raises(UserError, match=r"'deepspeed' is no key here: .*sharding"):
        load_command("run").read(["--deepspeed"])


def test_a_path_with_an_equals_sign_is_a_word(tmp_path: Path) -> None:
    folder = tmp_path / "lr=0.1"
    folder.mkdir()
    assert load_command("export").read([str(folder), "format=peft"]).names == [str(folder)]


@pytest.mark.parametrize("name", MODULES)
def test_an_unknown_key_is_one_line_with_the_nearest_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = one_line(capsys, *name.split(), *MISSPELT[name])
    key = next(word.partition("=")[0] for word in reversed(MISSPELT[name]) if "=" in word and word != "data.root=x")
    assert f"'{key}" in line
    if name not in ("list", "check"):  # which have no keys, or say what else is meant
        assert "did you mean '" in line


@pytest.mark.parametrize("name", [c.name for c in COMMANDS if not c.passed])
def test_a_word_too_many_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "a b c d e" not in one_line(capsys, *name.split(), "a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["lst"], "unknown command 'lst'; did you mean 'list'?"),
        (["mt-bench"], "mt-bench answer or mt-bench judge or mt-bench scores"),
        (["mt-bench", "juge"], "did you mean 'judge'?"),
        (["records", "migrat"], "did you mean 'migrate'?"),
        (["seed"], "'seed' needs a value: write seed=…"),
        (["qlora"], "method=lora backbone.quantisation=nf4"),
        (["method=dora"], "write method=peft peft.type=lora peft.use_dora=true"),
        (["--config-dir", "x"], "'config_dir' is no key here"),
        (["-x"], "unknown option '-x'"),
        (["list", "metods"], "did you mean 'methods'?"),
        (["figures", "rule=lst"], "did you mean 'last'?"),
        (["sweep", "launcher=slrum"], "did you mean 'slurm'?"),
        (["plan", "memory=true", "launcher=local"], "memory=true traces before anything runs"),
        (["export", "x"], "format=peft, format=merged or format=native"),
        # a key given two values, by whatever name
        (["method=lora", "method=vera"], "'method=lora' and 'method=vera' both set method"),
        (["--fp16", "--bf16"], "'fp16=true' and 'bf16=true' both set trainer.precision"),
        (["lr=1", "trainer.lr_adapter=2"], "'lr=1' and 'trainer.lr_adapter=2' both set trainer.lr_adapter"),
        (["sweep", "seed=0", "--seed", "1"], "'seed=0' and 'seed=1' both set seed"),
        (["theory", "figure=1", "seed=0", "seed=1"], "'seed=0' and 'seed=1' both set seed"),
        (["tables", "results.dir=a", "results=b"], "'results.dir=a' and 'results.dir=b' both set results.dir"),
        # several values for one cell
        (
            ["--target_modules", "q,v"],
            "'method.target_modules=q,v': a list has brackets around it: 'method.target_modules=[q,v]'",
        ),
        (["trainer.lr_adapter=0,001"], "a decimal has a point: trainer.lr_adapter=0.001"),
        (["method.rank=4,8"], "uora-bench sweep method.rank=4,8"),
        # names that are begun, synonyms that are misspelt, and keys of other commands
        (["backbone=roberta"], "did you mean 'roberta_base' or 'roberta_large'?"),
        (["task=glue"], "did you mean one of 'glue/cola', 'glue/mnli', 'glue/mrpc', 'glue/qnli' …?"),
        (["--learnin_rate", "3"], "did you mean 'learning_rate' (trainer.lr_adapter)?"),
        (["experiment=quickstart"], "uora-bench sweep experiment=… runs a grid"),
        (["launcher.gpus=1"], "uora-bench sweep and plan"),
        # words that are half there
        (["=3"], "'=3' names no key"),
        (["--=3"], "'=3' names no key"),
        (["dry_run"], "'dry_run' needs a value: write dry_run=true"),
        (["dry_run=true", "runs.dir="], "runs.dir= names no folder"),
        (["theory", "all", "figure=1"], "'figure=1': all runs every experiment"),
        # what is to be read and is not there
        (["dry_run=true", "data.root=/nowhere"], "data.root='/nowhere' does not exist"),
        (["dry_run=true", "init_from=/nowhere"], "init_from='/nowhere' is neither a run folder nor the cell_id"),
        (["sweep", "seed=0", "data.root=/dev/null"], "data.root='/dev/null' is no folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert part in one_line(capsys, *words)


def test_the_same_thing_has_the_same_key_everywhere() -> None:
    names = {key.name for command in COMMANDS for key in (*command.keys, *command.passed)}
    assert {"results.dir", "runs.dir", "data.root", "experiment", "rule", "force", "dry_run", "limit"} <= names
    assert not {name for name in names if name.startswith("judge.")} & {"judge.limit", "judge.dry_run"}
    flags = {(key.name, key.flag) for command in COMMANDS for key in (*command.keys, *command.passed)}
    assert len(flags) == len(names), "a key is a flag in one command and none in another"


def test_the_rules_are_those_of_the_tables() -> None:
    from typing import get_args

    assert keys.RULE.choices == get_args(Rule)


@pytest.mark.parametrize("words", [["-m", "seed=0,1"], ["seed=0,1", "--multirun"], ["run", "-m", "seed=0,1"]])
def test_multirun_is_a_sweep(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = [f"results.dir={tmp_path}", f"runs.dir={tmp_path}", "launcher=print"]
    assert main([*words, *where]) == 0
    assert "2 cells: 2 to do" in capsys.readouterr().out


@pytest.mark.parametrize(("word", "name"), [("methods", "lora"), ("task", "glue/rte"), ("launchers", "print"),
                                            ("commands", "mt-bench judge"), ("theory", "oracle")])  # fmt: skip
def test_list_prints_names(word: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", word]) == 0
    assert name in capsys.readouterr().out.splitlines()


def test_list_alone_says_what_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in lines:
        assert main(line.split("uora-bench ")[1].split()) == 0
        assert len(capsys.readouterr().out.splitlines()) == int(line.split()[1])
    assert len(lines) == 11


def test_a_flag_describes_a_cell_as_its_key_does(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for words in (
        ["method=lora", "task=glue/rte", "dry_run=true", "trainer.lr_adapter=0.01", "method.alpha=4"],
        ["run", "--method", "lora", "--task_name=glue/rte", "--dry-run", "--learning-rate", "1e-2", "--lora-alpha=4"],
    ):
        assert main(words) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
