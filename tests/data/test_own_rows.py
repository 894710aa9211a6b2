"""A user's own tables: every format gives the same rows, and whatever is wrong with a file is one line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.support import own_files
from uora_bench.config.data_source import OwnFiles
from uora_bench.data import own_rows
from uora_bench.errors import UserError


@pytest.mark.parametrize("suffix", own_files.FORMATS)
def test_every_format_gives_the_same_texts(suffix: str, tmp_path: Path) -> None:
    rows = own_files.reviews(6)
    found = own_rows.read_table(own_files.write(tmp_path / f"rows{suffix}", rows))
    assert [dict(row) for row in found.select_columns(["text", "label"])] == [
        {"text": row["text"], "label": row["label"]} for row in rows
    ]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.csv", b"\xef\xbb\xbftext,label\nx,1\n", {"text": "x", "label": "1"}),  # a byte order mark
        ("a.csv", b"text,label\r\nNA,007\r\n\r\n", {"text": "NA", "label": "007"}),
        ("a.csv", b",text,label\n0,x,1\n", {"text": "x", "label": "1"}),  # a data frame's index has no name
        ("a.json", b'\n [{"text": "2024-01-01", "label": 1}]', {"text": "2024-01-01", "label": 1}),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "x", "label": true}\n', {"text": "x", "label": True}),
    ],
)
def test_what_is_odd_and_right(name: str, data: bytes, expected: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert dict(own_rows.read_table(tmp_path / name)[0]) == expected


def test_another_encoding_and_separator(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text;label\ncafé, noir;1\n".encode("cp1252"))
    assert own_rows.read_table(tmp_path / "a.csv", "cp1252", ";")[0]["text"] == "café, noir"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.csv",
            "text,label\nxx\ncafé,1\n".encode("latin-1"),
            "byte 0xe9 at position 17 (line 3); .*task.encoding=cp1252",
        ),
        ("a.csv", "text,label\nx,1\n".encode("utf-16"), "task.encoding=utf-16"),
        ("a.csv", b"text,label\nx\0y,1\n", "NUL byte in line 2"),
        ("a.csv", b"text,label\nx,1\ny\n", "line 3 has 1 fields, the header 2"),
        ("a.csv", b"text,label\nx,1,2\n", "line 2 has 3 fields, the header 2"),
        ("a.tsv", b"text,label\nx,1\n", "task.separator=','"),
        ("a.csv", b"text;label\nx;1\n", "task.separator=';'"),
        ("a.csv", b"text,text\nx,1\n", "two columns 'text'"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b" \n\n", "is empty"),
        ("a.csv", b"text,label\n", "a header and no rows: text, label"),
        ("a.csv", b'text,label\nx,1\n"y,1\nz,1\n', "a quote that opens in line 3 is never closed"),
        ("a.csv", b'text,label\n"y"y,1\n', "line 2: ',' expected after '\"' \\(a quote that is not doubled"),
        ("a.csv.gz", b"text,label\n", "cannot read .*[Nn]ot a gzip"),
        ("a.csv.gz", gzip.compress(b"text,label\nx,1\n", mtime=0)[:-9], "ended before the end-of-stream marker"),
        ("a.json", b'[{"text": 1}, 2]', "element 1 .from 0. of its array is no object"),
        ("a.json", b'[{"text": ', "cannot read"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b'{"label": 1}\n{"label": "x"}\n', r"Column\(/label\) changed from number to string in row 1"),
        ("a.jsonl", b'{"a": 1, "a": 2}\n', "cannot read"),
        ("a.parquet", b"PAR1", "cannot read"),
        ("a.xlsx", b"", "none of the formats that are read: .csv"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message.replace("(line", r"\(line").replace("3);", r"3\);")) as error:
        own_rows.read_table(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["punycode", "undefined", "rot13", "none-such"])
def test_an_encoding_that_is_none_of_texts_is_one_line(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\nx,1\n")
    with pytest.raises(UserError, match=f"{encoding}.*utf-8"):
        own_rows.read_table(tmp_path / "a.csv", encoding)


@pytest.mark.parametrize(("encoding", "hint"), [("utf8", "cp1252"), ("UTF-8", "cp1252"), ("ascii", "utf-8")])
def test_the_hint_of_a_wrong_encoding_is_another_one(encoding: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,label\né,1\n".encode("latin-1"))
    with pytest.raises(UserError, match=f"is not {encoding}: .*task.encoding={hint}"):
        own_rows.read_table(tmp_path / "a.csv", encoding)


def test_a_field_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_rows, "_LONGEST", 1000)
    (tmp_path / "a.csv").write_text(f"text,label\nx,1\n{'y' * 1001},1\n")
    with pytest.raises(UserError, match=r"line 3: field larger than field limit \(1000\)"):
        own_rows.read_table(tmp_path / "a.csv")


def test_the_files_of_a_folder_and_their_other_names(tmp_path: Path) -> None:
    own_files.write(tmp_path / "train.csv", own_files.reviews(4))
    own_files.write(tmp_path / "val.jsonl", own_files.reviews(2))
    files = OwnFiles(str(tmp_path), "utf-8", None)
    assert len(own_rows.read_split(files, "dev")) == 2
    assert not own_rows.has_split(files, "test")
    with pytest.raises(UserError, match=r"holds no split 'tset'.*valid: train, val"):
        own_rows.read_split(files, "tset")
    own_files.write(tmp_path / "dev.csv", own_files.reviews(2))
    with pytest.raises(UserError, match=r"split 'dev' occurs twice: '.*dev.csv' and 'val.jsonl'"):
        own_rows.read_split(files, "dev")
    with pytest.raises(UserError, match=r"no file or folder '.*trian.csv'.*did you mean 'train.csv'"):
        own_rows.is_one_file(OwnFiles(str(tmp_path / "trian.csv"), "utf-8", None))
    with pytest.raises(UserError, match="is one file, without a split 'dev'"):
        own_rows.read_split(OwnFiles(str(tmp_path / "train.csv"), "utf-8", None), "dev")
