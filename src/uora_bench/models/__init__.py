"""Backbones, their task heads and target modules."""
