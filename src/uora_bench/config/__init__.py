"""One typed configuration: what a cell is, how it is composed, and every check that needs no weights."""
