"""What one cell is: a `Cell` says what defines the experiment, `Settings` where and how this call runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from uora_bench.config import plugins
from uora_bench.config.data_source import DataSource
from uora_bench.config.ids import THEORY, id_of, key_of
from uora_bench.config.options import MethodOptions, TaskOptions
from uora_bench.config.registry import method_options, task_options
from uora_bench.errors import UserError
from uora_bench.util import weights
from uora_bench.util.inside import is_folder_name
from uora_bench.util.schema import build, convert, plain

DEV_LOSS = "dev_loss"  # the role of the dev rows as rows to learn from, where their loss is asked for
HELD_OUT = "held_out"  # the role of the rows kept out of the training set for a method's auxiliary step
_SAMPLES = ("sample_train", "sample_dev", "sample_test")
_LONGEST_NAME = 200  # bytes of an experiment's name: file systems take 255, and names of files are made of it
_NOT_IN_WANDB, _LONGEST_IN_WANDB = "/\\#?%:", 128  # of a project's name, as wandb itself checks it
# trainer keys that change how the loop runs but not what it computes: in the record (provenance), not in the id
_NOT_SCIENCE = (
    "micro_batch_size", "eval_batch_size", "eval_batch_tokens", "gradient_checkpointing", "checkpoint_every",
    "log_every", "sharding", "cpu_ops",
)  # fmt: skip


@dataclass(frozen=True)
class MetricSpec:
    """The metric of a task, built-in or one that `evaluate.load` finds; ``primary``: the value that is reported."""

    name: str
    primary: str
    higher_is_better: bool = True
    scale: float = 100.0

    @property
    def script(self) -> Path | None:
        """The user's own metric, ``./my_metric.py`` or ``./my_metric/my_metric.py``; None for other names."""
        if not self.name.startswith((".", "/", "~")) and not self.name.endswith(".py"):
            return None
        path = Path(self.name).expanduser()
        return path if path.suffix == ".py" else path / f"{path.name}.py"

    @property
    def public_name(self) -> str:
        """``name``; of a file, wherever it lies, ``local/<its name>``."""
        return self.name if self.script is None else f"local/{self.script.stem}"


@dataclass(frozen=True)
class Splits:
    """Names of the splits; ``name[a:b]`` takes rows a to b (numbers or percentages) of one."""

    train: str
    dev: str
    test: str | None = None
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.extra.keys() & {"train", "dev", "test", HELD_OUT, DEV_LOSS}:
            raise UserError(f"task.splits.extra must not name a split '{name}'; set task.splits.{name}")


@dataclass(frozen=True)
class TaskConfig:
    """A task as ``configs/task/`` declares it: its rows, their splits, the metric and the family's own ``options``."""

    name: str
    family: str
    version: int
    kind: Literal["encoder", "causal_lm", "vision"]
    source: DataSource
    splits: Splits
    metric: MetricSpec
    options: TaskOptions

    @property
    def roles(self) -> dict[str, str]:
        """Role → name of every split, the training split first."""
        names = self.splits
        wanted = {"train": names.train, "dev": names.dev, **names.extra}
        return wanted if names.test is None else {**wanted, "test": names.test}

    @property
    def label(self) -> str:
        """The name for people: of a user's own rows with that of the file."""
        return self.name if self.source.files is None else f"{self.name} ({self.source.dataset})"

    @property
    def to_load(self) -> dict[str, str]:
        """`roles` without the splits that are made from others."""
        return self.options.loaded(self.roles)


@dataclass(frozen=True)
class TargetModule:
    """The tail of a module's name; in a fused projection ``parts`` of ``of`` equal parts, from ``part`` on."""

    path: str
    part: int = 0
    of: int = 1
    parts: int = 1

    def canonical(self) -> dict[str, Any]:
        """As plain data; records are older than ``parts``: at 1 it leaves no trace."""
        values: dict[str, Any] = plain(self)
        return {k: v for k, v in values.items() if (k, v) != ("parts", 1)}


@dataclass(frozen=True)
class TargetModulesConfig:
    """The modules that an adapter may sit on, by kind; ``default``: the kinds where a method names none."""

    default: tuple[str, ...]
    modules: dict[str, TargetModule]


@dataclass(frozen=True)
class BackboneConfig:
    """A pretrained model as ``configs/backbone/`` declares it; the keys are explained there."""

    name: str
    kind: Literal["encoder", "causal_lm", "vision"]
    id: str | None
    revision: str
    package: str | None
    path: str | None
    dtype: Literal["float32", "bfloat16", "float16", "float64"]
    head: tuple[str, ...]
    target_modules: TargetModulesConfig
    architecture: dict[str, Any] | None
    quantisation: Literal["none", "nf4"] = "none"
    pooling: Literal["own", "mean"] = "own"  # of an encoder: what its head reads
    sha256: str | None = None  # of the weights that the name stands for, where it is known
    fresh: tuple[str, ...] = ()  # modules of the head that the weights lack (backbone=hf), beside the output layer
    weights_seen: bool = True  # false: there were no weights to look at, and fresh is a guess
    converted_by: str | None = None  # the make target that writes its weights below the model cache

    @property
    def public_name(self) -> str:
        """``name``; of weights in ``path`` that are not known to be those of the YAML ``local/<folder name>``."""
        if self.path is None or self._is_named(Path(self.path)):
            return self.name
        return f"local/{Path(self.path).resolve().name}"

    @property
    def identity(self) -> dict[str, str | None]:
        """Name, id and revision of the model, as records have them."""
        named = self.public_name == self.name
        return {
            "name": self.public_name,
            "id": self.id if named else None,
            "revision": self.revision if named else "local",
        }

    @property
    def described_head(self) -> str:
        """The modules that are trained in full, and which of them because the weights lack them; for people."""
        text = ", ".join(self.head)
        if self.fresh:
            why = "missing in the weights" if self.weights_seen else "no weights to look at, taken to be missing"
            text += f" ({', '.join(self.fresh)}: {why}, so drawn anew and trained)"
        elif not self.weights_seen:
            text += " (no weights to look at: a pooler is taken to be among them)"
        return text

    def _is_named(self, folder: Path) -> bool:
        try:
            return self.sha256 is not None and weights.sha256_of(folder) == self.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class RecipeConfig:
    """Which recipe the hyperparameters are from, its status, and a note for people."""

    name: str
    status: Literal["published", "inferred", "own", "searched"]
    note: str


@dataclass(frozen=True)
class TrainerConfig:
    """The training loop's settings; each is explained in ``configs/trainer/default.yaml``."""

    epochs: Annotated[int, Ge(1)]
    max_steps: Annotated[int, Ge(1)] | None
    batch_size: Annotated[int, Ge(1)]
    micro_batch_size: Annotated[int, Ge(1)] | None
    eval_batch_size: Annotated[int, Ge(1)]
    lr_adapter: Annotated[float, Ge(0)]
    lr_head: Annotated[float, Ge(0)]
    weight_decay_adapter: Annotated[float, Ge(0)]
    weight_decay_head: Annotated[float, Ge(0)]
    betas: tuple[float, ...]
    eps: Annotated[float, Gt(0)]
    lr_scheduler: Literal["linear", "cosine", "constant"]
    warmup_ratio: Annotated[float, Ge(0), Lt(1)]
    max_grad_norm: Annotated[float, Gt(0)] | None
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    padding: Literal["dynamic", "max_length"]
    length_bucket: Annotated[int, Ge(0)]
    gradient_checkpointing: bool
    checkpoint_every: Annotated[int, Ge(1)]
    log_every: Annotated[int, Ge(1)]
    holdout: Annotated[float, Ge(0), Le(1)] | None
    decay_head_biases: bool
    warmup_steps: Annotated[int, Ge(0)] | None
    evaluate: Literal["each_epoch", "last"]
    patience: Annotated[int, Ge(1)] | None = None  # run folders are older than this key, and the next
    patience_every: Annotated[int, Ge(1)] | None = None
    sharding: Literal["none", "full"] = "none"  # as above
    cpu_ops: Literal["auto", "library"] = "auto"
    eval_batch_tokens: Annotated[int, Ge(1)] | None = 65_536

    def __post_init__(self) -> None:
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise UserError(f"trainer.betas={list(self.betas)} must be two numbers in [0, 1)")
        if self.patience is None and self.patience_every is not None:
            raise UserError("trainer.patience_every is of early stopping: set trainer.patience, or leave it null")


@dataclass(frozen=True)
class Cell:
    """method × task × backbone × recipe × seed."""

    method: MethodOptions
    task: TaskConfig
    backbone: BackboneConfig
    recipe: RecipeConfig
    trainer: TrainerConfig
    seed: Annotated[int, Ge(0), Lt(1 << 63)]
    init_from: str | None = None  # sha256 of the adapter file it starts from
    weights: str | None = None  # sha256 of the weight files in backbone.path, where one is given
    files: str | None = None  # the same of its other files: configuration, tokenizer, image processor
    metric: str | None = None  # sha256 of the user's own file that scores the task, where it is one
    micro_batch_size: int | None = None  # set for a method that acts inside the forward pass
    plugins: dict[str, str] = field(default_factory=dict)  # sha256 of the source of the plug-ins whose code it runs

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Cell:
        """The only way in: strict conversion of a composed configuration (`uora_bench.config.compose`).

        Raises:
            UserError: for an unknown key, a wrong type, or a pair that cannot be (a text task on a vision backbone).
        """
        method, task = build_method(config["method"]), build_task(config["task"])
        code = (("methods", method.name), ("tasks", task.family), ("metrics", task.metric.name))
        owners = [owner for kind, name in code if (owner := plugins.owner(kind, name)) is not None]
        return cls(
            method=method,
            task=task,
            backbone=build(BackboneConfig, config["backbone"], "backbone"),
            recipe=build(RecipeConfig, config["recipe"], "recipe"),
            trainer=build(TrainerConfig, config["trainer"], "trainer"),
            seed=convert(Annotated[int, Ge(0), Lt(1 << 63)], config["seed"], "seed"),
            plugins={plugin.name: plugin.sha256() for plugin in owners},
        )

    @property
    def holdout(self) -> float:
        """The held-out share of the training set: ``trainer.holdout``, else what the method's options ask for."""
        if self.trainer.holdout is not None:
            return self.trainer.holdout
        return self.method.held_out

    @property
    def label(self) -> str:
        """A name for people, e.g. ``uora · glue/mrpc · minilm · seed 0``."""
        name = self.backbone.public_name
        if self.weights is not None and name.startswith("local/"):
            name = f"{name}@{self.weights[:8]}"  # folders of one name may hold two models
        return f"{self.method.name} · {self.task.label} · {name} · seed {self.seed}"

    def canonical(self) -> dict[str, Any]:
        """What defines the experiment, as plain data: no paths, no recipe name, nothing about where it runs."""
        trainer = {k: v for k, v in plain(self.trainer).items() if k not in _NOT_SCIENCE}
        if self.trainer.max_steps is not None:
            trainer["epochs"] = None  # without effect then
        # records are older than these keys: at what was always done they leave no trace
        trainer["holdout"] = self.holdout  # one share, whoever asked for it
        if trainer["warmup_steps"] is not None:
            trainer["warmup_ratio"] = None  # without effect then
        for key, always in (
            ("holdout", 0.0),
            ("decay_head_biases", False),
            ("warmup_steps", None),
            ("evaluate", "each_epoch"),
            ("patience", None),
            ("patience_every", None),
        ):
            if trainer[key] == always:
                del trainer[key]
        task = plain(self.task)
        task["source"] = {k: task["source"][k] for k in ("benchmark", "dataset")}
        always_so = {"too_long": "error", "value_range": None, **dict.fromkeys(_SAMPLES)}  # as above
        if not any(task["options"].get(key) for key in _SAMPLES):
            always_so["sample_seed"] = task["options"].get("sample_seed")  # without effect then
        for key, always in always_so.items():
            if task["options"].get(key) == always:
                task["options"].pop(key, None)
        del task["metric"]["scale"]  # how a score is printed
        task["metric"]["name"] = self.task.metric.public_name
        options = self.method.canonical()
        method = {"name": options.pop("name"), "version": options.pop("version"), "options": options}
        options.pop("holdout", None)
        options.pop("forward", None)  # how the same map is computed
        # the modules by what they are: naming the default ones, or one nobody uses, is no other experiment
        kinds = options.pop("target_modules", ())
        if kinds is None:
            kinds = self.backbone.target_modules.default
        if options.get("only"):  # BitFit's word for them, whose null means every module
            kinds = options["only"]
            options["only"] = [k for k in self.backbone.target_modules.modules if k in kinds]
        backbone: dict[str, Any] = {**self.backbone.identity, "dtype": self.backbone.dtype}
        if self.backbone.quantisation != "none":
            backbone["quantisation"] = self.backbone.quantisation
        if self.backbone.pooling != "own":
            backbone["pooling"] = self.backbone.pooling
        backbone["head"] = list(self.backbone.head)
        backbone["target_modules"] = {
            k: m.canonical() for k, m in self.backbone.target_modules.modules.items() if k in kinds
        }
        return {
            "method": method,
            "task": task,
            "backbone": backbone,
            "trainer": trainer,
            "seed": self.seed,
            "init_from": self.init_from,
            "weights": self.weights,
            "micro_batch_size": self.micro_batch_size,
            **({} if self.metric is None else {"metric": self.metric}),
            **({"plugins": self.plugins} if self.plugins else {}),
            **({} if self.files is None else {"files": self.files}),
        }

    @property
    def key(self) -> str:
        """`key_of` this cell: its name before data and weights are read."""
        return key_of(self.canonical())

    def cell_id(self, fingerprint: str) -> str:
        """16 hex digits: the hash of `canonical` (method and task versions are in it) and the data's fingerprint."""
        return id_of(self.canonical(), fingerprint)


def build_method(values: Mapping[str, Any]) -> MethodOptions:
    """The typed options of the method that ``values`` name; raises `UserError` as `schema.build`."""
    options = method_options(str(values["name"]))
    return build(options, options.normalised(values), "method")


def build_task(values: Mapping[str, Any]) -> TaskConfig:
    """The typed configuration of a task, whose ``values`` hold its family's options beside the rest."""
    common = {f.name for f in fields(TaskConfig)} - {"options"}
    family = task_options(str(values["family"]))
    own = {k: v for k, v in values.items() if k not in common}
    return build(
        TaskConfig,
        {**{k: v for k, v in values.items() if k in common}, "options": build(family, own, "task")},
        "task",
    )


@dataclass(frozen=True)
class TrackerConfig:
    """Where curves are recorded; ``timeout``: seconds to wait for the server of W&B."""

    name: Literal["wandb", "trackio", "tensorboard", "none"]
    mode: Literal["auto", "online", "offline"] = "auto"
    project: str = "uora_bench"
    entity: str | None = None
    timeout: float = 15.0

    def __post_init__(self) -> None:
        for key, name in (("project", self.project), ("entity", self.entity)):
            odd = "".join(sorted(set(name or "") & set(_NOT_IN_WANDB)))
            if odd or name == "" or len(name or "") > _LONGEST_IN_WANDB:
                raise UserError(
                    f"tracker.{key}={name!r}: W&B takes 1 to {_LONGEST_IN_WANDB} characters without {_NOT_IN_WANDB}"
                )


@dataclass(frozen=True)
class Settings:
    """Where and how this call runs a cell; none of it is in the id."""

    experiment_name: str
    data_root: str | None
    results_dir: str
    runs_dir: str
    tracker: TrackerConfig
    init_from: str | None
    force: bool
    dry_run: bool
    expect_cell_id: str | None = None  # the cell that this call must turn out to be
    predictions_keep: bool = True
    predictions_max_mb: float = 20.0  # of the file beside the record, 10^6 bytes
    retention_measure: bool = False
    retention_text: str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Strict conversion of the part of the configuration that is not the cell."""
        hints: dict[str, Any] = {
            "data.root": str | None,
            "results.dir": str,
            "runs.dir": str,
            "experiment_name": str,
            "init_from": str | None,
            "force": bool,
            "dry_run": bool,
            "expect_cell_id": str | None,
            "predictions.keep": bool,
            "predictions.max_mb": Annotated[float, Gt(0)],
            "retention.measure": bool,
            "retention.text": str | None,
        }
        # run folders are older than these keys
        given: dict[str, Any] = {"expect_cell_id": None, "predictions.keep": True, "predictions.max_mb": 20.0}
        given |= {"retention.measure": False, "retention.text": None}
        for key, value in config.items():
            given |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {key: value}
        for key in hints:
            if key not in given:
                raise UserError(f"'{key}' is missing")
        flat = {k.replace(".", "_"): convert(hint, given[k], k) for k, hint in hints.items()}
        for path in ("data_root", "results_dir", "runs_dir", "init_from", "retention_text"):
            if flat[path] == "" and path in ("results_dir", "runs_dir"):
                raise UserError(f"{path.replace('_', '.')}= names no folder; name one, or drop the key")
            if flat[path]:
                flat[path] = str(Path(str(flat[path])).expanduser())
        flat["tracker"] = build(TrackerConfig, config["tracker"], "tracker")
        name = str(flat["experiment_name"])
        if not is_folder_name(name):
            raise UserError(f"experiment_name={name!r} must be a plain folder name, e.g. experiment_name=minilm_glue")
        if name.startswith(THEORY):
            raise UserError(f"experiment_name={name}: names that begin with {THEORY} are those of uora-bench theory")
        if len(name.encode()) > _LONGEST_NAME:
            raise UserError(f"experiment_name has {len(name.encode())} bytes; a folder's name takes {_LONGEST_NAME}")
        return cls(**flat)
