"""`uora-bench export` on a run of the real command line: every format, reloaded by the library it is for."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.support import warm
from tests.support.command_line import HEAVY, environment, finish, one_line
from uora_bench.cli.main import main
from uora_bench.errors import UserError
from uora_bench.execution.configuration import read_configuration, write_configuration
from uora_bench.export import checks, load_model
from uora_bench.records.record import read_record

WORDS = [
    "method=uora", "method.rank=16", "method.tau=0.03", "method.dropout=0.1", "task=tiny/nli", "recipe=none",
    "task.splits.train=train[:76]", "task.splits.dev=validation[:51]", "task.splits.test=null", "trainer.epochs=2",
    "trainer.batch_size=15", "trainer.precision=float32", "trainer.lr_adapter=1e-1", "tracker=none",
]  # fmt: skip
Call = Callable[..., tuple[int, str, str]]


def start(folder: Path, root: Path, *words: str, command: tuple[str, ...] = ("export",)) -> warm.Process:
    return warm.start([sys.executable, "-m", "uora_bench", *command, *words], folder, environment(root))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A folder in which one UORA cell has been trained, and another has been killed before its end."""
    folder = tmp_path_factory.mktemp("trained")
    result = finish(start(folder, root, *WORDS, command=()))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def cell_id(trained: Path) -> str:
    (path,) = (trained / "runs" / "scratch").glob("*/cell.json")
    return path.parent.name


@pytest.fixture(scope="module")
def expected(trained: Path, cell_id: str) -> torch.Tensor:
    return logits(load_model(trained / "runs" / "scratch" / cell_id)[0])


@pytest.fixture
def call(trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command in this process, in the folder of the run: (exit code, stdout, stderr)."""
    monkeypatch.chdir(trained)
    monkeypatch.setattr("uora_bench.util.signals.StopRequest.install", lambda self: None)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["export", *(str(w) for w in words)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def copied(trained: Path, cell_id: str, tmp_path: Path) -> Path:
    """A copy of the run folder to change."""
    return Path(shutil.copytree(trained / "runs" / "scratch" / cell_id, tmp_path / "runs" / "scratch" / cell_id))


def reconfigure(folder: Path, part: str, **changes: Any) -> None:
    """The run folder as it would be if the run had had other settings."""
    found = read_configuration(folder)
    found.values[part] |= changes
    write_configuration(folder, found.values, found.cell_id, summed=True)


def logits(model: Any) -> torch.Tensor:
    return checks.logits(checks.widen(model), checks.probe(model))


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def mistake(outcome: tuple[int, str, str], *parts: str) -> None:
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    assert all(part in err for part in parts), err


def card_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model that the card's own code gives, run where the card lies."""
    text = (folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(names["tokenizer"]("the red dog sleeps")["input_ids"]) > 3
    return names["model"]


def test_help_imports_nothing_heavy(tmp_path: Path, root: Path) -> None:
    code = (
        "import sys; from uora_bench.cli.main import main; main(['export', '--help']); "
        f"print('HEAVY', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment(root), capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[-1] == "HEAVY []", result.stderr
    assert "format=peft|merged|native" in result.stdout


def test_a_killed_export_leaves_nothing_half_written_and_the_next_one_cleans_up(
    trained: Path, cell_id: str, expected: torch.Tensor, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = trained / "exports" / cell_id
    words = (cell_id, "format=peft")
    for signum, code in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
        process = start(trained, root, *words)
        limit = time.monotonic() + 120
        while not list(home.glob(".*.partial")) and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.002)
        process.send_signal(signum)
        result = finish(process)
        assert result.returncode == code
        assert not (home / "peft").exists()
        if signum == signal.SIGTERM:
            assert result.stderr == "stopped by signal 15; nothing was written\n"
            assert not home.exists()
    assert [p.name.endswith(".partial") for p in home.iterdir()] == [True]

    result = finish(start(trained, root, *words))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("uora · tiny/nli · tiny_roberta · seed 0 [")
    assert f"exports/{cell_id}/peft; largest difference of logits " in result.stdout
    assert len(result.stdout.splitlines()) == 1
    assert [p.name for p in home.iterdir()] == ["peft"]
    assert {p.name for p in (home / "peft").iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    config = json.loads((home / "peft" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"], config["lora_dropout"]) == ("LORA", 16, 16, 0.1)
    assert config["target_modules"] == ["query", "value"]
    model = card_model(home / "peft", monkeypatch)
    close(logits(model), expected)
    close(logits(model.merge_and_unload()), expected)


def test_the_best_epoch_leaves_as_pefts_vera(
    call: Call, trained: Path, cell_id: str, expected: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = call(cell_id, "format=peft", "as=vera", "weights=best")
    assert (code, err) == (0, "")
    assert "the epoch dev chose → a PEFT VeRA adapter (rank 16)" in out
    home = trained / "exports" / cell_id / "peft-vera-best"
    best, _, cell = load_model(trained / "runs" / "scratch" / cell_id, weights="best")
    assert cell.method.name == "uora"
    wanted = logits(best)
    assert (wanted - expected).abs().max() > 1e-3, "the test needs two different epochs"
    close(logits(card_model(home, monkeypatch)), wanted)
    text = (home / "README.md").read_text()
    assert "so their dev score is optimistic" in text
    assert re.search(r"\| best_dev \| 1 \| dev .*\| these weights \|", text)


def test_a_merged_model_is_a_plain_one(
    call: Call, trained: Path, cell_id: str, expected: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "plain"
    code, _, err = call(f"runs/scratch/{cell_id}", "format=merged", f"output={target}")
    assert (code, err) == (0, "")
    assert {p.name for p in target.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
    model = AutoModelForSequenceClassification.from_pretrained(target)
    assert model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    close(logits(model), expected)
    close(logits(card_model(target, monkeypatch)), expected)
    sentence = "the red dog sleeps"
    own = load_model(trained / "runs" / "scratch" / cell_id)[1]
    assert AutoTokenizer.from_pretrained(target)(sentence)["input_ids"] == own(sentence)["input_ids"]
    assert not any(str(folder) in p.read_text(errors="replace") for p in target.glob("*.json") for folder in (trained,))


def test_a_native_export_is_a_way_back_in_without_paths_of_this_machine(
    call: Call, trained: Path, cell_id: str, expected: torch.Tensor, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconfigure(copied, "data", root="/secret/place")
    target = copied.parent / "native"
    code, out, err = call(copied, "format=native", f"output={target}")
    assert (code, err) == (0, "")
    assert out.endswith("largest difference of logits 0.0e+00 of the largest\n")
    assert {p.name for p in target.iterdir()} == {"adapter.safetensors", "head.safetensors", "cell.json", "README.md"}
    assert not any(word in p.read_text() for p in target.glob("*[dn]") if p.suffix in (".md", ".json")
                   for word in ("/secret", str(trained), str(copied)))  # fmt: skip
    close(logits(card_model(target, monkeypatch)), expected)
    # from there on to another format, and not to weights it does not hold
    words = ("format=peft", f"output={copied.parent / 'peft'}", f"results.dir={trained / 'results'}")
    assert call(target, *words)[0] == 0
    with pytest.raises(UserError, match="holds the last epoch"):
        load_model(target, weights="best")


def test_the_card_has_the_records_facts(call: Call, trained: Path, cell_id: str, tmp_path: Path) -> None:
    import yaml

    assert call(cell_id, "format=native", f"output={tmp_path / 'native'}")[0] == 0
    text = (tmp_path / "native" / "README.md").read_text()
    made = read_record(trained / "results" / "records" / "scratch" / f"{cell_id}.json")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front == {"library_name": "uora_bench", "pipeline_tag": "text-classification",
                     "tags": ["uora_bench", "uora", "tiny/nli", "native"]}  # fmt: skip
    dev = {rule: f"{100 * made.scores[rule].scores['dev']['accuracy']:.2f}" for rule in made.scores}
    assert made.counts is not None
    assert made.bytes is not None
    for fact in (
        f"| last | 2 | dev (`validation[:51]`) | {dev['last']} |",
        f"| heldout_dev | – | dev (`validation[:51]`) | {dev['heldout_dev']} |",
        f"adapter {made.counts.adapter:,}, head {made.counts.head:,}", f"{made.bytes.adapter_size:,}", cell_id,
        "seed 0",
        "| `method.tau` | `0.03` | command line |", f"torch {torch.__version__}", str(made.provenance.git.commit),
        "train = `train[:76]` (76 rows)", made.provenance.data["train"],
    ):  # fmt: skip
        assert fact in text, fact
    assert "optimistic.**" not in text


def test_a_half_precision_backbone_is_merged_only_when_widened(
    call: Call, trained: Path, cell_id: str, copied: Path, tmp_path: Path
) -> None:
    reconfigure(copied, "backbone", dtype="bfloat16")
    mistake(call(copied, "format=merged"), "bfloat16", "dtype=float32")
    assert call(copied, "format=merged", "dtype=float32", f"output={tmp_path / 'wide'}")[0] == 0
    model = load_model(copied)[0]
    assert next(model.roberta.parameters()).dtype == torch.bfloat16
    wanted = logits(model)
    close(logits(AutoModelForSequenceClassification.from_pretrained(tmp_path / "wide")), wanted)
    assert {t.dtype for t in load_file(tmp_path / "wide" / "model.safetensors").values()} == {torch.float32}
    assert call(copied, "format=peft", f"output={tmp_path / 'peft'}")[0] == 0
    assert "dtype=torch.bfloat16" in (tmp_path / "peft" / "README.md").read_text()


def test_an_existing_target_is_kept_unless_told_otherwise(call: Call, cell_id: str, tmp_path: Path) -> None:
    target = tmp_path / "native"
    words = (cell_id, "format=native", f"output={target}")
    assert call(*words)[0] == 0
    before = (target / "adapter.safetensors").stat().st_mtime_ns
    mistake(call(*words), "already exists", "force=true")
    assert (target / "adapter.safetensors").stat().st_mtime_ns == before
    assert call(*words, "--force")[0] == 0
    assert (target / "adapter.safetensors").stat().st_mtime_ns > before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    mistake(call(*words[:-1], f"output={tmp_path / 'mine'}", "--force"), "not an export")


def test_mistakes_are_one_line(call: Call, cell_id: str, copied: Path, root: Path, trained: Path) -> None:
    near = cell_id[:-1] + ("0" if cell_id[-1] != "0" else "1")
    message = one_line(finish(start(trained, root, near, "format=peft")))
    assert f"did you mean '{cell_id}'?" in message
    mistake(call(cell_id), "format=peft")
    mistake(call(cell_id, "format=pfet"), "did you mean 'peft'?")
    mistake(call(cell_id, "--formt", "peft"), "did you mean 'format'?")
    mistake(call(cell_id, "format=peft", "--wieghts=best"), "did you mean 'weights'?")
    mistake(call(cell_id, "format=peft", "weights=first"), "last")
    mistake(call(cell_id, "format=merged", "as=vera"), "as=vera goes with format=peft")
    mistake(call(cell_id, "format=merged", "results.dir=elsewhere"), "no record 'elsewhere/records/scratch/")
    (copied / "checkpoints" / "best.pt").unlink()
    mistake(call(copied, "format=native", "weights=best"), "best.pt", "weights=last")
    (copied / "adapter.safetensors").unlink()
    mistake(call(copied, "format=native"), "has not finished", "run it again")
    (copied / "cell.json").unlink()
    mistake(call(copied, "format=native"), "cell.json")
    assert not (trained / "exports" / cell_id / "native").exists()
    assert not (trained / "exports" / cell_id / "native-best").exists()


def test_damaged_weights_are_one_line(call: Call, copied: Path, tmp_path: Path) -> None:
    for name in ("adapter.safetensors", "head.safetensors", "cell.json", "checkpoints/best.pt"):
        path, whole = copied / name, (copied / name).read_bytes()
        weights = "weights=best" if name.endswith(".pt") else "weights=last"
        for place in (9, len(whole) // 2, len(whole) - 9):  # a name or a shape, a number, the end
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            mistake(call(copied, "format=native", weights, f"output={tmp_path / 'x'}"), name, "damaged")
        path.write_bytes(whole)
    assert not (tmp_path / "x").exists()
    mistake(call(copied / "checkpoints", "format=native"), "run folder is the one above")
    assert not (tmp_path / "x").exists()


def test_an_export_that_does_not_give_the_runs_logits_vanishes(
    call: Call, cell_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uora_bench.export import peft_format

    honest = peft_format.lora_factors
    monkeypatch.setattr(peft_format, "lora_factors", lambda m: {k: (a, 1.01 * b) for k, (a, b) in honest(m).items()})
    code, out, err = call(cell_id, "format=peft", f"output={tmp_path / 'made' / 'peft'}")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"error: the PEFT adapter, loaded again, differs .*\n", err)
    assert not (tmp_path / "made").exists()


def test_another_backbone_than_the_runs_is_refused(
    call: Call, trained: Path, cell_id: str, copied: Path, tmp_path: Path
) -> None:
    own = load_model(trained / "runs" / "scratch" / cell_id)[0].config.name_or_path
    other = Path(shutil.copytree(own, tmp_path / "other"))
    words = (copied, "format=native", f"output={tmp_path / 'native'}")
    assert call(*words, f"backbone.path={other}")[0] == 0
    assert json.loads((tmp_path / "native" / "cell.json").read_text())["native"]["backbone_sha256"]
    with pytest.raises(UserError, match="name your copy"):
        load_model(tmp_path / "native")
    assert load_model(tmp_path / "native", backbone=other)[2].backbone.path == str(other)
    weights = load_file(other / "model.safetensors")
    next(iter(weights.values()))[0] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="not those the adapter was trained on"):
        load_model(tmp_path / "native", backbone=other)
    mistake(call(*words, f"backbone.path={other}", "--force"), "other weights now than the run had", "backbone.path")
