"""The model card of an export: what it is, how to load it, and the record's facts; no score from anywhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uora_bench.config.metrics import scale_of
from uora_bench.errors import UserError
from uora_bench.export.request import ExportRequest
from uora_bench.export.source import HALF, Source
from uora_bench.export.target_folder import TAG
from uora_bench.records.record import CellRecord
from uora_bench.util.schema import plain
from uora_bench.util.version import __version__

if TYPE_CHECKING:
    from uora_bench.tasks.base import HeadSpec

_LIBRARIES = {"peft": "peft", "merged": "transformers", "native": "uora_bench"}
_PIPELINES = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForImageClassification": "image-classification",
}
_RULE_OF = {"last": "last", "best": "best_dev"}
_PATHS = ("data.root", "results.dir", "runs.dir", "backbone.path", "init_from")  # of the machine, not of the run
_NOT_FACTS = ("experiment_name", "force", "tracker")


@dataclass(frozen=True)
class Facts:
    """What a card says.

    ``shown``: the format in words; ``base``: Hub id or folder; ``revision``: of the Hub id, None for a folder;
    ``difference``: what `checks.compare` found.
    """

    source: Source
    record: CellRecord
    request: ExportRequest
    shown: str
    head: HeadSpec
    base: str
    revision: str | None
    difference: float

    @property
    def half(self) -> bool:
        """Whether the backbone is used in half precision."""
        return self.source.cell.backbone.dtype in HALF


def text(facts: Facts) -> str:
    """The card as Markdown with YAML front matter; raises `UserError` for a record without counts."""
    return "\n".join(_lines(facts)) + "\n"


def _lines(facts: Facts) -> Iterator[str]:
    record, cell = facts.record, facts.source.cell
    yield from _front_matter(facts)
    yield f"# {record.label}"
    yield ""
    yield (
        f"{cell.method.name} on {cell.task.name}, starting from {_base(facts)}. Exported by uora_bench {__version__} "
        f"as {facts.shown}; the weights are those {_weights(facts)}. Loaded again, this folder gave the run's logits "
        f"on random inputs with a largest difference of {facts.difference:.1e} of the largest logit."
    )
    yield from ("", "## How to load it", "", "```python", *_code(facts), "```")
    yield from _remarks(facts)
    yield from ("", "## Scores", "", *_scores(facts))
    yield from ("", "## What was trained", "", *_costs(record))
    yield from ("", "## Recipe", "", *_recipe(facts))
    yield from ("", "## Where it comes from", "", *_provenance(record))


def _front_matter(facts: Facts) -> Iterator[str]:
    import yaml

    cell = facts.source.cell
    head: dict[str, Any] = {}
    if facts.revision is not None:
        head["base_model"] = facts.base
    head["library_name"] = _LIBRARIES[facts.request.format]
    if facts.head.auto_class in _PIPELINES:
        head["pipeline_tag"] = _PIPELINES[facts.head.auto_class]
    if cell.task.source.hub is not None and _is_named_set(facts.record):
        head["datasets"] = [cell.task.source.hub.id]
    head["tags"] = [TAG, cell.method.name, cell.task.name, facts.request.format]
    yield from ("---", *yaml.safe_dump(head, sort_keys=False, allow_unicode=True).splitlines(), "---", "")


def _is_named_set(record: CellRecord) -> bool:
    """Whether it is known that the rows are those of the repository that the task names."""
    return record.provenance.rows_from in ("hub", "mirror", "hub+mirror")


def _base(facts: Facts) -> str:
    if facts.revision is None:
        where = f", `{facts.base}`" if facts.request.format == "peft" else ""
        return f"{facts.record.cell['backbone']['name']} (a folder on the machine of the export{where})"
    return f"[{facts.base}](https://huggingface.co/{facts.base}) (revision `{facts.revision}`)"


def _weights(facts: Facts) -> str:
    if facts.request.weights == "last":
        return "after the last epoch"
    return f"after epoch {facts.record.scores['best_dev'].epoch}, the best one on dev"


def _code(facts: Facts) -> Iterator[str]:
    auto, cell = facts.head.auto_class, facts.source.cell
    here = 'folder = "."  # where this file is'
    images = cell.backbone.kind == "vision"
    name, kind = ("processor", "AutoImageProcessor") if images else ("tokenizer", "AutoTokenizer")
    classes = ", ".join(sorted((auto, kind), key=str.lower))
    if facts.request.format == "native":
        named = ', backbone="<folder of the backbone>"' if cell.backbone.path is not None else ""
        yield from ("from uora_bench.export import load_model", "", here)
        yield f"model, {name}, cell = load_model(folder{named})"
    elif facts.request.format == "merged":
        yield from (f"from transformers import {classes}", "", here)
        yield f"model = {auto}.from_pretrained(folder).eval()"
        yield f"{name} = {kind}.from_pretrained(folder)"
    else:
        if facts.half:
            yield "import torch"
        yield "from peft import PeftModel"
        yield from (f"from transformers import {classes}", "", here, f'base = "{facts.base}"')
        pinned = f', revision="{facts.revision}"' if facts.revision is not None else ""
        dtype = f", dtype=torch.{cell.backbone.dtype}" if facts.half else ""
        head = "".join(f", {key}={value!r}" for key, value in facts.head.config.items())
        head += ", ignore_mismatched_sizes=True" if images else ""  # many are saved with a head of their own
        yield f"model = {auto}.from_pretrained(base{pinned}{dtype}{head}){'.float()' if facts.half else ''}"
        comes = "  # the trained head comes with it" if cell.backbone.head else ""
        yield f"model = PeftModel.from_pretrained(model, folder).eval(){comes}"
        yield f"{name} = {kind}.from_pretrained(base{pinned})"


def _remarks(facts: Facts) -> Iterator[str]:
    digest = facts.record.provenance.backbone.get("weights_sha256", "unknown")
    if facts.request.format == "peft" and facts.revision is None:
        yield ""
        yield (
            f"The base model was loaded from a folder (weights sha256 `{digest}`); put the path of your own copy in "
            "its place, here and in `adapter_config.json`."
        )
    if facts.request.format == "native" and facts.source.cell.backbone.path is not None:
        yield ""
        yield f"The backbone came from a folder (weights sha256 `{digest}`); name your own copy."
    if facts.half and facts.request.format == "peft":
        yield ""
        yield (
            f"The base's weights are used in {facts.source.cell.backbone.dtype}; `.float()` widens them without loss, "
            "and then the adapter and a merged model are exact. Without it every sum is rounded to half precision, and "
            "the trained head too."
        )


def _scores(facts: Facts) -> Iterator[str]:
    record, metric = facts.record, facts.record.metric
    yield "| rule | epoch | split | " + f"{metric.primary} | other metrics | |"
    yield "| --- | --- | --- | ---: | --- | --- |"
    for rule, result in record.scores.items():
        for split, values in result.scores.items():
            name = record.splits[split].name if split in record.splits else split
            others = ", ".join(
                f"{k} {v * scale_of(metric, k):.2f}"
                for k, v in values.items()
                if k != metric.primary and isinstance(v, float)
            )
            first = values.get(metric.primary)
            shown = f"{first * metric.scale:.2f}" if first is not None else ""
            mark = "these weights" if rule == _RULE_OF[facts.request.weights] else ""
            epoch = result.epoch if result.epoch is not None else "–"
            yield f"| {rule} | {epoch} | {split} (`{name}`) | {shown} | {others} | {mark} |"
    yield ""
    yield from (f"- {rule}: {result.note}." for rule, result in record.scores.items())
    served = ", ".join(f"{role} = `{s.name}` ({s.rows:,} rows)" for role, s in record.splits.items())
    yield f"- Splits: {served}. One seed: differences to other runs of the size of a few examples mean nothing."
    if facts.request.weights == "best":
        yield "- **Dev chose the epoch of these weights, so their dev score is optimistic.**"


def _costs(record: CellRecord) -> Iterator[str]:
    counts, sizes = record.counts, record.bytes
    if counts is None:
        raise UserError(f"the record of cell {record.cell_id} has no counts; run the cell again")
    yield f"- parameters: adapter {counts.adapter:,}, head {counts.head:,}, all with the frozen ones {counts.total:,}"
    if sizes is not None:
        yield f"- adapter size in bytes (without the head): {sizes.adapter_size:,}"


def _recipe(facts: Facts) -> Iterator[str]:
    recipe, record = facts.record.recipe, facts.record
    note = " ".join(str(recipe.get("note") or "").split())
    yield f"`{recipe['name']}` (status: {recipe['status']}). {note}".rstrip()
    yield from ("", "| key | value | source |", "| --- | --- | --- |")
    shown = {k: s for k, s in record.sources.items() if not k.startswith((*_PATHS, *_NOT_FACTS))}
    for key, source in shown.items():
        found, value = _lookup(facts.source.values, key)
        if found:
            yield f"| `{key}` | `{_plain(value)}` | {source} |"
    yield ""
    yield "Every key not in the table has the suite's default; method options in full:"
    yield ""
    options = plain(facts.source.cell.method)
    yield from (f"- `{key}`: `{_plain(options[key])}`" for key in options if key not in ("name", "version"))


def _lookup(values: Mapping[str, Any], key: str) -> tuple[bool, Any]:
    here: Any = values
    for part in key.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return False, None
        here = here[part]
    return True, here


def _plain(value: Any) -> str:
    """A value as it is written on the command line."""
    return json.dumps(value, ensure_ascii=False) if value is None or isinstance(value, bool) else str(value)


def _provenance(record: CellRecord) -> Iterator[str]:
    facts = record.provenance
    state = " (with uncommitted changes)" if facts.git.dirty else ""
    yield f"- cell_id: `{record.cell_id}`, experiment `{record.experiment}`, seed {record.cell.get('seed')}"
    yield f"- code: commit `{facts.git.commit or 'unknown (an installed package)'}`{state}"
    yield "- versions: " + ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    yield f"- finished: {facts.finished}; precision of the forward pass: {record.precision}"
    data = ", ".join(f"{role} `{digest}`" for role, digest in facts.data.items())
    yield f"- data fingerprints: {data}"
    hub = (facts.source or {}).get("hub")
    if hub and not _is_named_set(record):
        yield f"- the rows came from local files, which nobody compared with `{hub['id']}`"
    if record.cell.get("init_from"):
        yield f"- started from the adapter with sha256 `{record.cell['init_from']}`"
