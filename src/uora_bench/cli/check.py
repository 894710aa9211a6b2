"""``uora-bench check NAME``: the contract of a method, or a trial of a task, backbone or experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.config import plugins, registry
from uora_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from uora_bench.contract.check import Finding

KINDS = ("method", "task", "backbone", "experiment")
_LONGEST = 400  # characters of what is told of a check


def _act(given: Given) -> int:
    (name,) = given.names
    kind = _kind(name, given.text("kind"))
    taken = next((word for word in given.passed if word.partition("=")[0] == kind), None)
    if taken is not None:
        raise UserError(f"'{taken}': what is checked is {kind}={name}; drop the word")
    slow, only = given.flag("slow"), given.text("only") or ""
    if kind != "method" and (slow or only):
        raise UserError(f"slow= and only= choose among the checks of a method, and '{name}' is of {kind}=; drop them")
    if kind == "method" and given.passed:
        raise UserError(
            f"'{given.passed[0]}': a method is checked with the options of its YAML, at a small rank; drop the word"
        )
    findings = _findings(kind, name, given.passed, slow, only)
    print(f"{kind} {name}, {_origin(kind, name)}", flush=True)
    found = Counter[str]()
    for finding in findings:
        found[finding.state] += 1
        told = " ".join(finding.told.split())
        told = told if len(told) <= _LONGEST else f"{told[:150]} … {told[150 - _LONGEST :]}"
        print(f"{finding.state:<8}  {finding.name}: {told}", flush=True)
    slower = "; slow=true adds two processes, a killed run and a compiled model (minutes)"
    print(
        ", ".join(f"{count} {state}" for state, count in found.items())
        + (slower if kind == "method" and not slow else "")
        + ("; UORA_DEBUG=1 shows the traceback of the first failure" if found["failed"] else "")
    )
    return 1 if found["failed"] else 0


def _kind(name: str, asked: str | None) -> str:
    """What ``name`` is the name of.

    Raises:
        UserError: for a name of nothing, or of several things.
    """
    found = [kind for kind in KINDS if asked in (None, kind) and name in registry.choices(kind)]
    if not found:
        names = [n for kind in KINDS if asked in (None, kind) for n in registry.choices(kind)]
        what = asked or f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"
        raise UserError(f"there is no {what} '{name}'{plugins.absent(name, names)}{nearest(name, names)}")
    if len(found) > 1:
        ways = " or ".join(f"kind={kind}" for kind in found)
        raise UserError(f"'{name}' is the name of several things ({', '.join(found)}); add {ways}")
    return found[0]


def _origin(kind: str, name: str) -> str:
    path = registry.path_of(kind, name)
    owner = next((plugin for plugin in plugins.active() if path.is_relative_to(plugin.folder)), None)
    return f"of plug-in {owner.name}: {path}" if owner is not None else "built in"


def _findings(kind: str, name: str, words: Sequence[str], slow: bool, only: str) -> Iterator[Finding]:
    if kind == "method":
        import torch

        from uora_bench.contract import cases

        meant = [check for check in cases.CHECKS if only in check.name]
        if not meant:
            names = [check.name for check in cases.CHECKS]
            raise UserError(f"only={only}: no check has that in its name{nearest(only, names, limit=3)}")
        if all(check.slow for check in meant) and not slow:
            raise UserError(f"only={only}: what has that in its name is slow; add slow=true")
        torch.set_num_threads(1)  # the models are tiny: more threads only wait for each other
        return cases.check_method(name, slow, only)
    from uora_bench.config import synonyms
    from uora_bench.contract import entries

    tries: dict[str, Callable[[str, Sequence[str]], Iterator[Finding]]] = {
        "task": entries.check_task,
        "backbone": entries.check_backbone,
        "experiment": entries.check_experiment,
    }
    return tries[kind](name, synonyms.canonical_once(words))


COMMAND = Command(
    "check",
    "test a method against its contract; try a task, backbone or experiment",
    _act,
    words="NAME",
    most=1,
    least=1,
    keys=(
        Key("kind", "of what NAME is the name, where it is one of several", choices=KINDS),
        Key("slow", "a method: also two processes, a killed run, a compiled model", flag=True),
        Key("only", "a method: the checks with this in their names", shown="merge"),
    ),
    passed=(keys.DATA_ROOT, *keys.CELL, keys.ANY),
    about=(
        "A method is asked what every method is asked: counts, gradients, merging, saving, resuming and more, on tiny "
        "models, a line per check. A task, backbone or experiment is composed, checked, described and trained for two "
        "steps of a small cell; other keys go on to that cell. Nothing is downloaded: what would need it is left out, "
        "and said to be.",
    ),
    examples=(
        "check lora",
        "check lora only=merge",
        "check tiny/nli",
        "check tiny/nli method=vera",
        "check quickstart",
    ),
    codes={1: "a check failed"},
)
