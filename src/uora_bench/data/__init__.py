"""Rows, pictures, tokens and batches."""
