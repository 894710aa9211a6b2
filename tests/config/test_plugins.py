"""Plug-ins: what is found where, what is refused, and what a cell says of the code it would run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import environment
from uora_bench.cli.main import main
from uora_bench.config import plugins, registry
from uora_bench.config.compose import compose
from uora_bench.errors import UserError
from uora_bench.grid.expand import expand
from uora_bench.grid.launch import slurm
from uora_bench.grid.request import read_request
from uora_bench.methods import method_class

METHOD = """
from dataclasses import dataclass
from uora_bench.config.options import AdapterOptions
from uora_bench.methods.base import Method

@dataclass(frozen=True, kw_only=True)
class MineOptions(AdapterOptions):
    width: int

class Mine(Method):
    name = "mine"
    Config = MineOptions
    def count(self, shapes, sizes):
        return len(shapes)
    def inject(self, model, targets, generator):
        raise NotImplementedError
"""
YAML = "name: mine\nversion: 1\nrank: 4\ntarget_modules: null\ndropout: 0.0\nwidth: 3\n"
TASK = """
defaults:
  - /task/tiny/_family@_here_
  - override /backbone@_global_.backbone: tiny_roberta
name: mine/nli
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def plugin(folder: Path, name: str = "mine") -> Path:
    text = METHOD.replace('"mine"', f'"{name}"')
    return write(
        folder, **{f"methods__{name}_dot_py": text, f"configs__method__{name}_dot_yaml": YAML.replace("mine", name)}
    )


@pytest.fixture(autouse=True)
def _nothing_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.chdir(tmp_path)


def test_without_a_plugin_nothing_changes() -> None:
    assert plugins.active() == ()
    assert registry.roots() == [registry.configs_dir()]
    assert "plugins" not in compose(["method=lora"]).cell.canonical()


def test_a_method_of_the_folder_here_is_one_like_the_others(tmp_path: Path) -> None:
    plugin(tmp_path / "uora_plugins")
    assert "mine" in registry.choices("method")
    cell = compose(["method=mine", "method.width=7", "task=tiny/nli"]).cell
    assert vars(cell.method)["width"] == 7
    assert method_class("mine").__name__ == "Mine"
    assert [item.cell.method.name for item in expand(["method=mine,lora", "seed=0,1"]).items if item.cell] == [
        "mine", "mine", "lora", "lora",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"did you mean 'method\.width'"):
        compose(["method=mine", "method.widht=7"])
    with pytest.raises(UserError, match="did you mean 'mine'"):
        compose(["method=mien"])


def test_a_task_of_a_plugin_may_build_on_a_built_in_one_and_names_its_backbone(tmp_path: Path) -> None:
    base = (registry.configs_dir() / "task" / "tiny" / "nli.yaml").read_text("utf-8")
    write(tmp_path / "uora_plugins", configs__task__own__nli_dot_yaml=base.replace("name: tiny/nli", "name: own/nli"))
    cell = compose(["method=lora", "task=own/nli"]).cell
    assert (cell.task.name, cell.backbone.name) == ("own/nli", "tiny_roberta")


def test_another_source_is_another_cell_and_the_same_source_elsewhere_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cell_id(folder: Path) -> str:
        monkeypatch.setenv(plugins.VARIABLE, str(folder))
        return compose(["method=mine"]).cell.cell_id("data")

    first = cell_id(plugin(tmp_path / "a" / "same"))
    assert cell_id(plugin(tmp_path / "b" / "same")) == first
    changed = write(plugin(tmp_path / "c" / "same"), methods__helper_dot_py="x = 1\n")
    assert cell_id(changed) != first


def test_names_that_two_places_define_are_refused_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = plugin(tmp_path / "one"), plugin(tmp_path / "two")
    monkeypatch.setenv(plugins.VARIABLE, f"{one}{os.pathsep}{two}")
    with pytest.raises(UserError, match=r"method 'mine' is defined twice: .*one.*two"):
        compose(["method=mine"])
    monkeypatch.setenv(plugins.VARIABLE, str(plugin(tmp_path / "three", "lora")))
    with pytest.raises(UserError, match="method 'lora' is defined twice"):
        compose(["method=lora"])
    monkeypatch.setenv(
        plugins.VARIABLE, f"{plugin(tmp_path / 'x' / 'same')}{os.pathsep}{plugin(tmp_path / 'y' / 'same', 'b')}"
    )
    with pytest.raises(UserError, match="two plug-ins are called 'same'"):
        plugins.active()


def test_nothing_is_imported_that_nobody_named(tmp_path: Path) -> None:
    folder = plugin(tmp_path / "elsewhere")
    write(folder, methods__mine_dot_py=f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    code = "from uora_bench.cli.main import main; main(['list', 'methods']); main(['plan', 'task=tiny/nli'])"
    here = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(here), check=True, capture_output=True)
    assert not (tmp_path / "mark").exists()
    # in use, but no name of it is asked for
    code = f"from uora_bench.cli.main import main; main(['plan', 'task=tiny/nli', 'plugins={folder}'])"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(here), check=True, capture_output=True)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("plugins=nowhere", "there is no folder 'nowhere'"),
        ("plugins=", "'' is no plug-in"),
        ("plugins=empty", "'empty' is no plug-in"),
        ("--plugins=nowhere", "there is no folder 'nowhere'"),
    ],
)
def test_a_folder_that_is_no_plugin_is_one_line(
    word: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["plan", "task=tiny/nli", word]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["plugins=a,b"], ["plugins=[a,b]"], ["--plugins", "a", "--plugins=b"], ["plugins=~/a", "plugins=b"]]
)
def test_the_command_line_names_folders(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    plugin(tmp_path / "a", "first")
    plugin(tmp_path / "b", "second")
    assert main(["list", "methods", *words]) == 0
    assert {"first", "second"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_this_name\n", "cannot be imported: ModuleNotFoundError"),
        ("def broken(:\n", "cannot be imported: SyntaxError"),
        ("raise SystemExit(0)\n", "cannot be imported: SystemExit: 0"),
        ("import os\nos._exit(0)\n", "cannot be imported: SystemExit: it calls os._exit\\(0\\)"),
        ("x = 1\n", "must define exactly one MethodOptions, it defines 0"),
    ],
)
def test_a_file_that_does_not_work_is_named_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    folder = plugin(tmp_path / "uora_plugins")
    write(folder, methods__mine_dot_py=text)
    with pytest.raises(UserError, match=said):
        compose(["method=mine"])


_RECIPE = "name: mine\nstatus: own\nnote: n\n"


@pytest.mark.parametrize(
    ("group", "text", "said"),
    [
        ("task", "a: \xe9\n", "is not YAML: .*utf-8"),
        ("method", "a:\n\tb: 1\n", "is not YAML"),
        ("task", "name: LoRA: mine\n", "is not YAML: .*; a text with a colon in it needs quotes"),
        ("backbone", "!!python/object/apply:os.system ['true']\n", "is not YAML"),
        ("task", "- 1\n", "holds no keys with values"),
        ("trainer", "", "holds no keys with values"),
        ("task", "family: text_classification\n", "has no 'name:', which every task needs"),
        ("backbone", "name: x\nkind: encoder\ntarget_modules: 4\n", "has no 'target_modules.modules:'"),
        ("method", "name: " + "[" * 500 + "]" * 500, "nested too deeply"),
        ("task", "defaults: 3\nname: x\n", "does not compose: Invalid defaults list"),
        ("recipe", "name: x\n", "has no 'status:', which every recipe needs"),
        ("recipe", _RECIPE + "common: 3\nper_task: null\n", "write each value of a recipe as key"),
        ("recipe", _RECIPE + "common: {method.rank: 4}\nper_task: null\n", "unlike 'method.rank'"),
        ("recipe", _RECIPE + "note: other\ncommon: null\nper_task: null\n", "key 'note' occurs twice"),
    ],
)
def test_a_yaml_that_does_not_work_is_named_in_one_line(group: str, text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "uora_plugins" / "configs" / group / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="latin-1")
    words = {"method": "lora", "task": "tiny/nli", "backbone": "tiny_roberta", group: "mine"}
    with pytest.raises(UserError, match=said) as error:
        compose([f"{key}={value}" for key, value in words.items()])
    assert "\n" not in str(error.value)


def test_the_first_line_of_a_run_says_once_where_a_plug_in_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "elsewhere" / "other"
    (tmp_path / "uora_plugins" / "methods").mkdir(parents=True)
    (other / "methods").mkdir(parents=True)
    monkeypatch.setenv(plugins.VARIABLE, str(other))
    assert main(["task=tiny/nli", "dry_run=true"]) == 0
    said, *_ = capsys.readouterr().err.splitlines()
    assert said == f"plug-ins: {other} (named by {plugins.VARIABLE} or plugins=); ./uora_plugins"


def test_name_and_version_of_a_folder_may_be_said_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(plugin(tmp_path / "uora_plugins"), plugin_dot_yaml="name: my_work\nversion: 1.2\n")
    assert main(["list", "plugins"]) == 0
    assert capsys.readouterr().out == "my_work: ./uora_plugins, version 1.2\n"
    write(tmp_path / "uora_plugins", plugin_dot_yaml="[1]\n")
    plugins._active.cache_clear()
    assert main(["list", "plugins"]) == 2


def test_an_installed_package_declares_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = plugin(tmp_path / "site" / "their_methods")
    write(package, __init___dot_py="")
    (package / "__init__.py").write_text("")
    write(
        tmp_path / "site" / "their_methods-3.1.dist-info",
        METADATA="Metadata-Version: 2.1\nName: their-methods\nVersion: 3.1\n",
        entry_points_dot_txt="[uora_bench.plugins]\ntheirs = their_methods\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    plugins._active.cache_clear()
    try:
        (found,) = plugins.active()
        assert (found.name, found.version, found.origin) == ("theirs", "3.1", "installed with their-methods")
        assert compose(["method=mine"]).cell.plugins == {"theirs": found.sha256()}
    finally:
        plugins._active.cache_clear()


def test_a_launcher_of_ones_own_sets_the_options_of_the_one_that_it_builds_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(
        tmp_path / "uora_plugins",
        configs__launcher__our_cluster_dot_yaml="base: slurm\npartition: long\naccount: 12\nextra: {nice: 5}\n",
        configs__launcher__two_cores_dot_yaml="base: local\ncores: 2\nretries: 0\n",
        configs__launcher__none_dot_yaml="partition: long\n",
    )
    asked = read_request(["method=lora", "launcher=our_cluster", "launcher.gpus=2", "launcher.extra.hold=true"])
    assert asked.launcher == "slurm"
    options = slurm.read_options(asked.options)
    assert (options.partition, options.account, options.gpus) == ("long", "12", 2)
    assert options.extra == {"nice": 5, "hold": True}
    asked = read_request(["launcher.retries=3", "launcher=two_cores", "method=lora"])  # the command line wins
    assert (asked.launcher, asked.options["retries"]) == ("local", 3)
    for name, said in (
        ("two_core", "unknown launcher 'two_core'; did you mean 'two_cores'?"),
        ("none", f"'{folder / 'configs/launcher/none.yaml'}' must say which launcher it sets options of: base: local"),
    ):
        assert main(["plan", "method=lora", f"launcher={name}"]) == 2
        assert said in capsys.readouterr().err
    write(folder, configs__launcher__two_cores_dot_yaml="base: local\nretires: 0\n")
    assert main(["plan", "method=lora", "launcher=two_cores"]) == 2
    assert "did you mean 'launcher.retries'" in capsys.readouterr().err
