"""``trainer.sharding=full``: the frozen weights cut over the processes (FSDP2), what is trained whole on each.

Each transformer block, and what lies around the blocks, gathers its weights when it is needed and lets go of them
afterwards, so that a process holds its share and one block. Adapter and head are small: they stay whole, their
gradients are averaged by DDP, and checkpoints and adapter files are those of an unsharded run.
``docs/decisions/0010-sharding-frozen-weights.md`` says why it is done so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uora_bench.errors import CellError, UserError

if TYPE_CHECKING:
    import torch

    from uora_bench.config.cell import Cell
    from uora_bench.methods.base import Method

_MARK = "_is_fsdp_managed_module"  # the library's own: `generate` then goes on until all processes have ended


def check_processes(cell: Cell, processes: int) -> None:
    """Raise `UserError` for a sharded cell with nobody to share with."""
    if cell.trainer.sharding != "none" and processes == 1:
        raise UserError(
            "trainer.sharding=full shares the frozen weights among processes, and there is one; start it with "
            "torchrun --nproc_per_node <number of GPUs> -m uora_bench …, or set trainer.sharding=none"
        )


def shard(model: Any, backbone: list[torch.nn.Parameter], method: Method, accelerator: Any) -> None:
    """Cut what is frozen of ``backbone`` (the parameters the model had before the method came) over all processes.

    Everything is on the accelerator's device afterwards; of a model on the CPU no more than a block at a time was there
    whole. ``backbone`` is emptied, since it would keep the whole tensors alive.

    Raises:
        UserError: when the installed torch cannot leave parameters out of what it cuts.
        CellError: when the model has no list of blocks, or nothing of it is frozen.
    """
    import inspect

    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise UserError("trainer.sharding=full needs a newer torch, whose fully_shard takes ignored_params")
    kept = {id(t) for t in method.adapter_state().values()}  # PEFT may change a frozen weight, and then ships it
    cut = {id(p) for p in backbone if not p.requires_grad and id(p) not in kept}
    backbone.clear()
    if not cut:
        raise CellError("trainer.sharding=full: nothing of this model is frozen")
    whole = {p for p in model.parameters() if id(p) not in cut}
    for parameter in whole:
        parameter.data = parameter.data.to(accelerator.device)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in blocks(model):
        fully_shard(block, mesh=mesh, ignored_params=whole)
    fully_shard(model, mesh=mesh, ignored_params=whole)
    setattr(model, _MARK, True)


def blocks(model: Any) -> list[Any]:
    """The transformer blocks: the list of modules with the most parameters in it; `CellError` when there is none."""
    from torch import nn

    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m)]
    if not lists:
        raise CellError("trainer.sharding=full: this model has no list of blocks")
    largest: nn.ModuleList = max(lists, key=lambda m: sum(p.numel() for p in m.parameters()))
    return list(largest)


def is_sharded(model: Any) -> bool:
    """Whether `shard` was applied to ``model`` (unwrapped): a forward pass of one process then needs all of them."""
    return bool(getattr(model, _MARK, False))


def prepare(model: Any, accelerator: Any) -> Any:
    """``accelerator.prepare(model)``, which refuses DDP for a sharded model: the shards have to be kept from it."""
    if not is_sharded(model):
        return accelerator.prepare(model)
    from torch.distributed.tensor import DTensor
    from torch.nn.parallel import DistributedDataParallel

    shards = [name for name, p in model.named_parameters(remove_duplicate=False) if isinstance(p, DTensor)]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, shards)
    prepared = accelerator.prepare_model(model, evaluation_mode=True)  # autocast alone
    handler = accelerator.ddp_handler
    return DistributedDataParallel(prepared, **(handler.to_kwargs() if handler is not None else {}))
