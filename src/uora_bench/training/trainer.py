"""THE training loop. It knows methods and tasks only through their base classes.

A step: the global batch's share of this process in micro-batches, sums of losses divided by the weight of the whole
batch, one optimizer step, the method's `after_step`, and its auxiliary step where one is due. An epoch ends with an
evaluation and a checkpoint, which has all that a resume needs to end with the bytes of an undisturbed run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import DEV_LOSS, HELD_OUT, Cell
from uora_bench.data import batching
from uora_bench.errors import CellError, Interrupted, UserError
from uora_bench.records.record import EpochScores
from uora_bench.tasks.base import Encoded, Task
from uora_bench.training import checkpoint, early_stopping, evaluation, optimisation, peak_memory, precision, sharding
from uora_bench.training.auxiliary import AuxiliarySteps
from uora_bench.training.checkpoint import Checkpoints
from uora_bench.training.distributed import StopConsensus, put_back
from uora_bench.training.history import History, Tracker
from uora_bench.training.kept import KeptPredictions
from uora_bench.util import timing
from uora_bench.util.log import LOG
from uora_bench.util.progress import Progress
from uora_bench.util.schema import plain
from uora_bench.util.seeds import derive

if TYPE_CHECKING:
    import torch

    from uora_bench.methods.base import Method
    from uora_bench.util.signals import StopRequest


def fit(
    cell: Cell,
    model: torch.nn.Module,
    head: Mapping[str, torch.nn.Parameter],
    method: Method,
    task: Task,
    splits: Mapping[str, Encoded],
    tracker: Tracker,
    checkpoints: Checkpoints,
    accelerator: Any,
    stop: StopRequest,
) -> History:
    """Train ``model`` on ``splits["train"]`` and evaluate every other split but the held-out part after each epoch.

    ``splits[DEV_LOSS]``: the dev rows as rows to learn from, where ``trainer.patience`` asks for their loss.

    Resumes where ``checkpoints`` hold a state. At the end the model holds the last epoch, ``best.pt`` the best one.

    Raises:
        CellError: when the loss is not finite.
        UserError: when there are checkpoints, and none of them is whole and of this run.
        Interrupted: after a signal; the checkpoint then holds the step that was just finished.
    """
    return _Fit(cell, model, head, method, task, splits, tracker, checkpoints, accelerator, stop).run()


class _Fit:
    def __init__(
        self,
        cell: Cell,
        model: torch.nn.Module,
        head: Mapping[str, torch.nn.Parameter],
        method: Method,
        task: Task,
        splits: Mapping[str, Encoded],
        tracker: Tracker,
        checkpoints: Checkpoints,
        accelerator: Any,
        stop: StopRequest,
    ) -> None:
        import torch

        self.cell, self.config, self.task, self.method, self.head = cell, cell.trainer, task, method, head
        self.splits, self.tracker, self.checkpoints, self.stop = splits, tracker, checkpoints, stop
        self.accelerator, self.consensus = accelerator, StopConsensus(stop, accelerator)
        self.kept = KeptPredictions(checkpoints.folder.parent, checkpoints.cell_id)
        self.watch, self.history = timing.Stopwatch(), History()
        self.train_set = splits["train"]
        if not len(self.train_set):
            raise CellError("the training split is empty")
        config = self.config
        self.per_epoch = batching.steps_per_epoch(len(self.train_set), config.batch_size, config.length_bucket)
        self.total = config.max_steps or config.epochs * self.per_epoch
        warmup = config.warmup_steps
        if warmup is None:
            warmup = math.ceil(config.warmup_ratio * self.total)
        groups = optimisation.groups(config, method, head)
        optimizer = optimisation.adamw(groups, config)
        self.parameters = [p for g in groups for p in g["params"]]  # of this optimizer: what is clipped
        in_head = {id(p) for p in head.values()}
        self.group_names = [
            f"{'head' if id(g['params'][0]) in in_head else 'adapter'}/{i}" for i, g in enumerate(groups)
        ]
        self.model, self.optimizer = sharding.prepare(model, accelerator), accelerator.prepare(optimizer)
        # not prepared: Accelerate would step it once per process
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda s: optimisation.learning_rate_factor(s, self.total, warmup, config.lr_scheduler)
        )
        method.bind(optimizer, self.total)
        spec = method.auxiliary()
        self.auxiliary: AuxiliarySteps | None = None
        if spec is not None:
            rows = splits.get(HELD_OUT)
            self.auxiliary = AuxiliarySteps(spec, rows, config.length_bucket, cell.seed, accelerator)
        self._logged_auxiliary = 0
        self.position = 0  # optimizer steps done in the current epoch
        self.running = torch.zeros(2, device=accelerator.device)  # sum of losses and of weights in this epoch
        self.window = torch.zeros(2, device=accelerator.device)  # the same since the last log
        self.auxiliary_window = torch.zeros(2, device=accelerator.device)  # the same of auxiliary batches

    def run(self) -> History:
        import torch

        torch.manual_seed(derive(self.cell.seed, "train", self.accelerator.process_index))
        self._resume()
        history = self.history
        main = self.accelerator.is_main_process
        self.progress = Progress(self.total, history.steps, self.cell.label, main, self.checkpoints.folder.parent)
        due = self.auxiliary.due if self.auxiliary is not None else None
        if due is not None and not any(due(s, (s - 1) % self.per_epoch + 1) for s in range(1, self.total + 1)):
            self.progress.say(f"note: this run of {self.total} steps is too short for a single auxiliary step")
        self.consensus.begin()
        self.model.train()
        peak_memory.reset_peak_memory()
        try:
            while not history.ended(self.total) or self.position:  # position: trained, not yet evaluated
                self._epoch(len(history.epochs))
        finally:
            self.progress.close()
            if self.auxiliary is not None:
                self.auxiliary.rest(False)
        self.stop.release()
        history.seconds = dict(self.watch.totals)
        return history

    def _epoch(self, epoch: int) -> None:
        config, self._mark = self.config, time.perf_counter()
        self.progress.note(epoch=str(epoch + 1))
        batches = batching.epoch_batches(
            self.train_set.lengths, config.batch_size, config.length_bucket, self.cell.seed, epoch
        )
        self._begin_pass(batches[self.position :], epoch)
        for batch in batches[self.position :]:
            if self.history.ended(self.total):
                break
            self._step(batch)
            self._look()
            ended = self.history.ended(self.total)
            if self.history.steps % config.log_every == 0 or ended:
                self._log()
            if ended:
                break
            self._leave_if_asked()
            if self.history.steps % config.checkpoint_every == 0 and self.position < len(batches):
                self._save()
        self._clock()
        try:
            self._evaluate(epoch)
        except Interrupted:
            self._mark = time.perf_counter()
            self._save()  # trained, not yet evaluated: the next start goes on with the evaluation
            self.consensus.settle()
            raise
        self._mark = time.perf_counter()  # evaluating is not training
        self.position = 0
        self.running.zero_()
        self._save()
        self._leave_if_asked(saved=True)

    def _begin_pass(self, batches: list[Any], epoch: int) -> None:
        """Tell the task which of its rows this process will ask for, and the seed of what is random in this epoch."""
        accelerator, size = self.accelerator, self.config.micro_batch_size
        shares = (
            indices
            for batch in batches
            for indices, _ in batching.micro_batches(batch, accelerator.process_index, accelerator.num_processes, size)
        )
        self.rows = self.task.set_epoch(self.train_set, shares, derive(self.cell.seed, "augmentation", epoch))

    def _clock(self, part: str = "train") -> None:
        """Add what has passed since the last look to the time of ``part``."""
        now = time.perf_counter()
        self.watch.add(part, now - self._mark)
        self._mark = now

    def _step(self, batch: Any) -> None:
        sums = self._backward(self.rows, batch, training=True)
        self.running += sums
        self.window += sums
        if self.config.max_grad_norm is not None:
            self.accelerator.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self.rates = self.schedule.get_last_lr()
        self.optimizer.step()
        self.schedule.step()
        self.position += 1
        self.history.steps += 1
        self.history.examples += len(batch)
        self.history.tokens += int(self.train_set.lengths[batch].sum())
        self.scalars = self.method.after_step(self.history.steps)
        self.optimizer.zero_grad(set_to_none=True)
        if self.auxiliary is not None and self.auxiliary.due(self.history.steps, self.position):
            self._auxiliary_step(self.auxiliary)
        self.progress.step()

    def _look(self) -> None:
        """Look at the dev loss where early stopping wants it after this step."""
        config, history = self.config, self.history
        if config.patience is None or not early_stopping.is_due(config, history, self.position, self.per_epoch):
            return
        self._clock()
        with self.watch.measure("eval"):
            rows = self.splits[DEV_LOSS]
            loss = self._mean(early_stopping.dev_sums(self.model, self.task, rows, self.accelerator, config))
        self._mark = time.perf_counter()
        early_stopping.note_loss(config, history, loss)
        self._track({"dev/loss": loss})
        if history.stopped is not None:
            self.progress.say(f"stopped at step {history.steps}: no lower dev loss for {config.patience} looks")

    def _auxiliary_step(self, auxiliary: AuxiliarySteps) -> None:
        auxiliary.optimizer.zero_grad(set_to_none=True)  # what the training batches left there
        batch = auxiliary.next_batch()
        with auxiliary.own_stream():
            self.auxiliary_window += self._backward(auxiliary.rows, batch, training=False)
        auxiliary.optimizer.step()
        auxiliary.optimizer.zero_grad(set_to_none=True)
        self.optimizer.zero_grad(set_to_none=True)  # the rest of the model learns nothing from these rows

    def _backward(self, rows: Encoded, batch: Any, training: bool) -> torch.Tensor:
        """Leave the gradient of the mean loss of ``batch``; returns the sums of losses and weights of this process.

        ``training``: the forward passes are those of an optimizer step, of which the method is told.
        """
        import torch

        accelerator, config = self.accelerator, self.config
        if self.auxiliary is not None:
            self.auxiliary.rest(training)
        shares = batching.micro_batches(
            batch, accelerator.process_index, accelerator.num_processes, config.micro_batch_size
        )
        micros = []
        for indices, counts in shares:
            micro = self.task.collate(rows, indices, config.padding)
            if not counts:
                micro["weight"] = micro["weight"] * 0.0
            micros.append(micro)
        # the weight of the whole global batch is known before any forward pass, so gradients need no second scaling
        total = self.consensus.add(sum(m["weight"].sum() for m in micros))  # type: ignore[arg-type]
        sums = torch.zeros(2, device=accelerator.device)
        for i, micro in enumerate(micros):
            micro = {k: v.to(accelerator.device, non_blocking=True) for k, v in micro.items()}
            last = i == len(micros) - 1
            if training:
                self.method.before_forward(self.history.steps + 1, first=i == 0)
            with accelerator.no_sync(self.model) if not last else nullcontext():
                loss, weight = self.task.loss(self.model, micro)
                # processes average their gradients: undo it
                objective = loss * (accelerator.num_processes / total)
                extra = self.method.regulariser() if training and last else None
                accelerator.backward(objective if extra is None else objective + extra)
            sums += torch.stack((loss.detach().float(), weight.float()))
        return sums

    def _evaluate(self, epoch: int) -> None:
        history, config = self.history, self.config
        self._check_finite()
        loss = self._mean(self.running)
        scores: dict[str, dict[str, Any]] = {}
        halves: tuple[float, float] | None = None
        scored = config.evaluate == "each_epoch" or history.ended(self.total)
        self._peak("train")
        with self.watch.measure("eval"):
            for role, encoded in self.splits.items():
                if role in ("train", HELD_OUT, DEV_LOSS) or not scored:
                    continue
                # between virtual tokens and a prompt to be continued, padding would change what is written
                size = 1 if encoded.new_tokens and self.method.config.extra_tokens else config.eval_batch_size
                watch = partial(self.progress.over, what=f"scoring {role}")
                predictions = evaluation.predict(
                    self.model, self.task, encoded, self.accelerator, size, config.padding, self.consensus, watch,
                    config.eval_batch_tokens,
                )  # fmt: skip
                scores[role] = evaluation.split_scores(self.task, predictions, encoded)
                if role == "dev":
                    halves = evaluation.half_scores(self.task, predictions, encoded)
                if self.accelerator.is_main_process:
                    self.kept.save(self.task, role, epoch + 1, predictions)
        self._peak("eval")
        snapshot = self.method.snapshot()
        if self.auxiliary is not None:
            snapshot["auxiliary_steps"] = self.auxiliary.done
        seconds = sum(self.watch.totals.get(k, 0.0) for k in ("train", "eval"))
        history.epochs.append(EpochScores(epoch + 1, history.steps, loss, scores, seconds, snapshot, halves))
        if self.accelerator.is_main_process:
            self.kept.remove_others(history.epochs, self.task.metric)
        shown = self._judge(epoch, scores["dev"]) if scored else "not evaluated"
        self.progress.note(loss=f"{loss:.4f}", dev=shown)
        self.progress.say(f"epoch {epoch + 1}: loss {loss:.4f}, dev {shown}, {seconds:.0f} s so far")
        flat = {f"{r}/{k}": v for r, s in scores.items() for k, v in s.items() if isinstance(v, (int, float))}
        self._track({"epoch": epoch + 1, "train/epoch_loss": loss, **flat})

    def _peak(self, phase: str) -> None:
        """Note the most memory since the last call under ``phase``, and begin anew."""
        peaks = self.history.peaks
        peaks[phase] = max(peaks.get(phase, 0), peak_memory.peak_memory()[0])
        peak_memory.reset_peak_memory()

    def _judge(self, epoch: int, scores: dict[str, Any]) -> str:
        """Keep the weights if this is the best epoch so far; returns its dev score for a person."""
        history, metric = self.history, self.task.metric
        score = scores[metric.primary]
        better = history.best_score is None or (score > history.best_score) == metric.higher_is_better
        if history.best_score is None or (better and score != history.best_score):
            history.best_epoch, history.best_score = epoch + 1, score
            if self.accelerator.is_main_process:
                self.checkpoints.save_best(self._weights())
        return f"{metric.primary} {score * metric.scale:.2f}"

    def _log(self) -> None:
        loss = self._mean(self.window)
        self.window.zero_()
        rate = {f"lr/{name}": lr for name, lr in zip(self.group_names, self.rates, strict=True)}
        scalars = {k: float(v) for k, v in self.scalars.items()}
        if self.auxiliary is not None and self.auxiliary.done > self._logged_auxiliary:
            self._logged_auxiliary = self.auxiliary.done
            scalars["auxiliary/loss"] = self._mean(self.auxiliary_window)  # of the steps since the last log
            self.auxiliary_window.zero_()
        self.progress.note(loss=f"{loss:.4f}")
        self._track({"train/loss": loss, **rate, **scalars})

    def _track(self, values: Mapping[str, Any]) -> None:
        self.history.note(values)
        self.tracker.log(values, self.history.steps)

    def _check_finite(self) -> None:
        self._mean(self.running)
        # a finite loss does not tell of weights that the last step has broken
        if not precision.are_finite([p.detach() for p in (*self.method.parameters(), *self.head.values())]):
            raise CellError(f"the weights are not finite after step {self.history.steps}; {self._remedy()}")

    def _remedy(self) -> str:
        return precision.remedy(self.config.lr_adapter, self.accelerator)

    def _mean(self, sums: torch.Tensor) -> float:
        sums = self.accelerator.reduce(sums, "sum") if self.accelerator.num_processes > 1 else sums
        total, weight = sums.tolist()
        mean = total / weight if weight else 0.0
        if not math.isfinite(mean):
            raise CellError(f"the loss is not finite (seen at step {self.history.steps}); {self._remedy()}")
        return mean

    def _leave_if_asked(self, saved: bool = False) -> None:
        signum = self.consensus.now() if saved else self.consensus.asked()
        if signum is not None:
            if not saved:
                self._save()
            self.consensus.settle()
            raise Interrupted(signum)

    def _weights(self) -> dict[str, Any]:
        return {"method": self.method.state(), "head": {k: p.detach().clone() for k, p in self.head.items()}}

    def _save(self) -> None:
        from accelerate.utils import gather_object

        self._check_finite()  # never keep a state that has already failed
        self._clock()
        randomness = [checkpoint.random_state()]
        if self.accelerator.num_processes > 1:
            randomness = gather_object(randomness)
        # of every process its own: added up in another order they would be other numbers
        sums = (self.running[None], self.window[None], self.auxiliary_window[None])
        running, window, auxiliary = map(self.accelerator.gather, sums)
        if self.position:
            self._peak("train")
        self.history.seconds = dict(self.watch.totals)
        if self.accelerator.is_main_process:
            state = {
                **self._weights(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "random": randomness,
                "history": plain(self.history),
                "position": self.position,
                "running": running,
                "window": window,
                "auxiliary": self.auxiliary.state() if self.auxiliary is not None else {},
                "auxiliary_window": auxiliary,
                "logged_auxiliary": self._logged_auxiliary,
                "forward": {path: list(layer.ran) for path, layer in self.method.layers.items()},
                "precision": self.accelerator.mixed_precision,
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else {},
            }
            self.checkpoints.save_last(state)
        self.accelerator.wait_for_everyone()
        self._clock("save")  # writing is not training

    def _resume(self) -> None:
        state, note = self.checkpoints.latest()
        if state is None:
            return
        if self.accelerator.is_main_process:
            LOG.info(note)
        if state.get("precision") != self.accelerator.mixed_precision:
            raise UserError(
                f"the checkpoint was made in precision '{state.get('precision')}', this machine resolves "
                f"trainer.precision={self.config.precision} to '{self.accelerator.mixed_precision}'; resume where it "
                "was made, or start over with force=true"
            )
        with checkpoint.restoring(self.checkpoints.folder):
            self._restore(state)
        self.tracker.log_again(self.history.logged)

    def _restore(self, state: dict[str, Any]) -> None:
        history, position = History.restored(state["history"]), state["position"]
        history.check(position, self.per_epoch, self.total)
        self.method.load_state(state["method"])
        for path, ran in state["forward"].items():
            self.method.layers[path].ran = tuple(ran)
        if state["scaler"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        for name, parameter in self.head.items():
            parameter.data.copy_(state["head"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history, self.position = history, position
        history.restarts += 1
        self.watch.totals = dict(history.seconds)
        put_back(self.running, state["running"], self.accelerator)
        put_back(self.window, state["window"], self.accelerator)
        if self.auxiliary is not None:
            put_back(self.auxiliary_window, state["auxiliary_window"], self.accelerator)
            self.auxiliary.load_state(state["auxiliary"])
            self._logged_auxiliary = state["logged_auxiliary"]
        rank = self.accelerator.process_index
        # another number of processes goes on with other random numbers
        if rank < len(state["random"]):
            checkpoint.set_random_state(state["random"][rank])
