"""A run folder that names itself after a place outside: nothing is exported there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from uora_bench.config.compose import compose
from uora_bench.errors import UserError
from uora_bench.execution.configuration import CONFIGURATION
from uora_bench.export.source import read_source


@pytest.mark.parametrize("key", ["cell_id", "experiment_name"])
def test_a_name_that_leads_out_of_its_folder_is_refused(key: str, tmp_path: Path) -> None:
    values = compose(["task=tiny/nli", "recipe=none"]).values
    good = {"cell_id": "0123456789abcdef", "values": values}
    (tmp_path / CONFIGURATION).write_text(json.dumps(good))
    assert read_source(tmp_path).cell_id == good["cell_id"]
    evil = {**good, "values": {**values, key: "../../x"}} if key in values else {**good, key: "../../x"}
    (tmp_path / CONFIGURATION).write_text(json.dumps(evil))
    with pytest.raises(UserError, match=r"leads out of its folder|must be a plain folder name"):
        read_source(tmp_path)
