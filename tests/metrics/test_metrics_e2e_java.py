"""Checks METEOR, which is Java's or absent, and our Penn Treebank tokens against the Java program they stand in for."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.e2e_texts import grouped, oracle
from uora_bench.cli.main import main
from uora_bench.metrics import lacking, meteor, ptb
from uora_bench.metrics.e2e import e2e_scores


@pytest.fixture
def java() -> tuple[str, Path]:
    try:
        return meteor.find()
    except meteor.MeteorError as reason:
        if os.environ.get("CI") and shutil.which("java"):  # then only the extra can be missing, and CI installs it
            pytest.fail(str(reason))
        pytest.skip(str(reason))


def fake_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Put a ``java`` of ours, and nothing else, on PATH, and make a jar be found."""
    (tmp_path / "java").write_text(f"#!{sys.executable}\nimport os, sys, time\n{code}\n", "utf-8")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if importlib.util.find_spec("pycocoevalcap") is None:
        monkeypatch.setattr(meteor, "find", lambda: (str(tmp_path / "java"), tmp_path / "meteor-1.5.jar"))


@pytest.mark.slow  # ten seconds of a free core, most of them for reading the paraphrase table
def test_the_official_meteor_to_the_fourth_decimal(java, monkeypatch, tmp_path):
    monkeypatch.setenv("LC_ALL", "C")  # a locale without é
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    system, references, official = oracle()
    scores = e2e_scores(system, references)
    assert f"{scores['meteor']:.4f}" == f"{official['official_default']['METEOR']:.4f}"
    assert tuple(scores) == ("bleu", "nist", "meteor", "rouge_l", "cider")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_meteor_of_odd_texts(java):
    tokens = [ptb.tokenize(text) for text in ("", "Café déjà vu | ||| é", "😀 日本")]
    references = [[["a", "cat"]], [tokens[1], []], [["a"]]]
    assert 0 < meteor.meteor(tokens, references) < 1
    assert meteor.meteor(tokens[1:2], references[1:2]) > 0.99


def test_meteor_is_absent_without_java(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    scores = e2e_scores(["a pub"], [["a pub"]])
    assert "meteor" not in scores
    assert scores["absent"] == lacking("e2e/e2e") == {"meteor": "METEOR needs Java, and there is no java on PATH"}
    assert lacking("glue/rte") == {}


def test_a_plan_says_before_anything_runs_that_meteor_will_be_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["plan", "task=tiny/restaurants,tiny/nli", f"runs.dir={tmp_path}", f"results.dir={tmp_path}"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "will be missing" in line]
    assert told == ["note: meteor will be missing: METEOR needs Java, and there is no java on PATH"]


def test_meteor_is_absent_without_its_jar(monkeypatch, tmp_path):
    (tmp_path / "java").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(meteor.MeteorError, match=r"pip install 'uora_bench\[e2e\]'"):
        meteor.find()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit('Error: no memory\\nmore')", "METEOR's Java failed: Error: no memory"),
        ("sys.stdin.readline(); print('', flush=True)", "METEOR's Java failed: it ended without an answer"),
        (
            "[print('no number\\nno number', flush=True) for _ in sys.stdin]",
            "METEOR's Java failed: could not convert",
        ),
    ],
)
def test_meteor_is_absent_where_java_fails(code, reason, monkeypatch, tmp_path):
    fake_java(tmp_path, monkeypatch, code)
    scores = e2e_scores(["a pub"] * 200, [["a pub"]] * 200)
    assert "meteor" not in scores
    assert scores["absent"]["meteor"].startswith(reason)
    assert "\n" not in scores["absent"]["meteor"]


def test_a_java_that_hangs_is_killed(monkeypatch, tmp_path):
    monkeypatch.setenv("MARK", str(tmp_path / "pid"))
    fake_java(tmp_path, monkeypatch, "open(os.environ['MARK'], 'w').write(str(os.getpid())); time.sleep(60)")
    started = time.monotonic()
    with pytest.raises(meteor.MeteorError, match="longer than 5 s"):
        meteor.meteor([["a"]], [[["a"]]], timeout=5)
    assert time.monotonic() - started < 40
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_java_is_gone_after_an_interruption(monkeypatch, tmp_path):
    monkeypatch.setenv("MARK", str(tmp_path / "pid"))
    fake_java(tmp_path, monkeypatch, "open(os.environ['MARK'], 'w').write(str(os.getpid())); time.sleep(60)")

    def interrupted(*_):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(meteor, "_converse", interrupted)
    with pytest.raises(KeyboardInterrupt):
        meteor.meteor([["a"]], [[["a"]]])
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# ---- tokens


def java_tokens(jar: Path, lines: list[str], folder: Path) -> list[list[str]]:
    (folder / "lines.txt").write_text("\n".join(lines) + "\n", "utf-8")
    command = ["-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    done = subprocess.run(
        [meteor.find()[0], *command, "-preserveLines", "-lowerCase", str(folder / "lines.txt")],
        capture_output=True, check=True, timeout=300,
    )  # fmt: skip
    out = done.stdout.decode("utf-8").split("\n")[: len(lines)]
    return [[token for token in line.split(" ") if token and token not in ptb.PUNCTUATION] for line in out]


@pytest.mark.slow  # where the extra e2e is installed
def test_tokens_against_java(java, shared, tmp_path):
    jar = java[1].parents[1] / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    system, references, _ = oracle()
    groups = (system, *references, *grouped(shared, "validation"), *grouped(shared, "test"))
    lines = [line for group in groups for line in group]
    assert len(lines) > 9000
    theirs = java_tokens(jar, lines, tmp_path)
    assert [(line, a) for line, a in zip(lines, theirs, strict=True) if ptb.tokenize(line) != a] == []


@pytest.mark.parametrize(
    ("text", "tokens"),  # what the Java program gives for these, so that it is checked without Java too
    [
        ("The Eagle's £20-25, isn't kid-friendly.", "the eagle 's # 20-25 is n't kid-friendly"),
        ("Near St. John's (café) etc. 5 out of 5!", "near st. john 's -lrb- café -rrb- etc. 5 out of 5"),
        ("It is in city center., nearby", "it is in city center. nearby"),
        ("‘quoted’ “double” – they’ve can't cannot", "quoted double they 've ca n't can not"),
        ("food.It French,family-friendly £20.Located 5.It", "food.it french,family-friendly # 20 located 5 it"),
        ("Plan b. The U.S. at 7 p.m. or 10:30pm, no. 5", "plan b the u.s. at 7 p.m. or 10:30 pm no. 5"),
        ("AT&T &amp; C++ a/b 1/2 ½ 50% me@x.com $5 €5", "at&t & c++ a/b 1/2 1/2 50 % me@x.com $ 5 $ 5"),
        ("... -- ; : ' `` !", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_tokens(text, tokens):
    assert ptb.tokenize(text) == tokens.split()


def test_tokens_of_a_runaway_output_take_no_time():
    started = time.process_time()
    for unit in ("a.", "a,b", "x'", "5,", "-a", "(", "aa-", "<b", "a_", "é"):
        assert len(ptb.tokenize(unit * 4000)) >= 1
    assert time.process_time() - started < 20
