"""Configuration values: what is described, what changes a digest, and each sentence of override."""

import dataclasses
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import pytest

from recsys_posttrain.algorithms import ASFT, DPO, signals
from recsys_posttrain.algorithms.pairs import LoggedVersusSampled
from recsys_posttrain.algorithms.signals import ReferenceSoftValue
from recsys_posttrain.config import describe, digest, require
from recsys_posttrain.errors import UserError
from recsys_posttrain.override import override


def user_mean(batch: object) -> object:
    return batch


def item_mean(batch: object) -> object:
    return batch


def _hidden(batch: object) -> object:
    return batch


@dataclass(frozen=True)
class Quantile:
    """A signal with a parameter."""

    level: float = 0.5

    def __call__(self, batch: object) -> object:
        return batch


@dataclass(frozen=True)
class Weighted:
    temperature: float = 1.0
    clip: float | None = None
    mode: Literal["sampled", "exact"] = "sampled"
    baseline: "Callable[[object], object] | None" = user_mean

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"Weighted.temperature must be > 0, it is {self.temperature}")


@dataclass(frozen=True)
class Study:
    algorithm: Weighted = Weighted()
    steps: int = 100
    name: str = "main"
    shuffle: bool = True
    cutoffs: tuple[int, ...] = (1, 10)
    betas: tuple[float, float] = (0.9, 0.98)
    limit: int | str = 5
    workers: int = field(default=2, compare=False)


def test_describe_nests_classes_names_functions_and_skips_what_does_not_compare():
    assert describe(Study()) == {
        "class": "Study",
        "algorithm": {
            "class": "Weighted",
            "temperature": 1.0,
            "clip": None,
            "mode": "sampled",
            "baseline": f"{__name__}.user_mean",
        },
        "steps": 100,
        "name": "main",
        "shuffle": True,
        "cutoffs": [1, 10],
        "betas": [0.9, 0.98],
        "limit": 5,
    }


@pytest.mark.parametrize("value", [lambda x: x, {1, 2}, {1: 2}, object(), math.nan, math.inf, int])
def test_describe_refuses_what_has_no_stable_description(value):
    with pytest.raises(TypeError, match="cannot be part of a configuration"):
        describe({"value": value})


def test_digest_is_the_sha256_of_canonical_json():
    expected = hashlib.sha256(b'{"a":[1,0.1,true,null],"b":"x"}').hexdigest()
    assert digest({"b": "x", "a": (1, 0.1, True, None)}, length=64) == expected
    assert digest({"b": "x", "a": (1, 0.1, True, None)}) == expected[:16]


def test_equal_values_have_equal_digests_and_different_ones_different():
    assert digest(Weighted(temperature=1)) == digest(Weighted(temperature=1.0))
    assert digest(Weighted(clip=2)) == digest(Weighted(clip=2.0))
    assert digest(Study(workers=9)) == digest(Study())
    changed = [
        Study(),
        Study(steps=101),
        Study(shuffle=False),
        Study(cutoffs=(1,)),
        Study(algorithm=Weighted(clip=0.0)),
        Study(algorithm=Weighted(baseline=item_mean)),
        Study(algorithm=Weighted(baseline=None)),
    ]
    assert len({digest(study) for study in changed}) == len(changed)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("steps=7", Study(steps=7)),
        (" steps = 7 ", Study(steps=7)),
        ("name=a=b", Study(name="a=b")),
        ("shuffle=false", Study(shuffle=False)),
        ("cutoffs=1,5,20", Study(cutoffs=(1, 5, 20))),
        ("cutoffs=(5,)", Study(cutoffs=(5,))),
        ("cutoffs=[]", Study(cutoffs=())),
        ("betas=0.5, 1", Study(betas=(0.5, 1.0))),
        ("limit=6", Study(limit=6)),
        ("limit=all", Study(limit="all")),
        ("algorithm.temperature=1e-3", Study(algorithm=Weighted(temperature=0.001))),
        ("algorithm.temperature=2", Study(algorithm=Weighted(temperature=2.0))),
        ("algorithm.clip=2", Study(algorithm=Weighted(clip=2.0))),
        ("algorithm.clip=none", Study()),
        ("algorithm.mode=exact", Study(algorithm=Weighted(mode="exact"))),
        ("algorithm.baseline=item_mean", Study(algorithm=Weighted(baseline=item_mean))),
        ("algorithm.baseline=none", Study(algorithm=Weighted(baseline=None))),
    ],
)
def test_override_reads_each_type(assignment, expected):
    changed = override(Study(), assignment)
    assert changed == expected
    assert digest(changed) == digest(expected)


def test_override_makes_floats_of_whole_numbers_and_leaves_the_original():
    study = Study()
    assert type(override(study, "algorithm.temperature=2").algorithm.temperature) is float
    assert study == Study()


def test_override_of_a_signal_starts_from_a_parametric_one_or_from_none():
    for current in (Quantile(0.1), None):
        study = Study(algorithm=Weighted(baseline=current))
        changed = override(study, "algorithm.baseline=item_mean")
        assert changed.algorithm.baseline is item_mean
    study = Study(algorithm=Weighted(baseline=Quantile(0.1)))
    assert override(study, "algorithm.baseline.level=1").algorithm.baseline == Quantile(1.0)


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("steps", "--set steps: write it as name=value, e.g. a.b=0.3"),
        ("=3", "--set =3: write it as name=value, e.g. a.b=0.3"),
        (
            "algorithm.temprature=0.3",
            "--set algorithm.temprature=0.3: Weighted has no field 'temprature'; did you mean "
            "'algorithm.temperature'? (its fields: temperature, clip, mode, baseline)",
        ),
        ("temperature=0.3", "Study has no field 'temperature'; did you mean 'algorithm.temp"),
        ("temprature=0.3", "Study has no field 'temprature'; did you mean 'algorithm.temp"),
        ("algoritm.clip=1", "Study has no field 'algoritm'; did you mean 'algorithm.clip'?"),
        ("zzz=1", "Study has no field 'zzz' (its fields: algorithm, steps, name,"),
        ("steps.x=1", "Study.steps is 100 and has no field 'x'"),
        ("steps=1.5", "--set steps=1.5: Study.steps takes a whole number, not '1.5'"),
        ("shuffle=maybe", "Study.shuffle takes true or false, not 'maybe'"),
        ("cutoffs=1,a", "Study.cutoffs takes a comma-separated list, each a whole number, not"),
        ("betas=0.9", "Study.betas takes 2 comma-separated values (a finite number, a finite"),
        ("algorithm.temperature=nan", "Weighted.temperature takes a finite number, not 'nan'"),
        ("algorithm.temperature=inf", "Weighted.temperature takes a finite number, not 'inf'"),
        ("algorithm.temperature=-1", "Weighted.temperature must be > 0, it is -1.0"),
        ("algorithm.temperature=none", "takes a finite number, not 'none'"),
        ("algorithm.clip=x", "Weighted.clip takes a finite number or none, not 'x'"),
        ("algorithm.mode=exakt", "Weighted.mode takes one of sampled, exact, not 'exakt'"),
        (
            "algorithm=RWR",
            "Study.algorithm is Weighted(...) and is not set as a whole: set one of its fields "
            "(algorithm.temperature, algorithm.clip, algorithm.mode, algorithm.baseline)",
        ),
        (
            "algorithm.baseline=usermean",
            "Weighted.baseline has no choice 'usermean'; did you mean 'user_mean'? (one of: "
            "user_mean, item_mean, Quantile, none)",
        ),
    ],
)
def test_override_explains_what_is_wrong(assignment, sentence):
    with pytest.raises(UserError) as raised:
        override(Study(), assignment)
    assert sentence in str(raised.value)


@dataclass(frozen=True)
class Two:
    pretraining: Weighted = Weighted()
    posttraining: Weighted = Weighted()


def test_a_misspelt_first_part_suggests_the_path_that_is_nearest():
    for written, meant in (
        ("posttraning.clip", "posttraining.clip"),
        ("pretraning.clip", "pretraining.clip"),
        ("postraining.temprature", "posttraining.temperature"),
    ):
        with pytest.raises(UserError, match=f"did you mean '{meant}'"):
            override(Two(), f"{written}=1")


def separated(lower: float, upper: float) -> float:
    return upper - lower


def test_a_field_takes_functions_of_its_own_kind_by_name_those_with_parameters_too():
    changed = override(Study(), "algorithm.baseline=Quantile")
    assert changed.algorithm.baseline == Quantile(0.5)
    again = override(changed, "algorithm.baseline.level=0.25")
    assert again.algorithm.baseline == Quantile(0.25)
    with pytest.raises(UserError, match=r"Weighted.baseline has no choice 'separated'"):
        override(Study(), "algorithm.baseline=separated")


def test_the_choices_of_the_algorithms_are_those_that_work():
    pairs = override(DPO(), "pairs=LoggedVersusSampled")
    assert pairs == DPO(pairs=LoggedVersusSampled())
    for name in ("separated_pair", "Pairs", "PairSource"):
        with pytest.raises(UserError, match=r"one of: SampledPairs, LoggedVersusSampled\)"):
            override(DPO(), f"pairs={name}")
    soft = override(ASFT(), "baseline=ReferenceSoftValue")
    assert soft == ASFT(baseline=ReferenceSoftValue())
    assert override(soft, "baseline=user_mean") == ASFT(baseline=signals.user_mean)


def test_override_offers_public_functions_only():
    with pytest.raises(UserError) as raised:
        override(Study(), "algorithm.baseline=_hidden")
    choices = str(raised.value).partition("(one of: ")[2].split(", ")
    assert {"user_mean", "item_mean", "none)"} <= set(choices)
    assert not {"_hidden", "describe", "require"} & set(choices)  # private, or imported


def test_a_field_that_no_text_can_fill_is_refused():
    odd = dataclasses.make_dataclass("Odd", [("value", dict[str, int])], frozen=True)
    with pytest.raises(UserError, match=r"Odd.value is \{\} and cannot be set to 'a' from text"):
        override(odd({}), "value=a")
