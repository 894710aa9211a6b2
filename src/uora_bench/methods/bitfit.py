"""BitFit: only the bias terms of the backbone are trained (Ben Zaken et al. 2022, arXiv 2106.10199)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uora_bench.config.options.baselines import BitFitOptions, biases
from uora_bench.errors import UserError
from uora_bench.methods.base import Method, Target, backbone_parameters, freeze


class BitFit(Method):
    """No adapter: bias vectors of linear maps and layer norms move from their pretrained values. Nothing to merge."""

    name = "bitfit"
    Config = BitFitOptions
    config: BitFitOptions

    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """Freeze all but the biases of the backbone, or those of ``only``; nothing is drawn.

        Raises:
            UserError: when the backbone has no bias, or a module of ``only`` has none of its own.
        """
        freeze(model)
        parameters = backbone_parameters(model)
        names = list(biases(parameters))
        if self.config.only is not None:
            for target in targets:
                bias = parameters.get(f"{target.path}.bias")
                if bias is None:
                    raise UserError(f"method.only: '{target.shape.kind}' has no bias in this backbone ({target.path})")
                if bias.numel() != target.shape.out_features:
                    raise UserError(
                        f"method.only: '{target.shape.kind}' has a part of the fused {target.path}.bias, which is "
                        "trained whole or not at all; name the whole (qkv)"
                    )
            names = [f"{t.path}.bias" for t in targets]
        if not names:
            raise UserError("method=bitfit trains biases, and this backbone has none; choose another method=")
        self._named = {name: parameters[name] for name in names}
        for parameter in self._named.values():
            parameter.requires_grad_(True)

    def parameters(self) -> list[nn.Parameter]:
        """The trained biases, in the order of the backbone."""
        return list(self._named.values())

    def adapter_state(self) -> dict[str, Tensor]:
        """The trained biases, by their names in the backbone."""
        return dict(self._named)
