"""A failing command shows no secret, whatever the message is made of."""

from __future__ import annotations

import base64

import pytest

from uora_bench.cli import exits
from uora_bench.errors import CellError, UserError

TOKEN = "hf_abcdefghijklmnop"


@pytest.mark.parametrize("kind", [UserError, CellError, ValueError])
@pytest.mark.parametrize("debug", ["", "1"])
def test_no_error_shows_a_token_or_a_login(
    kind: type[Exception], debug: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("UORA_DEBUG", debug)
    written = base64.b64encode(TOKEN.encode()).decode()

    def act() -> int:
        raise kind(f"{'x' * 590} {TOKEN} at https://me:pw@host {written}")

    assert exits.run(act, "") in (1, 2)
    shown = capsys.readouterr().err
    assert "***" in shown
    assert not [part for part in (TOKEN[:8], "me:pw", written[:8]) if part in shown]
