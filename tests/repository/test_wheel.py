"""The wheel carries all that a cell needs: built, installed into an empty folder, and run from elsewhere."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.wheel import build_wheel, call, install_wheel

pytestmark = pytest.mark.slow


def run(*words: str, folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """A Python module and its words, with the installed package."""
    return call([sys.executable, "-m", *words], folder, site)


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(root, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    return install_wheel(wheel, wheel.parent / "site")


def test_the_wheel_carries_every_configuration_and_the_tiny_checkpoints(wheel: Path, root: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {
        f"uora_bench/configs/{p.relative_to(root / 'configs').as_posix()}" for p in root.glob("configs/**/*.yaml")
    }
    assert len(configs) > 30
    assert configs <= names
    files = (p for p in (root / "src").rglob("*.*") if p.suffix in (".py", ".typed", ".j2", ".css", ".js"))
    sources = {p.relative_to(root / "src").as_posix() for p in files}
    template = "uora_bench/contract/templates/method/methods/NAME.py.j2"
    assert {"uora_bench/report/page/page.html.j2", template, "uora_bench/py.typed"} <= sources
    sources |= {f"uora_bench/paper/{p.name}" for p in root.glob("results/paper/*.csv")}
    assert "uora_bench/paper/vera.csv" in sources
    assert sources <= names
    bundled = {p.relative_to(root / "src").as_posix() for p in (root / "src/uora_bench/assets").glob("*/*")}
    assert bundled <= names
    for tiny, processor in (
        ("roberta", "tokenizer"),
        ("gpt2", "tokenizer"),
        ("llama", "tokenizer"),
        ("vit", "preprocessor_config"),
    ):
        for name in ("config.json", "model.safetensors", f"{processor}.json"):
            assert f"uora_bench/assets/tiny_{tiny}/{name}" in bundled
    assert not [n for n in names if n.endswith((".pyc", ".log")) or n.startswith(("tests/", "results/", "runs/"))]
    assert wheel.stat().st_size < 10 << 20


def test_help_and_a_dry_run_come_from_the_installed_wheel(site: Path, tmp_path: Path) -> None:
    where = run("uora_bench", "--help", folder=tmp_path, site=site)
    assert "mt-bench judge" in where.stdout
    assert "glue/rte" in run("uora_bench", "list", "tasks", folder=tmp_path, site=site).stdout
    code = "import uora_bench.config.registry as r; print(r.configs_dir())"
    script = tmp_path / "where_are_they.py"
    script.write_text(code)
    assert str(site) in run("where_are_they", folder=tmp_path, site=site).stdout
    dry = run("uora_bench", "task=glue/rte", "dry_run=true", folder=tmp_path, site=site)
    assert "uora · glue/rte · roberta_base · seed 0" in dry.stdout
    assert "adapter 19,968" in dry.stdout


def test_a_method_of_ones_own_is_written_and_checked_from_the_installed_wheel(site: Path, tmp_path: Path) -> None:
    run("uora_bench", "new", "method", "my_lora", folder=tmp_path, site=site)
    assert "37 ok, 1 left out" in run("uora_bench", "check", "my_lora", folder=tmp_path, site=site).stdout


def test_the_default_cell_runs_from_the_installed_wheel(site: Path, tmp_path: Path) -> None:
    words = ("tracker=none", "trainer.max_steps=2", "trainer.eval_batch_size=256")
    done = run("uora_bench", *words, folder=tmp_path, site=site)
    assert "uora · tiny/nli · tiny_roberta" in done.stdout
    assert len(list(tmp_path.glob("results/records/scratch/*.json"))) == 1
    again = run("uora_bench", *words, folder=tmp_path, site=site)
    assert again.stdout.startswith("already done")
