"""What an export command asks for."""

from __future__ import annotations

from dataclasses import dataclass

from uora_bench.errors import UserError, nearest

FORMATS, SHAPES, DTYPES = ("peft", "merged", "native"), ("lora", "vera"), ("float32",)


@dataclass(frozen=True)
class ExportRequest:
    """Format, weights and folders of one export. ``shape``: the PEFT adapter's (lora | vera), None: lora.

    Raises:
        UserError: for a choice that there is not, or one that does not go with the format.
    """

    format: str
    shape: str | None = None
    weights: str = "last"
    dtype: str | None = None
    backbone: str | None = None
    results: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        for key, value, valid in (
            ("format", self.format, FORMATS),
            ("as", self.shape, SHAPES),
            ("dtype", self.dtype, DTYPES),
        ):
            if value is not None and value not in valid:
                raise UserError(f"{key}={value}: there is no such choice{nearest(value, valid)}")
        if self.shape is not None and self.format != "peft":
            raise UserError(f"as={self.shape} goes with format=peft only")
        if self.dtype is not None and self.format != "merged":
            raise UserError(f"dtype={self.dtype} goes with format=merged only")

    @property
    def name(self) -> str:
        """The default folder's name: the format, and shape and weights where they are not the usual ones."""
        parts = [self.format, "vera" if self.shape == "vera" else "", "best" if self.weights == "best" else ""]
        return "-".join(p for p in parts if p)
