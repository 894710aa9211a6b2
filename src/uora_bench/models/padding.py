"""The padding token of a model that classifies text: a decoder reads its answer off the last token that is none."""

from __future__ import annotations

from typing import Any

from uora_bench.errors import UserError


def agree(model: Any, tokenizer: Any, name: str) -> None:
    """Let ``model`` know the padding token of ``tokenizer``, which without one takes its end-of-text token.

    Raises:
        UserError: for a tokenizer with neither.
    """
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise UserError(
                f"backbone={name}: its tokenizer has neither a padding nor an end-of-text token; add pad_token to "
                "tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def presume(model: Any) -> None:
    """Give a ``model`` without weights and tokenizer some padding token, so that its passes can be traced."""
    config = model.config.get_text_config()
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = 0
