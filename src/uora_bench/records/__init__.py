"""What a cell leaves: records, attempts, provenance."""
