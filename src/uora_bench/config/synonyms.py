"""Words of neighbouring tools, and older ones of this suite, as the keys that they are here: a written table.

`canonical` rewrites the words of a command line and `of_yaml` one entry of a file, before anything is composed or
hashed, so that a synonym leaves no trace in a record. A word whose meaning is spelt otherwise here is answered with
that spelling. Nothing in this module guesses by likeness; no heavy import.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence

from uora_bench.config import registry
from uora_bench.errors import UserError

DEFAULT_METHOD = "uora"  # of configs/config.yaml: whose keys are meant where no method is named

# key here -> what else it is called
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "trainer.lr_adapter": ("lr", "learning_rate"),
    "trainer.lr_head": ("lr_head", "head_lr"),
    "trainer.batch_size": ("batch_size", "train_batch_size", "per_device_train_batch_size"),
    "trainer.eval_batch_size": ("eval_batch_size", "per_device_eval_batch_size"),
    "trainer.micro_batch_size": ("micro_batch_size",),
    "trainer.epochs": ("epochs", "num_epochs", "num_train_epochs"),
    "trainer.max_steps": ("max_steps", "max_train_steps", "num_steps"),
    "trainer.warmup_ratio": ("warmup_ratio",),
    "trainer.warmup_steps": ("warmup_steps", "num_warmup_steps"),
    "trainer.weight_decay_adapter": ("weight_decay",),
    "trainer.max_grad_norm": ("max_grad_norm", "gradient_clipping", "clip_grad_norm"),
    "trainer.lr_scheduler": ("lr_scheduler", "lr_scheduler_type", "schedule", "scheduler"),
    "trainer.eps": ("adam_epsilon",),
    "trainer.precision": ("precision", "mixed_precision"),
    "trainer.gradient_checkpointing": ("gradient_checkpointing",),
    "trainer.length_bucket": ("length_window",),
    "trainer.cpu_ops": ("passes",),
    "trainer.checkpoint_every": ("save_steps", "checkpoint_every"),
    "trainer.log_every": ("logging_steps", "log_every"),
    "trainer.patience": ("early_stopping_patience", "patience"),
    "trainer.evaluate": ("eval_strategy", "evaluation_strategy"),
    "method.target_modules": ("target_modules", "targets", "method.targets"),
    "method.forward": ("method.kernel",),
    "task.max_length": ("max_length", "max_seq_length", "max_seq_len", "model_max_length", "cutoff_len"),
    "backbone.dtype": ("torch_dtype", "dtype"),
    "backbone.quantisation": ("quantisation", "quantization", "backbone.quantization"),
    "backbone.path": ("model_path",),
    "backbone": ("model", "model_name", "model_name_or_path", "pretrained_model_name_or_path", "base_model"),
    "task": ("dataset", "dataset_name", "task_name", "tasks"),
    "method": ("peft_method", "peft_type"),
    "tracker": ("report_to",),
    "tracker.project": ("wandb_project",),
    "data.root": ("data_root", "data_dir"),
    "results.dir": ("results_dir",),
    "runs.dir": ("runs_dir", "output_dir"),
    "experiment_name": ("run_name",),
    "init_from": ("initialise_from",),
    "force": ("overwrite_output_dir",),
}
# what a reader of the table should know
NOTES: Mapping[str, str] = {
    "trainer.batch_size": "global: over all processes and micro-batches",
    "trainer.lr_adapter": "of the adapter; the head's is `trainer.lr_head`",
    "trainer.weight_decay_adapter": "of the adapter; the head's is `trainer.weight_decay_head`",
    "trainer.lr_scheduler": "`constant_with_warmup` is `constant`",
    "trainer.patience": "early stopping by the dev loss; `trainer.patience_every`: steps between two looks",
    "trainer.precision": "`bf16` is `bfloat16`, `fp16` is `float16`, `fp32` is `float32`",
    "method.forward": "`plain` is `factored`, `composed` is `merged_weight`, `apart` is `delta_weight`",
    "method.target_modules": "`all-linear` and the backbone's own names (`query`, `q_proj`), as PEFT matches them",
    "experiment_name": "a cell has no name of its own: its id is in the record, the tracker and the folder",
}
# key here -> its values by other names
VALUES: Mapping[str, Mapping[str, str]] = {
    "trainer.lr_scheduler": {"constant_with_warmup": "constant"},
    "trainer.precision": {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "no": "float32"},
    "trainer.evaluate": {"epoch": "each_epoch"},
    "backbone.dtype": {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"},
    "method.forward": {"plain": "factored", "composed": "merged_weight", "apart": "delta_weight"},
}
# words that are true or false there and a value here: word -> (key, its value when true)
FLAGS: Mapping[str, tuple[str, str]] = {
    "bf16": ("trainer.precision", "bfloat16"),
    "fp16": ("trainer.precision", "float16"),
}
# words of LoRA's configuration, by method; "" is every other method, None one whose key of that name is something else
OF_METHOD: Mapping[str, Mapping[str, str | None]] = {
    **{word: {"": "method.rank", "peft": "peft.r"} for word in ("rank", "r", "lora_r", "lora_rank")},
    "lora_alpha": {"": "method.alpha", "alpha_lora": "method.alpha_r", "peft": "peft.lora_alpha", "uora": None},
    "lora_dropout": {"": "method.dropout", "peft": "peft.lora_dropout"},
}

_GPU = "a GPU is used where there is one; CUDA_VISIBLE_DEVICES chooses it, and CUDA_VISIBLE_DEVICES= leaves the CPU"
_CONFIG = "the files are those of configs/; choose them with method= task= backbone= recipe=, or --help"
_RULES = "every epoch is scored and the record holds all selection rules; choose one afterwards: tables rule=best_dev"
_PATIENCE = (
    "trainer.patience=10 ends training after 10 looks without a lower dev loss, trainer.patience_every=200 steps"
)
_ACCUMULATION = "trainer.batch_size is global; set trainer.micro_batch_size to what one forward pass takes"
_OPTIMIZER = "the optimizer is AdamW, set by trainer.betas=[…,…] trainer.eps trainer.weight_decay_adapter"
_PROCESSES = "start with torchrun --nproc_per_node N -m uora_bench …, or in a grid launcher.processes=N"
_SHARDING = f"trainer.sharding=full cuts the frozen weights over the processes; {_PROCESSES}"
_RESUME = (
    "run the same command again to resume from the checkpoint; init_from=<run folder or cell_id> starts from another "
    "adapter"
)
# words that are answered with the way it goes here
ANSWERS: Mapping[str, str] = {
    **dict.fromkeys(("device", "no_cuda", "use_cpu", "gpu", "gpus", "n_gpu"), _GPU),
    **dict.fromkeys(("config", "config_dir", "config_name", "config_path"), _CONFIG),
    "hydra": "what Hydra itself does is not set here; folders are runs.dir= and results.dir=",
    **dict.fromkeys(("cfg", "info", "resolve"), "dry_run=true shows the resolved configuration"),
    **dict.fromkeys(("gradient_accumulation_steps", "grad_accum", "accumulation_steps"), _ACCUMULATION),
    "early_stopping": _PATIENCE,
    **dict.fromkeys(("load_best_model_at_end", "metric_for_best_model"), _RULES),
    **dict.fromkeys(("load_in_4bit", "bits", "use_4bit"), "backbone.quantisation=nf4"),
    "load_in_8bit": "there are 4 bits: backbone.quantisation=nf4",
    **dict.fromkeys(("deepspeed", "fsdp", "zero_stage"), _SHARDING),
    **dict.fromkeys(("num_processes", "nproc_per_node", "world_size"), _PROCESSES),
    **dict.fromkeys(("optim", "optimizer", "adam_beta1", "adam_beta2"), _OPTIMIZER),
    **dict.fromkeys(("resume", "resume_from_checkpoint"), _RESUME),
    **dict.fromkeys(("num_workers", "dataloader_num_workers"), "rows are tokenised before training, in this process"),
    **dict.fromkeys(("max_train_samples", "max_eval_samples", "num_samples"),
                    "take rows of a split by task.splits.train=train[:1000]; tasks of a causal language model "
                    "also draw them: task.sample_dev=200"),
    "use_dora": "method=peft peft.type=lora peft.use_dora=true",
    "use_rslora": "method=peft peft.type=lora peft.use_rslora=true",
    "modules_to_save": "the task's head is always trained and saved: backbone.head names it",
    "seeds": "seed=0,1,2 in a grid: uora-bench sweep",
}  # fmt: skip
# types of PEFT that are no method of their own here
PEFT_TYPES = (
    "adalora", "adaption_prompt", "boft", "c3a", "cpt", "fourierft", "hra", "ia3", "ln_tuning", "loha", "lokr", "miss",
    "multitask_prompt_tuning", "oft", "p_tuning", "poly", "prefix_tuning", "prompt_tuning", "randlora", "road", "shira",
    "trainable_tokens", "vblora", "waveft", "xlora",
)  # fmt: skip
# values of method= that are spelt otherwise here
METHODS: Mapping[str, str] = {
    "dora": "method=peft peft.type=lora peft.use_dora=true",
    "rslora": "method=peft peft.type=lora peft.use_rslora=true",
    "pissa": "method=peft peft.type=lora peft.init_lora_weights=pissa",
    "olora": "method=peft peft.type=lora peft.init_lora_weights=olora",
    "qlora": "method=lora backbone.quantisation=nf4",
    **{name: f"method=peft peft.type={name}" for name in PEFT_TYPES},
    **dict.fromkeys(("full_finetuning", "full_ft", "finetune", "ft"), "method=full"),
    **dict.fromkeys(("linear_probe", "linear_probing", "none"), "method=head_only"),
}
_TYPED = ("trainer", "task", "backbone")  # groups with keys that are the suite's alone

# options that are on when named alone, --bf16
ALONE = frozenset({*FLAGS, "force", "dry_run", "overwrite_output_dir", "gradient_checkpointing",
                   "trainer.gradient_checkpointing", "trainer.decay_head_biases", "load_in_4bit", "load_in_8bit",
                   "use_dora", "use_rslora", "no_cuda", "use_cpu"})  # fmt: skip


def _table() -> dict[str, str]:
    """The key of each synonym.

    A synonym may also follow its group (``trainer.learning_rate``), but not behind ``method``, whose options are a
    plug-in's own.
    """
    found = {word: key for key, words in SYNONYMS.items() for word in words}
    for word, key in list(found.items()):
        group, dot, _ = key.partition(".")
        if dot and group in _TYPED and not word.startswith(f"{group}."):
            found.setdefault(f"{group}.{word}", key)
    return {word: key for word, key in found.items() if word not in SYNONYMS}


KEYS: Mapping[str, str] = _table()


def canonical(words: Sequence[str]) -> list[str]:
    """``key=value`` words with the keys and values that they have here; other words are left as they are.

    Raises:
        UserError: for a word that is answered (`ANSWERS`, `METHODS`) or that is not one key for all methods named.
    """
    methods = _methods(words)
    return [_word(word, methods) for word in words]


def canonical_once(words: Sequence[str]) -> list[str]:
    """`canonical` of the words that a person gave, each key once; raises as `canonical` and `check_once`."""
    check_once(words)  # before a word is read by the methods named, which may be two
    found = canonical(words)
    check_once(found, words)
    return found


def check_once(words: Sequence[str], given: Sequence[str] | None = None) -> None:
    """Raise `UserError` where two of ``words`` give one key different values.

    ``given``: the words as they were typed, where they differ from ``words``.
    """
    typed: dict[str, tuple[str, str]] = {}
    for word, shown in zip(words, given or words, strict=True):
        key, equals, value = word.partition("=")
        first, before = typed.setdefault(key, (shown, value))
        if equals and before != value and not _same_number(before, value):
            raise UserError(f"'{first}' and '{shown}' both set {key}; keep one of them")


def _same_number(first: str, second: str) -> bool:
    """Whether two texts are one number (``1e-3`` and ``0.001``)."""
    try:
        return float(first) == float(second)
    except ValueError:
        return False


def others() -> dict[str, str]:
    """Every other name of a key, with the key (or keys) that it is: what a suggestion may name."""
    found = {**KEYS, **{word: f"{key}={value}" for word, (key, value) in FLAGS.items()}}
    found |= {word: " or ".join(filter(None, keys.values())) for word, keys in OF_METHOD.items()}
    return found


def of_yaml(key: str, value: object, method: str) -> tuple[str, object]:
    """Key and value of an entry of a YAML file (a recipe, a plug-in) as they are called here; raises as `canonical`."""
    if key in FLAGS:
        return _flag(key, str(value).lower())
    name = key_of(key, [method])
    return name, VALUES.get(name, {}).get(value, value) if isinstance(value, str) else value


def key_of(key: str, methods: Collection[str] = ()) -> str:
    """The key that ``key`` is here, for cells of ``methods``; itself when it is no synonym. Raises as `canonical`."""
    if key in OF_METHOD:
        return _of_method(key, OF_METHOD[key], methods)
    if key in KEYS:
        return KEYS[key]
    group, _, tail = key.partition(".")
    answer = ANSWERS.get("hydra" if group == "hydra" else tail if group in _TYPED else key)
    if answer is not None:
        raise UserError(f"'{key}' is no key here: {answer}")
    return key


def answer_word(word: str) -> None:
    """Raise `UserError` for a word alone that is a method elsewhere (``qlora``) or a key that is answered."""
    if word in METHODS:
        raise UserError(f"'{word}' is {METHODS[word]}")
    key_of(word)


def module_kinds(given: object, modules: Mapping[str, Mapping[str, object]]) -> object:
    """``method.target_modules`` by the backbone's own names for them: ``[query, value]`` becomes ``[q, v]``.

    As PEFT matches them: a name stands for every module whose path ends in it, ``all-linear`` for all of them. Of the
    parts of a fused projection the whole is meant, where the table has it. What names nothing is left as it is.
    """
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        return given
    found: list[object] = []
    for name in names:
        if name in modules:
            found.append(name)
            continue
        kinds = [k for k, m in modules.items() if name == "all-linear" or f".{m['path']}".endswith(f".{name}")]
        whole = {modules[k]["path"] for k in kinds if modules[k].get("of", 1) == 1}
        found += [k for k in kinds if modules[k].get("of", 1) == 1 or modules[k]["path"] not in whole] or [name]
    return list(dict.fromkeys(found)) if found != list(names) or isinstance(given, str) else given


def _word(word: str, methods: Sequence[str]) -> str:
    key, equals, text = word.partition("=")
    if not equals:
        return word
    if key in FLAGS:
        name, value = _flag(key, text)
        return f"{name}={value}"
    name = key_of(key, methods)
    if name == "method":
        for one in text.split(","):
            if one in METHODS:
                raise UserError(f"unknown method '{one}': write {METHODS[one]}")
    others = VALUES.get(name)
    if others and not any(c in text for c in "[{(\"'"):
        text = ",".join(others.get(one, one) for one in text.split(","))
    return f"{name}={text}"


def _flag(word: str, text: str) -> tuple[str, str]:
    key, value = FLAGS[word]
    if text != "true":
        raise UserError(f"'{word}={text}' leaves open what instead: write {key}=float32, or another one")
    return key, value


def _methods(words: Sequence[str]) -> list[str]:
    """The methods that ``words`` name; the default's where they name none and no experiment that may."""
    given = [w.partition("=")[2] for w in words if w.partition("=")[0] in ("method", *SYNONYMS["method"])]
    if not given:
        return [] if any(w.startswith("experiment=") for w in words) else [DEFAULT_METHOD]
    names = given[-1].split(",")
    known = registry.choices("method") if any("*" in name for name in names) else []
    return [one for name in names for one in (fnmatch.filter(known, name) if "*" in name else [name])]


def _of_method(key: str, table: Mapping[str, str | None], methods: Collection[str]) -> str:
    found = {method: table.get(method, table[""]) for method in methods} or {"": table[""]}
    names = set(found.values())
    if None in names:
        method = next(m for m, name in found.items() if name is None)
        raise UserError(f"'{key}' scales LoRA's update, and method={method} has no such factor; see configs/method/")
    if len(names) > 1:
        raise UserError(f"'{key}' is {' or '.join(sorted(map(str, names)))}, by method: write the one that you mean")
    return str(names.pop())
