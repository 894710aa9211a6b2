"""The theory of α-LoRA: formulas, simulations, and their own cells, records and tables."""
