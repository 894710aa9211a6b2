"""Tables, figures and one page, made from records and the papers' CSV files alone.

Nothing here runs a cell or imports torch.

In the order of the work:

- `collect`: which record is of which cell of a grid (`Run`, `Collection`); `grades`, `searches`: what lies beside it.
- `aggregate`: seeds put together; `published`: the papers' numbers.
- `table` fills `model.Table`: blocks of rows of entries, with footnotes (`notes`) and what may not be compared
  (`comparability`). Theory fills the same model (`kinds`: records of another kind).
- Statistics: `pairing`, `bootstrap` and `stats` over seeds, `items` over items, `row_comparison` of rows with a
  reference row, `verdict_notes`.
- `boxes`: what of a table is printed, the same in all formats: `markdown`, `latex`, `csv_file`, `page/`.
- `figures/`: pictures of the same table; `write` and `figures/files`: the files; `explain`: one number taken apart.
"""
