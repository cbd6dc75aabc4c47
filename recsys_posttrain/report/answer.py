"""The answer of `advise`, five lines, from what was measured on the log and what studies found."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from recsys_posttrain.report.cells import between, counted, decimal
from recsys_posttrain.report.findings import Finding
from recsys_posttrain.report.rivals import Bounds
from recsys_posttrain.stats.equal_kl import REFERENCE, TILT

WIDE = 0.02  # half an interval of pairwise accuracy, beyond which it tells few models apart
FEWEST = 10  # users that a quality is measured by; the interval of fewer says nothing
TEMPERATURES = (0.03, 0.1, 0.3, 1.0, 3.0)  # in stars, as studies try them


class OwnGains(NamedTuple):
    """What the tilt gains over the pretrained policy on the log itself, by temperature. by: the
    measure. distrust: why its off-policy estimates are not to be believed; has_propensities: else
    there are none."""

    by: str
    gains: Mapping[float, Bounds]
    has_propensities: bool
    distrust: str

    @property
    def best(self) -> tuple[float, Bounds] | None:
        """The temperature whose gain is the surest."""
        known = {t: gain for t, gain in self.gains.items() if gain[1] == gain[1]}
        return max(known.items(), key=lambda pair: pair[1][1]) if known else None

    @property
    def pays(self) -> bool:
        return self.best is not None and self.best[1][1] > 0

    @property
    def harms(self) -> bool:
        return bool(self.gains) and all(high < 0 for _, _, high in self.gains.values())


class Choice(NamedTuple):
    """method: "" for nothing, None where the intervals decide nothing."""

    method: str | None
    strength: str
    why: str


def answer(quality: pd.DataFrame, own: OwnGains, findings: Sequence[Finding]) -> Iterator[str]:
    """quality: `quality_frame`, the model last. findings: the nearest study first."""
    choice = choose(own, findings)
    tilts = choice.method == TILT
    method = {
        None: "not enough evidence",
        "": "change nothing: keep the pretrained policy",
        TILT: "do not train: tilt the pretrained policy by the reward model",
    }.get(choice.method, f"train {choice.method}")
    strength = f"temperature {choice.strength}, in stars" if tilts else choice.strength or "none"
    yield f"1. Your reward model: {standing(quality)}."
    yield f"2. Fix first: {fix_first(quality, own)}."
    yield f"3. Method: {method}; {choice.why}."
    yield f"4. Strength: {strength}; choose among others by your own validation targets."
    yield f"5. What would change this: {'; '.join(changes(choice, own, findings))}."


def choose(own: OwnGains, findings: Sequence[Finding]) -> Choice:
    """The nearest study that supports a method decides, unless the log itself speaks against it.
    The tilt costs no training, so what pays is no reason to train before it was compared."""
    deciding = next((each for each in findings if each.is_near and each.best), None)
    trial = "" if own.best is None else f"{own.best[0]:g}"
    if deciding is not None and deciding.best[0] != TILT:
        first, where = deciding.best[0], deciding.study
        if deciding.has_tilt or not own.pays:
            compared = "" if deciding.has_tilt else ", in which the tilt was not tried"
            return Choice(first, deciding.strengths.get(first, ""), f"as in {where}{compared}")
        why = f"it gains on your log; {first}, which {where} supports, was not compared with it"
        return Choice(TILT, trial, why)
    if deciding is not None and not own.harms:
        why = f"as in {deciding.study}: no trained method is above it there"
        text = deciding.strengths.get(TILT, "").removeprefix("temperature ")
        agrees = own.pays and own.best is not None
        why += f", and your log agrees ({own.by})" if agrees else ""
        return Choice(TILT, trial if agrees else text, why)
    if own.pays:
        return Choice(TILT, trial, f"it gains on your log ({own.by}); no near study decides")
    if own.harms and deciding is None:
        return Choice("", "", f"on your log the tilt loses at every temperature ({own.by})")
    if own.harms:
        return Choice(None, "", "the nearest study supports the tilt, and your log speaks against")
    near = [each.study for each in findings if each.is_near]
    studied = f"so do those of {', '.join(near)}" if near else "no study had a model like yours"
    return Choice(None, "", f"your own intervals hold 0 ({own.by}), and {studied}")


def standing(quality: pd.DataFrame) -> str:
    """The model beside the best naive baseline."""
    model, best = quality.iloc[-1], _best_naive(quality)
    if not is_known(quality):
        return f"not known: {counted(int(model['users']), 'user')} to judge it, fewer than {FEWEST}"
    word = {1: "better than", 0: "not distinguished from", -1: "worse than"}[_order(quality)]
    return (
        f"pairwise accuracy {_interval(model)} on {model['events']:,.0f} events of "
        f"{model['users']:,.0f} users, {word} the best naive baseline, {best.name} "
        f"{_interval(best)}"
    )


def is_known(quality: pd.DataFrame) -> bool:
    """Whether enough users judge the model for an interval."""
    return bool(quality.iloc[-1]["users"] >= FEWEST)


def fix_first(quality: pd.DataFrame, own: OwnGains) -> str:
    """The first of these that is not in order."""
    model, best = quality.iloc[-1], str(_best_naive(quality).name)
    half = (model["pairwise_accuracy_high"] - model["pairwise_accuracy_low"]) / 2
    slope = "calibration_slope"
    if not is_known(quality):
        return "how the model is judged; give a log of more users"
    if _order(quality) < 0:
        return f"the reward model, since {best} orders better; bring a better one (docs/python.md)"
    if half > WIDE and _order(quality) == 0:
        return (
            f"how the model is judged, since {model['users']:,.0f} users leave ±{decimal(half)}; "
            "give a log of more users"
        )
    if _order(quality) == 0:
        return f"the reward model, which orders no better than {best}; give it features or rewards"
    if own.distrust:
        return f"the log's propensities, since {own.distrust}"
    if not model[f"{slope}_low"] <= 1 <= model[f"{slope}_high"]:
        ends = between(model[f"{slope}_low"], model[f"{slope}_high"])
        return f"its calibration, slope {decimal(model[slope])} {ends}: temperatures read its size"
    if not own.has_propensities:
        return "record propensities; with them your own log says what a policy is worth"
    return "nothing"


def changes(choice: Choice, own: OwnGains, findings: Sequence[Finding]) -> Iterator[str]:
    near = [each for each in findings if each.is_near]
    rival = next((each for each in near if each.rival is not None), None)
    if choice.method == TILT and rival is not None and rival.rival is not None:
        name, (value, low, high) = rival.rival
        yield (
            f"a trained method above the tilt on your log: nearest is {name}, "
            f"{decimal(value, sign=True)} [{decimal(low, sign=True)}, {decimal(high, sign=True)}] "
            f"in {rival.study}"
        )
    if choice.method not in (TILT, "", None):
        yield "the tilt at the same KL, which needs no training, being level with it on your log"
    if choice.method is None:
        yield "more test users, whose intervals are narrower, or a study at your quality"
    for each in near:
        if each.best and each.best[0] != choice.method:
            yield f"{each.best[0]}, which {each.study} supports, being ahead on your log"
            break
    if not own.has_propensities:
        yield "propensities, for an estimate by your own log"
    yield "errors that the model makes of whole items or users, which no log shows"


def _best_naive(quality: pd.DataFrame) -> pd.Series:
    naive = quality.iloc[:-1]
    return naive.iloc[int(naive["pairwise_accuracy"].to_numpy().argmax())]


def _order(quality: pd.DataFrame) -> int:
    """1 where the model is better than the best naive baseline, -1 worse, 0 where they overlap."""
    model, best = quality.iloc[-1], _best_naive(quality)
    low, high = "pairwise_accuracy_low", "pairwise_accuracy_high"
    return int(model[low] > best[high]) - int(model[high] < best[low])


def _interval(row: pd.Series) -> str:
    name = "pairwise_accuracy"
    return f"{decimal(row[name])} {between(row[f'{name}_low'], row[f'{name}_high'])}"


def own_lines(own: OwnGains) -> Iterator[str]:
    yield f"Your own log: the tilt minus {REFERENCE}, {own.by}, 95% intervals over users"
    for temperature, (value, low, high) in own.gains.items():
        ends = f"[{decimal(low, sign=True)}, {decimal(high, sign=True)}]"
        yield f"    temperature {temperature:<5g} {decimal(value, sign=True)} {ends}"
