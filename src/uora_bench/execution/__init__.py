"""The life of one cell, from its configuration to its record."""
