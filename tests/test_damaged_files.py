"""Whatever happened to a file of a finished study, a command works or says one sentence."""

import json
import random
from functools import partial

import pandas as pd
import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.report.page import page
from recsys_posttrain.report.quality import SHORT
from recsys_posttrain.report.study_folder import study_folder
from recsys_posttrain.report.table import comparison_table
from recsys_posttrain.studies.study import NEEDED, study_table

FILES = (
    *("run.json", "rows.parquet", "reward_models.parquet", "reward_models.json"),
    *("table.csv", "table.json", "trials.csv", "curves.parquet"),
)
MOST = 12
NOT_AN_OBJECT = ([], 5, "x", None)
OTHER_KINDS = (None, 5, "x", [], {}, [5], {"a": 5}, -1.5, True)


@pytest.fixture
def study(finished_study):
    record = json.loads((finished_study / "run.json").read_text())
    record |= {
        "num_items": 20,
        "steps": [4],
        "tuning": "none",
        "stages": {"BC/0": {"seconds": 1.5}},
        "reward_scale": {"liked": 4.0, "unit": 1.0},
        "left_out": {"RWR": "no rewards to read"},
    }
    assert record.keys() >= set(NEEDED)
    (finished_study / "run.json").write_text(json.dumps(record))
    quality = pd.DataFrame(0.5, index=["ensemble"], columns=list(SHORT.values()))
    quality.to_parquet(finished_study / "reward_models.parquet")
    return finished_study


def _damages(path):
    whole, rng = path.read_bytes(), random.Random(0)
    yield from (b"", whole[:1], whole[: len(whole) // 3], whole[:-1], rng.randbytes(200))
    for _ in range(4):
        place = rng.randrange(len(whole))
        flipped = whole[place] ^ (1 << rng.randrange(8))
        yield whole[:place] + bytes([flipped]) + whole[place + 1 :]
    if path.suffix == ".csv":
        head, *rows = whole.decode().splitlines()
        yield head.encode()
        for column in range(head.count(",") + 1):
            for changed in (None, "oops"):
                lines = [line.split(",") for line in (head, *rows)]
                for line in lines[changed is not None :]:
                    line[column : column + 1] = [] if changed is None else [changed]
                yield "\n".join(",".join(line) for line in lines).encode()
    if path.suffix == ".json":
        record = json.loads(whole)
        yield from (json.dumps(value).encode() for value in NOT_AN_OBJECT)
        for key in record:
            yield json.dumps({name: record[name] for name in record if name != key}).encode()
            for value in OTHER_KINDS:
                yield json.dumps(record | {key: value}).encode()


def _said(study):
    """What the commands that read a study refuse with; anything else is a failure."""
    said = []
    for command in (lambda: page(study_folder(study)), lambda: study_table(study, None, None)):
        try:
            command()
        except UserError as told:
            said.append(str(told))
    return said


@pytest.mark.parametrize("name", FILES)
def test_the_table_and_the_page_are_there_or_one_sentence_is(name, study, monkeypatch, capsys):
    # The bootstrap takes a second, and looks at the rows alone.
    resampled = partial(comparison_table, resamples=10)
    monkeypatch.setattr("recsys_posttrain.studies.study.comparison_table", resampled)
    kept = {each: (study / each).read_bytes() for each in FILES}
    damages = list(_damages(study / name))
    for data in random.Random(0).sample(damages, min(len(damages), MOST)):
        for each, whole in kept.items():
            (study / each).write_bytes(data if each == name else whole)
        for sentence in _said(study):
            assert "\n" not in sentence
            assert name in sentence or "method" in sentence, sentence
    capsys.readouterr()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_may_not_be_read_or_is_a_folder_is_named(name, study, monkeypatch, capsys):
    (study / name).unlink()
    (study / name).mkdir()
    said = _said(study)
    assert said
    assert all(name in each for each in said)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("reward_scale", value) for value in (*OTHER_KINDS, {"unit": 0}, {"liked": "4"})),
        *(("left_out", value) for value in ([], 5, {"RWR": 5})),
    ],
)
def test_what_a_record_says_of_rewards_and_of_methods_left_out_is_checked(
    key, value, study, capsys
):
    record = json.loads((study / "run.json").read_text())
    (study / "run.json").write_text(json.dumps(record | {key: value}))
    said = _said(study)
    capsys.readouterr()
    assert len(said) == (0 if value == {} else 2)
    assert all(f"run.json: {key}" in each for each in said)


def test_a_table_that_cannot_be_written_is_refused_at_once(study, monkeypatch, capsys):
    before = (study / "table.md").read_bytes()

    def refused(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.touch", refused)
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\)"):
        study_table(study, None, None, study)
    assert not capsys.readouterr().out
    assert (study / "table.md").read_bytes() == before
