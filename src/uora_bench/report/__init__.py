"""Records to tables, figures and pages. Reads records and published numbers, never runs; imports neither torch nor the
trainer."""
