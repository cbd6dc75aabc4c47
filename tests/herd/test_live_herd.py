"""The experiment writes its table, its figure and its figures, and meets the target."""

import json
import sys
from pathlib import Path

from recsys_posttrain.endings import exit_code

FOLDER = Path(__file__).resolve().parents[2] / "experiments"


def test_it_writes_everything(tmp_path, monkeypatch, capsys, script):
    module = script("experiments/live_herd.py")
    monkeypatch.setattr(sys, "argv", ["live_herd.py", "--output", str(tmp_path), "--draws", "1"])
    module.main()
    tables = json.loads((tmp_path / "results.json").read_text())["tables"]
    written = (tmp_path / "table.md").read_text()
    assert written.strip() == capsys.readouterr().out.strip()
    for title in tables:
        assert f"## {title}\n" in written
    for devices in ("1,000,000", "10,000,000", "100,000,000"):
        rows = tables[f"At the event, {devices} devices"]
        assert rows["fetch on push, after up to 60 s"]["times below"] == 1
        assert (
            f"| prefetch over 6 h | {round(rows['prefetch over 6 h']['requests']):,} |" in written
        )
    assert (tmp_path / "herd.png").stat().st_size > 50_000
    committed = json.loads((FOLDER / "results" / "live_herd" / "results.json").read_text())
    for title, rows in committed["tables"].items():
        if title.startswith("At the event"):
            assert rows["prefetch over 6 h"]["times below"] >= 200


def test_a_herd_of_ones_own_is_printed_and_nothing_written(tmp_path, monkeypatch, capsys, script):
    module = script("experiments/live_herd.py")

    def printed(*words):
        words = ["--output", str(tmp_path / "none"), "--draws", "2", *words]
        monkeypatch.setattr(sys, "argv", ["live_herd.py", *words])
        return exit_code(module.main), *capsys.readouterr()

    small = [word for each in ("devices=2000", "capacity=50", "retry.cap_seconds=100",
                               "window_hours=0.5") for word in ("--set", each)]  # fmt: skip
    code, out, _ = printed(*small)
    assert code == 0
    for part in ("fetch on push, after up to 60 s", "prefetch over 0.5 h", "of retries"):
        assert part in out
    assert printed(*small, "--seed", "1")[1] != out
    code, _, error = printed("--set", "device=3")
    assert code == 2
    assert "Herd has no field 'device'; did you mean 'devices'?" in error
    assert not (tmp_path / "none").exists()
