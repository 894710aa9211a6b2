"""Copies the MT-Bench answers of a run to beside its record, without the questions, which are others' data.

python scripts/strip_questions.py runs/<experiment>/<cell_id> results/records/<experiment>
"""

import json
import sys
from pathlib import Path


def main() -> int:
    """Writes `<cell_id>.mt_bench.jsonl`; returns 0, or 2 without answers."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    source, target = Path(sys.argv[1]) / "mt_bench_answers.jsonl", Path(sys.argv[2])
    if not source.is_file():
        print(
            f"error: no {source.name} in '{source.parent}'; run `uora-bench mt-bench answer` first",
            file=sys.stderr,
        )
        return 2
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({k: v for k, v in row.items() if k != "turns"}) + "\n" for row in rows]
    (target / f"{source.parent.name}.mt_bench.jsonl").write_text("".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
