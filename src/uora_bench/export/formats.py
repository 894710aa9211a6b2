"""One export, from the run folder to the checked folder of files: the order of the steps and the three formats."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.errors import UserError
from uora_bench.execution.configuration import ADAPTER, HEAD, write_configuration
from uora_bench.export import target_folder
from uora_bench.export.request import ExportRequest
from uora_bench.export.source import HALF, Source, read_source
from uora_bench.util import atomic

if TYPE_CHECKING:
    from torch import Tensor

    from uora_bench.export.loading import Loaded
    from uora_bench.export.peft_format import BaseModel


def export(folder: Path, request: ExportRequest, target: Path | None) -> str:
    """Write, check and publish one export; returns the line to print. ``target`` None: ``exports/<cell_id>/<name>``.

    Raises:
        UserError: what cannot be exported, or a target that must not be replaced.
        CellError: the written folder, loaded again, does not give the run's logits; nothing is left of it.
    """
    source = read_source(folder)
    if source.native is not None:  # it holds one set of weights, and says which
        request = replace(request, weights=str(source.native.weights))
    source.weight_files(request.weights)
    target = target or Path("exports") / source.cell_id / request.name
    target_folder.check_target(target, request.force)
    record = source.record(request.results)
    if request.format == "merged" and source.cell.backbone.dtype in HALF and request.dtype is None:
        raise UserError(
            f"a merged model in {source.cell.backbone.dtype} cannot hold what was trained (W + ΔW, a float32 head): "
            "dtype=float32 widens the weights first, format=native keeps everything as it is"
        )
    if request.format != "native" and source.cell.backbone.quantisation != "none":
        raise UserError(
            f"the run's backbone is quantised ({source.cell.backbone.quantisation}), so neither a merged model nor an "
            "adapter on the unquantised one gives its logits; use format=native"
        )
    if request.format != "native" and source.cell.backbone.pooling != "own":
        raise UserError(
            f"the run's head reads the {source.cell.backbone.pooling} over the tokens (backbone.pooling), which no "
            "plain model of transformers does; use format=native"
        )
    from uora_bench.export import card, loading

    loaded = loading.load_cell(source, request.weights, request.backbone)
    origin = record.provenance.backbone
    _check_origin(origin, loaded)
    base = base_model_of(loaded, origin)
    if request.format == "merged" and loaded.adds and not loaded.method.mergeable:
        raise UserError(
            f"method={source.cell.method.name} adds what no weight of the plain model can hold; use format=native"
        )
    with target_folder.filled_target(target, request.force) as partial:
        if request.format == "native":
            difference, shown = _native(source, loaded, request, partial), "native files"
        elif request.format == "merged":
            difference, shown = _merged(loaded, partial), f"a plain model ({source.cell.method.name})"
        else:
            difference, shown = _peft(loaded, request, base, partial)
        facts = card.Facts(source, record, request, shown, loaded.head, base.name, base.revision, difference)
        atomic.write_text(partial / "README.md", card.text(facts))
    kind = "last epoch" if request.weights == "last" else "the epoch dev chose"
    return (
        f"{source.cell.label} [{source.cell_id}], {kind} → {shown}: {target}; largest difference of logits "
        f"{difference:.1e} of the largest"
    )


def _check_origin(recorded: Mapping[str, Any], loaded: Loaded) -> None:
    """The backbone of today must be the run's: same commit on the Hub, same bytes in a folder."""
    for key in ("weights_sha256", "files_sha256", "commit"):
        then, now = recorded.get(key), loaded.origin.get(key)
        if then and now and then != now:
            what = "files" if key == "files_sha256" else "weights"
            raise UserError(
                f"backbone={loaded.cell.backbone.name} has other {what} now than the run had ({key} {now[:12]}…, then "
                f"{then[:12]}…); name a folder with the run's by backbone.path=<folder>"
            )


def base_model_of(loaded: Loaded, recorded: Mapping[str, Any]) -> BaseModel:
    """What the exported folder calls its base model: the Hub id and revision, or the folder it came from."""
    from uora_bench.export.peft_format import BaseModel

    backbone = loaded.cell.backbone
    if backbone.id is not None and backbone.path is None:
        name, revision = backbone.id, recorded.get("commit") or backbone.revision
    else:
        name, revision = str(Path(str(loaded.model.config.name_or_path)).absolute()), None
    dropout = float(getattr(loaded.method.config, "dropout", 0.0))
    return BaseModel(name, revision, tuple(backbone.head), loaded.head.auto_class, dropout)


def _fresh(loaded: Loaded) -> Any:
    """The plain backbone as a user loads it, with a head nobody trained, in the dtype exports are stored in."""
    from uora_bench.export import checks
    from uora_bench.models import backbones

    cell = loaded.cell
    model: Any = backbones.load_backbone(cell.backbone, loaded.head, cell.seed + 1).model
    return model.to(checks.stored_dtype(model))


def _peft(loaded: Loaded, request: ExportRequest, base: BaseModel, folder: Path) -> tuple[float, str]:
    from uora_bench.export import checks, peft_format, plain

    method, model = loaded.method, loaded.model
    own: Any = getattr(method, "save_peft", None)  # of a method that is PEFT's in the first place
    if own is None or request.shape is not None:
        peft_format.refuse(method, loaded.trains, loaded.adds)
    inputs, dtype = checks.probe(model), checks.stored_dtype(model)
    checks.widen(model)
    expected = checks.logits(model, inputs)
    with peft_format.quiet():
        if own is not None and request.shape is None:
            model.to(dtype)
            own(folder, peft_format.TASK_TYPES.get(base.auto_class))
            peft_format.name_base(folder, base)
            shown = "PEFT's own adapter"
        elif request.shape == "vera":
            tensors = peft_format.vera_tensors(method)
            plain.strip(model, loaded.plain)
            peft_format.save_vera(model.to(dtype), tensors, base, folder)
            shown = f"a PEFT VeRA adapter (rank {tensors.A.shape[0]})"
        else:
            factors = peft_format.lora_factors(method)
            plain.strip(model, loaded.plain)
            peft_format.save_lora(model.to(dtype), factors, base, folder)
            shown = f"a PEFT LoRA adapter (rank {max(A.shape[0] for A, _ in factors.values())})"
        loaded.model = model = None  # one model in memory at a time
        return check_peft(_fresh(loaded), folder, inputs, expected), shown


def check_peft(base: Any, folder: Path, inputs: dict[str, Tensor], expected: Tensor) -> float:
    """The largest relative difference of logits of the adapter in ``folder`` on ``base`` from those ``expected``.

    Kept apart, and of a LoRA or VeRA adapter merged into ``base`` too. Raises as `checks.compare`.
    """
    from peft import PeftModel

    from uora_bench.export import checks

    reloaded: Any = checks.widen(PeftModel.from_pretrained(base, str(folder)))
    unmerged = checks.compare(expected, checks.logits(reloaded, inputs), "the PEFT adapter, loaded again,")
    kind = str(reloaded.peft_config["default"].peft_type.value)
    if kind == "LORA":
        reloaded = reloaded.merge_and_unload()
    elif kind == "VERA":  # whose merge_and_unload fails beside a head of several layers (huggingface/peft issue 3114)
        reloaded.merge_adapter()
    else:
        return unmerged
    merged = checks.logits(reloaded, inputs)
    return max(unmerged, checks.compare(expected, merged, "the PEFT adapter, merged by PEFT,"))


def _merged(loaded: Loaded, folder: Path) -> float:
    import transformers

    from uora_bench.export import checks

    model, inputs = loaded.model, checks.probe(loaded.model)
    dtype = checks.stored_dtype(model)
    checks.widen(model)
    expected = checks.logits(model, inputs)
    save_merged(loaded, dtype, folder)
    loaded.model = model = None
    reloaded = getattr(transformers, loaded.head.auto_class).from_pretrained(str(folder), trust_remote_code=False)
    return checks.compare(expected, checks.logits(checks.widen(reloaded), inputs), "the merged model, loaded again,")


def save_merged(loaded: Loaded, dtype: Any, folder: Path) -> None:
    """Fold the adapter into the weights, put the plain modules back, save the model in ``dtype`` and the tokenizer."""
    from uora_bench.export import plain

    method, model = loaded.method, loaded.model
    if method.mergeable:
        method.merge()
    plain.strip(model, loaded.plain)
    model.to(dtype)
    model.config.name_or_path = ""  # no path of this machine in config.json
    model.save_pretrained(str(folder))
    loaded.tokenizer.save_pretrained(str(folder))


def _native(source: Source, loaded: Loaded, request: ExportRequest, folder: Path) -> float:
    from safetensors.torch import save_file

    from uora_bench.export import checks, loading
    from uora_bench.models import backbones
    from uora_bench.models.heads import head_parameters

    model, method = loaded.model, loaded.method
    inputs = checks.probe(model)
    expected = checks.logits(model, inputs)
    for name, tensors in ((ADAPTER, method.adapter_state()), (HEAD, head_parameters(model))):
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, folder / name)
    extra: dict[str, Any] = {"weights": request.weights}
    if loaded.cell.backbone.path is not None:
        extra["backbone_sha256"] = backbones.weights_sha256(loaded.cell.backbone)
    write_configuration(folder, without_paths(source.values), source.cell_id, extra, summed=True)
    path = loaded.cell.backbone.path
    loaded.model = model = None
    again = loading.load_cell(read_source(folder), request.weights, path).model
    return checks.compare(expected, checks.logits(again, inputs), "the native export, loaded again,")


def without_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a composed configuration without folders of this machine."""
    clean = deepcopy(dict(values))
    clean["data"]["root"] = clean["backbone"]["path"] = clean["init_from"] = None
    if clean["task"]["source"].get("files"):
        clean["task"]["source"]["files"]["path"] = clean["task"]["source"]["dataset"]
    clean["results"]["dir"], clean["runs"]["dir"] = "results", "runs"
    return clean
