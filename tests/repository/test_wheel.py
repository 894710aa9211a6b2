"""The wheel carries all that a cell needs: built, installed into an empty folder, and run from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def call(*words: str, folder: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "UORA_DATA_DIR")}
    variables |= {"HF_HUB_OFFLINE": "1"} | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=variables, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call("build", "--wheel", "--no-isolation", "--outdir", str(folder), str(root), folder=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    folder = wheel.parent / "site"
    call(
        "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(folder), str(wheel), folder=wheel.parent
    )
    return folder


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
    where = call("uora_bench", "--help", folder=tmp_path, path=site)
    assert "mt-bench judge" in where.stdout
    assert "glue/rte" in call("uora_bench", "list", "tasks", folder=tmp_path, path=site).stdout
    code = "import uora_bench.config.registry as r; print(r.configs_dir())"
    script = tmp_path / "where_are_they.py"
    script.write_text(code)
    assert str(site) in call("where_are_they", folder=tmp_path, path=site).stdout
    dry = call("uora_bench", "task=glue/rte", "dry_run=true", folder=tmp_path, path=site)
    assert "uora · glue/rte · roberta_base · seed 0" in dry.stdout
    assert "adapter 19,968" in dry.stdout


def test_a_method_of_ones_own_is_written_and_checked_from_the_installed_wheel(site: Path, tmp_path: Path) -> None:
    call("uora_bench", "new", "method", "my_lora", folder=tmp_path, path=site)
    assert "36 ok, 1 left out" in call("uora_bench", "check", "my_lora", folder=tmp_path, path=site).stdout


def test_the_default_cell_runs_from_the_installed_wheel(site: Path, tmp_path: Path) -> None:
    words = ("tracker=none", "trainer.max_steps=2", "trainer.eval_batch_size=256")
    done = call("uora_bench", *words, folder=tmp_path, path=site)
    assert "uora · tiny/nli · tiny_roberta" in done.stdout
    assert len(list(tmp_path.glob("results/records/scratch/*.json"))) == 1
    again = call("uora_bench", *words, folder=tmp_path, path=site)
    assert again.stdout.startswith("already done")
