"""Runs METEOR 1.5 (Denkowski and Lavie, 2014, doi:10.3115/v1/W14-3348): a Java program, never approximated here.

The program and its paraphrase table come with the package pycocoevalcap (the extra ``e2e``); only its files are used.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from uora_bench.metrics.mteval import Words


class MeteorError(Exception):
    """There is no METEOR score; the message, one line, is the reason."""


def find() -> tuple[str, Path]:
    """Return the paths of Java and of METEOR's jar; raises MeteorError where one of them is missing."""
    java = shutil.which("java")
    if java is None:
        raise MeteorError("METEOR needs Java, and there is no java on PATH")
    spec = importlib.util.find_spec("pycocoevalcap")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        jar = Path(folder) / "meteor" / "meteor-1.5.jar"
        if jar.is_file() and (jar.parent / "data" / "paraphrase-en.gz").is_file():
            return java, jar
    raise MeteorError("METEOR needs meteor-1.5.jar and its data: pip install 'uora_bench[e2e]'")


def meteor(predictions: Sequence[Words], references: Sequence[Sequence[Words]], timeout: float = 900.0) -> float:
    """METEOR of a corpus of tokens, in 0..1, with the E2E scripts' options: English, ``-norm``, default parameters.

    One Java process scores the whole corpus, one line at a time, and is gone when this returns or raises. It reads a
    60 MB table first, which takes seconds, and may use 2 GB. No locale matters to it, and no file is left.

    Raises:
        MeteorError: no Java or no jar, or the program failed or took longer than ``timeout`` seconds.
    """
    java, jar = find()
    options = ["-Xmx2G", "-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US"]
    command = [java, *options, "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        except OSError as error:
            raise MeteorError(f"METEOR's Java did not start: {error}") from error
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        watch = threading.Timer(timeout, stop)
        watch.daemon = True
        watch.start()
        try:
            return _converse(process, predictions, references)
        except (OSError, ValueError) as error:
            if late.is_set():
                raise MeteorError(f"METEOR's Java took longer than {timeout:g} s") from error
            process.kill()
            process.wait()
            errors.seek(0)
            said = errors.read(2000).decode("utf-8", "replace").split("\n")[0].strip()
            raise MeteorError(f"METEOR's Java failed: {said or error}") from error
        finally:
            watch.cancel()
            process.kill()
            process.wait()
            with contextlib.suppress(OSError):  # what a dead process did not read
                process.stdin.close()  # type: ignore[union-attr]
            process.stdout.close()  # type: ignore[union-attr]


def _converse(
    process: subprocess.Popen[bytes], predictions: Sequence[Words], references: Sequence[Sequence[Words]]
) -> float:
    """Speak the program's protocol: SCORE each segment, then EVAL all statistics; the last answer is the corpus's."""
    assert process.stdin is not None
    assert process.stdout is not None

    def tell(*fields: str) -> None:
        process.stdin.write((" ||| ".join(fields) + "\n").encode("utf-8", "replace"))  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]

    def hear() -> str:
        line: bytes = process.stdout.readline()  # type: ignore[union-attr]
        if not line.strip():
            raise ValueError("it ended without an answer")
        return line.decode("utf-8").strip()

    statistics = []
    for words, group in zip(predictions, references, strict=True):
        tell("SCORE", *(" ".join(other) for other in group), " ".join(words))
        statistics.append(hear())
    tell("EVAL", *statistics)
    for _ in statistics:
        hear()
    return float(hear())
