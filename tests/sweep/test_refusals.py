"""What a sweep refuses before it trains anything: one sentence."""

from pathlib import Path

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep.run import run_sweep

SMALL_SWEEP = Path(__file__).resolve().parents[1] / "small_sweep.py"


def test_several_workers_that_would_share_a_device_are_refused(options):
    with pytest.raises(UserError, match="--workers 2: only one process can use --device cuda"):
        run_sweep(SMALL_SWEEP, options._replace(workers=2, device="cuda"))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"workers": 0}, "--workers 0: give at least 1"),
        ({"trials": 0}, "trials=0 tunes nothing"),
        ({"seeds": 0}, "must be a tuple of one or more whole numbers"),
        ({"storage": "nonsense"}, "--storage nonsense: write it as postgresql://"),
        ({"storage": "mysql://a/b"}, "mysql is not supported; give a postgresql://"),
        (
            {"storage": "postgresql://me:secret@127.0.0.1:1/x"},
            r"postgresql://me:\*\*\*@127.0.0.1:1/x: .*refused.*; start the server",
        ),
        ({"dataset": "ml-100"}, "did you mean 'ml-100k'"),
    ],
)
def test_bad_input_is_one_sentence(options, changed, sentence):
    with pytest.raises(UserError, match=sentence) as refusal:
        run_sweep(SMALL_SWEEP, options._replace(**changed))
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_file_without_a_sweep(options, tmp_path):
    (tmp_path / "none.py").write_text("SWEEP = 3")
    with pytest.raises(UserError, match=r"none.py defines no SWEEP: give it SWEEP = Sweep\("):
        run_sweep(tmp_path / "none.py", options)
