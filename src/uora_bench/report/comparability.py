"""The rules of what may not be compared, each with an id (`docs/comparability.md` has a known case of every one).

A rule looks at the finished cells of one column (``UC12``, ``UC13``, ``UC16``: of one row in it). A preset says by id
what follows: ``note``, the default, a footnote at the numbers that differ from most; ``split``, the rows go to blocks
of their own, within which nothing differs; ``refuse``, there is no table.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from uora_bench.errors import UserError, nearest
from uora_bench.records.predictions import EpochPredictions, read_checked, read_predictions, why_no_predictions
from uora_bench.report import cache, searches
from uora_bench.report.collect import Run

_TRIVIAL = 0.99  # of the trivial predictor's loss: a training loss above that has learnt nothing
_ENOUGH = 30  # items that tell how frequent classes are
Facts = dict[str, str]  # what has to be equal -> its value, for people; what is not known is not in it
Row = TypeVar("Row")


class Rule(NamedTuple):
    """``facts`` of a finished cell have to be the same in all rows of a column.

    Of a table of ``plain`` runs they need no word even where a published number stands beside.
    """

    id: str
    title: str
    facts: Callable[[Run], Facts]
    plain: str | None = None


def _seen(run: Run) -> Facts:
    trainer = run.record.cell["trainer"]
    most, stopped = trainer.get("max_steps"), run.record.provenance.stopped_early
    if stopped is not None:
        return {"": f"stopped early, after {stopped} steps"}
    return {"": f"trained for {trainer['epochs']} epochs" if most is None else f"trained for {most} steps"}


def _start(run: Run) -> Facts:
    return {"": "started from the adapter of another cell" if run.record.cell.get("init_from") else _COLD}


def _training_rows(run: Run) -> Facts:
    cell = run.record.cell
    share, train = cell["trainer"].get("holdout"), cell["task"]["splits"]["train"]
    kept = f", {share:g} of it kept from the adapter" if share else ""
    return {"": _WHOLE if not share and "[" not in train else f"trained on {train}{kept}"}


def _same_training_rows(run: Run) -> Facts:
    """The hash of the training rows, among cells of one seed that take the same part of the data."""
    cell, data = run.record.cell, run.record.provenance.data
    task, kept = cell["task"], (cell["method"]["name"], cell["trainer"].get("holdout")) if "held_out" in data else None
    key = str((task["splits"]["train"], task["options"], kept, cell["seed"]))
    return {key: f"trained on other rows ({data['train'][:8]})"} if "train" in data else {}


def _prompt_loss(run: Run) -> Facts:
    counted = run.record.cell["task"]["options"].get("loss_on_prompt")
    return {} if counted is None else {"": f"loss {'on' if counted else 'not on'} the prompt"}


def _precision(run: Run) -> Facts:
    backbone, computed = run.record.cell["backbone"], run.record.precision
    stored = backbone.get("quantisation") or backbone.get("dtype")
    return {} if computed is None else {"": f"computed in {computed}, weights kept in {stored or 'the same'}"}


def _metric(run: Run) -> Facts:
    task, script = run.record.cell["task"], run.record.cell.get("metric")
    version = f"scored by version {task.get('version')} of {run.record.metric.name}"
    return {"": version + (f" (sha256 {script[:12]})" if script else "")}


def _plugins(run: Run) -> Facts:
    plugins = run.record.cell.get("plugins") or {}
    return {name: f"plug-in {name} of sha256 {digest[:12]}" for name, digest in plugins.items()}


def _rows_scored(run: Run) -> Facts:
    return {role: f"scored on other rows of {role} ({d[:8]})" for role, d in _scored(run).items()}


def _scored(run: Run) -> Mapping[str, str]:
    return {k: v for k, v in run.record.provenance.data.items() if k not in ("train", "held_out")}


_COLD, _WHOLE = "started from the pretrained weights", "trained on the whole training set"
DIFFER = (
    Rule("UC01", "epochs or steps seen", _seen),
    Rule("UC02", "trials of the search behind a row", searches.budget),
    Rule("UC04", "warm or cold start", _start, _COLD),
    Rule("UC05", "training rows", _training_rows, _WHOLE),
    Rule("UC05", "training rows", _same_training_rows),
    Rule("UC06", "loss on the prompt", _prompt_loss),
    Rule("UC07", "precision", _precision),
    Rule("UC09", "version of the metric", _metric),
    Rule("UC10", "source of a plug-in", _plugins),
    Rule("UC15", "rows scored", _rows_scored),
)
# id -> what it is about: of every rule that a preset may name
TITLES = {rule.id: rule.title for rule in DIFFER} | {
    "UC03": "selection rule",
    "UC08": "hardware, for seconds and memory",
    "UC11": "predictions missing",
    "UC12": "a row that did not learn",
    "UC13": "a score below the majority class",
    "UC14": "an average over columns with unlike numbers of seeds",
    "UC16": "rows scored that had judged the search of the rate",
}


def check_levels(levels: Mapping[str, str]) -> None:
    """Raise `UserError` for ``table.comparability`` with an unknown id, or a split by what tells no two rows apart."""
    for rule, level in levels.items():
        if rule not in TITLES:
            raise UserError(f"table.comparability: no rule '{rule}'{nearest(rule, TITLES)} (docs/comparability.md)")
        if level == "split" and rule not in {one.id for one in DIFFER}:
            raise UserError(f"table.comparability.{rule}: '{TITLES[rule]}' splits no rows; note or refuse")


def found(levels: Mapping[str, str], rule: str, text: str) -> str:
    """``text`` with the id of its ``rule``; raises `UserError` where the preset refuses such a table."""
    if levels.get(rule) == "refuse":
        raise UserError(f"this table is refused by rule {rule} ({TITLES[rule]}): {text} (docs/comparability.md)")
    return f"{rule}: {text}"


def split_rows(
    rows: Sequence[tuple[Row, list[Run]]], levels: Mapping[str, str]
) -> list[tuple[str, list[tuple[Row, list[Run]]]]]:
    """``rows`` (with their cells) in groups that differ in no rule that the preset splits by.

    Each group has the words that tell it from the others; one group without words where nothing differs.
    """
    rules = [rule for rule in DIFFER if levels.get(rule.id) == "split"]
    groups: list[tuple[dict[tuple[str, str, str], str], list[tuple[Row, list[Run]]]]] = []
    for row in rows:
        own = {(rule.id, run.task, key): text for rule in rules for run in _done(row[1])
               for key, text in rule.facts(run).items()}  # fmt: skip
        for known, members in groups:
            if all(known.get(key, text) == text for key, text in own.items()):
                known.update(own)
                members.append(row)
                break
        else:
            groups.append((dict(own), [row]))
    if len(groups) < 2:
        return [("", list(rows))]
    shared = set.intersection(*(set(known.items()) for known, _ in groups))
    named = [dict.fromkeys(f"{key[0]}: {text}" for key, text in known.items() if (key, text) not in shared)
             for known, _ in groups]  # fmt: skip
    return [("; ".join(words), members) for words, (_, members) in zip(named, groups, strict=True)]


def differences(entries: Sequence[Sequence[Run]], levels: Mapping[str, str]) -> list[list[str]]:
    """What `DIFFER` finds for each row of one column (its cells).

    In which settings the row differs from most rows, and what is no plain run.

    Raises:
        UserError: for rows that differ in what the preset refuses.
    """
    texts: list[list[str]] = [[] for _ in entries]
    for rule in DIFFER:
        facts = [_facts(rule, runs) for runs in entries]
        for key in dict.fromkeys(key for own in facts for key in own):
            counts = Counter(text for own in facts for text in own.get(key, ()))
            usual = max(counts, key=lambda text: (counts[text], text == rule.plain))
            for own, into in zip(facts, texts, strict=True):
                odd = [text for text in own.get(key, ()) if text not in (usual, rule.plain)]
                if odd and len(counts) > 1:
                    into.append(found(levels, rule.id, f"{', '.join(odd)}; most rows: {usual}"))
                elif len(counts) > 1 and usual not in own.get(key, (usual,)):
                    into.append(found(levels, rule.id, f"{', '.join(own[key])}; most rows: {usual}"))
                elif rule.plain is not None and own.get(key, {rule.plain: None}) != {rule.plain: None}:
                    into.append(f"{rule.id}: {', '.join(own[key])}")
    return texts


def rates(columns: Sequence[tuple[str, Sequence[Sequence[Run]]]]) -> str:
    """How the rates of the columns were come by (``UC02``) in which no row differs; "" where there is none.

    ``columns``: a label and the cells of every row.
    """
    alike: dict[str, list[str]] = {}
    for label, entries in columns:
        texts = {text for runs in entries for run in _done(runs) for text in searches.budget(run).values()}
        if len(texts) == 1:
            alike.setdefault(texts.pop(), []).append(label)
    whole = len(alike) == 1 and len(next(iter(alike.values()))) == len(columns)
    said = [text if whole else f"{text} ({', '.join(labels)})" for text, labels in alike.items()]
    return f"UC02, all rows: {'; '.join(said)}." if said else ""


def _facts(rule: Rule, runs: Iterable[Run]) -> dict[str, dict[str, None]]:
    """By key the values that the cells of one row have."""
    own: dict[str, dict[str, None]] = {}
    for run in _done(runs):
        for key, text in rule.facts(run).items():
            own.setdefault(key, {})[text] = None
    return own


def _done(runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.status == "done"]


# --- one row ---------------------------------------------------------------------------------------------------------


def faults(runs: Iterable[Run], split: str, metric: str, scale: float, by_seed: Mapping[int, float],
           levels: Mapping[str, str]) -> list[str]:  # fmt: skip
    """What is wrong with the cells of one row in one column.

    They did not learn (``UC12``), or always naming one class scores as much (``UC13``). ``by_seed``: their scores times
    ``scale``.
    """
    texts, below = [], []
    stuck = [f"seed {seed}: {loss:.3f}" for seed, loss in unlearned(runs).items()]
    for run in _done(runs):
        share = majority(run, split) if metric == "accuracy" else None
        if share is not None and by_seed.get(run.seed, math.inf) <= share * scale:
            below.append(run.seed)
    if stuck:
        text = (
            "did not learn: the last training loss is no lower than of a model that knows only how frequent classes are"
        )
        texts.append(found(levels, "UC12", f"{text} ({', '.join(stuck)})"))
    if below:
        text = f"no better than always the most frequent class (seeds {', '.join(map(str, below))})"
        texts.append(found(levels, "UC13", text))
    return texts


def unlearned(runs: Iterable[Run]) -> dict[int, float]:
    """The last training loss, in nats, of the finished cells that did not learn (``UC12``), by seed."""
    found = {}
    for run in _done(runs):
        loss, trivial = run.record.epochs[-1].train_loss, _trivial_loss(run)
        if trivial is not None and loss >= _TRIVIAL * trivial and not _names_classes(run):
            found[run.seed] = loss
    return found


def _names_classes(run: Run) -> bool:
    """Whether a part of the data has an accuracy two standard errors above that of its most frequent class.

    Something was learnt then, also where answers that are wrong but sure make the loss large.
    """
    for split, counts in _classes(run).items():
        total, share = sum(counts), max(counts) / sum(counts)
        score = run.score("last", split, "accuracy")
        if score is not None and total >= _ENOUGH and score > share + 2 * math.sqrt(share * (1 - share) / total):
            return True
    return False


def majority(run: Run, split: str) -> float | None:
    """The share of the most frequent class among the right answers of ``split``.

    None where they are not kept, or are no classes.
    """
    counts = _classes(run).get(split)
    return None if counts is None else max(counts) / sum(counts)


def _trivial_loss(run: Run) -> float | None:
    """The cross-entropy, in nats, of always predicting the shares of the classes; None where there are no classes."""
    scored = _classes(run).values()
    # a small part, or one without some class, says little of the shares among the rows that were trained on
    told = max((c for c in scored if all(c) and sum(c) >= _ENOUGH), key=sum, default=None)
    if told is not None:
        shares = [own / sum(told) for own in told]
        return -sum(share * math.log(share) for share in shares)
    if scored:
        return math.log(len(next(iter(scored))))
    labels = run.record.cell["task"]["options"].get("labels") or run.record.provenance.settled.get("labels")
    return math.log(len(labels)) if labels else None


def _classes(run: Run) -> dict[str, tuple[int, ...]]:
    """By split how many items are of each class, 0 of some, where predictions are kept and chosen among classes."""
    question = predictions_sha256(run)
    if question is None:
        return {}
    if question not in _COUNTED:
        _COUNTED[question] = cache.take(dict[str, tuple[int, ...]], ["classes", question], lambda: _counted(run))
    return _COUNTED[question]


_COUNTED: dict[str, dict[str, tuple[int, ...]]] = {}  # by the sha256 of the predictions


def _counted(run: Run) -> dict[str, tuple[int, ...]]:
    import numpy as np

    found: dict[str, tuple[int, ...]] = {}
    for part in reversed(kept_predictions(run)):
        codes, count = part.reference, 0 if part.logits is None else part.logits.shape[1]
        if not count or not isinstance(codes, np.ndarray) or not len(codes) or codes.dtype.kind not in "iu":
            continue  # no classes
        if codes.min() >= 0 and codes.max() < count:
            found[part.split] = tuple(np.bincount(codes, minlength=count).tolist())
    return found


def predictions_sha256(run: Run) -> str | None:
    """The sha256 of the predictions beside the record of a finished cell, which are as they were written.

    None where it has none. Looked at once.
    """
    if run.folder is None or run.status != "done" or why_no_predictions(run.record):
        return None
    key = run.folder, run.record.cell_id, run.record.provenance.predictions
    if key not in _CHECKED:
        read_checked(run.record, run.folder)
        _CHECKED.add(key)
    known = run.record.provenance.predictions
    return known.sha256 if known is not None else None


_CHECKED: set[object] = set()


def kept_predictions(run: Run) -> list[EpochPredictions]:
    """The predictions beside the record of a finished cell, read once; none where it has none."""
    if run.folder is None or run.status != "done" or why_no_predictions(run.record):
        return []
    key = run.folder, run.record.cell_id, run.record.provenance.predictions
    if key not in _READ:
        _READ[key] = read_predictions(run.record, run.folder)
    return _READ[key]


_READ: dict[object, list[EpochPredictions]] = {}


# --- the whole table -------------------------------------------------------------------------------------------------


def without_predictions(runs: Iterable[Run]) -> str:
    """How many of the finished cells have no predictions, and why; "" where all have."""
    done = _done(runs)
    reasons = Counter(why for run in done if (why := why_no_predictions(run.record)))
    if not reasons:
        return ""
    total = sum(reasons.values())
    return f"{total} of {len(done)} cells have no predictions ({'; '.join(reasons)}) and are not compared over items"


def clock(runs: Iterable[Run]) -> str:
    """Whether seconds can be compared at all."""
    runs = _done(runs)
    launches = [run.record.provenance.launch for run in runs]
    shared = sum(launch is not None and launch.shared for launch in launches)
    unknown = sum(launch is None for launch in launches)
    machines = _machines(runs)
    cpus = [run.record.provenance.hardware for run in runs if not run.record.provenance.hardware.gpus]
    threads = sorted({one.threads for one in cpus if one.threads is not None})
    text = []
    if shared:
        text.append(f"{shared} of {len(runs)} cells shared their machine with others")
    if unknown:
        some = "the cells" if unknown == len(runs) else f"{unknown} of {len(runs)} cells"
        text.append(f"whether {some} had their machine to themselves is not recorded")
    if len(machines) > 1:
        text.append(f"the cells ran on {len(machines)} kinds of processor")
    if len(threads) > 1:
        text.append(f"the cells ran with {', '.join(map(str, threads[:-1]))} and {threads[-1]} threads")
    if not text:
        return ""
    apart = shared or len(machines) > 1 or len(threads) > 1
    verdict = "seconds are not comparable" if apart else "compare seconds with care"
    sentence = "; ".join(text)
    return f"{sentence[0].upper()}{sentence[1:]}: {verdict}."


def _machines(runs: Iterable[Run]) -> set[str]:
    hardware = [run.record.provenance.hardware for run in runs]
    return {str(one.gpus or one.processor or "unknown") for one in hardware}


KINDS = {
    "resident": "resident memory of the whole process, the framework included",
    "cuda_allocated": "memory allocated on the GPU",
}


def memory_kinds(runs: Iterable[Run]) -> list[str]:
    """What was measured as peak memory, by its keys in records."""
    return sorted({run.record.peak_memory_kind or "" for run in _done(runs)} - {""})


def memory(runs: Iterable[Run]) -> str:
    """What was measured as peak memory, for people."""
    kinds = memory_kinds(runs)
    if len(kinds) > 1:
        return f"Memory was measured in several ways ({', '.join(kinds)}): it is not comparable."
    return f"Peak of {KINDS.get(kinds[0], kinds[0])}." if kinds else ""
