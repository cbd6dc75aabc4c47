"""Gains at equal KL in a made-up world with known answers, and their bands."""

import numpy as np
import pandas as pd
import pytest

from recsys_posttrain.report.equal_kl import equal_kl_sheet
from recsys_posttrain.report.latex import latex
from recsys_posttrain.report.render import markdown
from recsys_posttrain.reward_scale import RewardScale
from recsys_posttrain.stats.bootstrap import bootstrap, draws_of_seeds, interval
from recsys_posttrain.stats.equal_kl import KLS, columns_at_equal_kl, equal_kl, interpolated

NAN = np.nan
CLEAN, BIASED = ("", "", 0.0), ("model", "ItemBias", 1.0)


def rows_of(method, strength, kl, value, *, seed=0, users=120, noise=CLEAN, spread=0.0):
    """Each user has the same KL and value, but for a spread of users that all methods share."""
    user_N = spread * np.random.default_rng(1).normal(size=users)
    place, kind, level = noise
    return pd.DataFrame(
        {
            **{"place": place, "kind": kind, "level": level, "method": method},
            **{"strength": strength, "seed": seed, "user_id": np.arange(users)},
            **{"item_id": 1, "reward": 4.0, "total_reward": 8.0, "kl": kl},
            **{"reward/gold": value + 2.0 + user_N, "reward/gold@5": 2 * value + 3.0},
        }
    )


def table(*frames, **changes):
    rows = pd.concat([rows_of("Pretrained", "", NAN, 0.0), *frames], ignore_index=True)
    found = equal_kl(rows, RewardScale(), **({"resamples": 50} | changes))
    return found.set_index(["column", "method", "kl"])


def test_against_numpy_row_by_row():
    rng = np.random.default_rng(0)
    x_XP, y_XP = rng.uniform(0, 1, (20, 3, 6)), rng.normal(size=(20, 3, 6))
    for at in (0.1, 0.4, 0.9):
        found_XS = interpolated(x_XP, y_XP, at)
        for x_SP, y_SP, found_S in zip(x_XP, y_XP, found_XS, strict=True):
            for x_P, y_P, found in zip(x_SP, y_SP, found_S, strict=True):
                order = x_P.argsort()
                wanted = np.interp(at, x_P[order], y_P[order], left=NAN, right=NAN)
                assert found == pytest.approx(wanted, nan_ok=True)


def test_ends_count_and_equal_points_do_not_divide_by_zero():
    assert interpolated(np.array([0.0, 1.0]), np.array([3.0, 5.0]), 0.0) == 3
    assert interpolated(np.array([0.0, 1.0]), np.array([3.0, 5.0]), 1.0) == 5
    assert interpolated(np.array([0.0, 1.0, 1.0]), np.array([0.0, 2.0, 2.0]), 1.0) == 2
    assert np.isnan(interpolated(np.array([0.5, 1.0]), np.array([3.0, 5.0]), 0.4))


def test_by_hand():
    """Roots of KL .2 and .6 gain .1 and .5: between them .1 + (root - .2); below, half the root.
    .3 has the root .5477 and so .4477; 1 is outside."""
    found = table(
        rows_of("PPO", "strong", 0.36, 0.5),
        rows_of("PPO", "weak", 0.04, 0.1),
        rows_of("BC", "", 0.09, 0.2),
    )
    gold = found.loc["reward gold", "gain"].loc["PPO"]
    assert gold[0.01] == pytest.approx(0.05)
    assert gold[0.03] == pytest.approx(np.sqrt(0.03) / 2)
    assert gold[0.1] == pytest.approx(0.1 + np.sqrt(0.1) - 0.2)
    assert gold[0.3] == pytest.approx(0.1 + np.sqrt(0.3) - 0.2)
    assert np.isnan(gold[1.0])
    twice = found.loc["reward gold@5", "gain"].loc["PPO"]
    assert twice.tolist() == pytest.approx((2 * gold).tolist(), nan_ok=True)
    assert set(found.index.get_level_values("method")) == {"PPO"}, "one strength is no line"
    assert found["points"].unique().tolist() == [2]
    assert found["largest_kl"].unique().tolist() == pytest.approx([0.36])
    assert found["lead"].isna().all()


def test_the_order_of_strengths_says_nothing_and_the_line_may_turn():
    """Root .1 gains .3, root .4 loses .3: at .1 (root .3162) the gain is .3 - 2 (.2162)."""
    found = table(rows_of("PPO", "a", 0.16, -0.3), rows_of("PPO", "b", 0.01, 0.3))
    gold = found.loc["reward gold", "gain"].loc["PPO"]
    assert gold[0.01] == pytest.approx(0.3)
    assert gold[0.1] == pytest.approx(0.3 - 2 * (np.sqrt(0.1) - 0.1))


def test_each_seed_has_its_own_points_and_all_must_reach():
    """Seed 0 gains its root, seed 1 half of it; it reaches .09 alone."""
    frames = [
        rows_of("PPO", strength, root**2, share * root, seed=seed)
        for seed, share, roots in ((0, 1.0, (0.1, 1.0)), (1, 0.5, (0.05, 0.3)))
        for strength, root in zip(("weak", "strong"), roots, strict=True)
    ]
    found = table(*frames, resamples=20_000).loc["reward gold"].loc["PPO"]
    assert found.loc[0.03, "gain"] == pytest.approx(0.75 * np.sqrt(0.03))
    # Seeds differ by half of the root: a standard error of a quarter of it, times 12.7.
    half = 12.706 * 0.25 * np.sqrt(0.03)
    assert found.loc[0.03, "high"] - found.loc[0.03, "gain"] == pytest.approx(half, rel=0.1)
    assert found.loc[[0.1, 0.3, 1.0], "gain"].isna().all()
    assert found["largest_kl"].iloc[0] == pytest.approx(0.09)


def test_the_lead_over_the_tilt_is_paired():
    """What users share cancels: the lead has no width, and the gain of paired users neither."""
    strengths = (("1", 0.02), ("2", 1.0))
    frames = [rows_of("Pretrained", "", NAN, 0.0, spread=1.0)]
    frames += [rows_of("Tilt", s, kl, np.sqrt(kl), spread=1.0) for s, kl in strengths]
    frames += [rows_of("DPO", s, 2 * kl, 0.9 * np.sqrt(2 * kl), spread=1.0) for s, kl in strengths]
    found = equal_kl(pd.concat(frames), RewardScale(), resamples=50)
    found = found[found["column"] == "reward gold"].set_index(["method", "kl"])
    lead = found.loc["DPO"]
    assert lead["lead"].tolist() == pytest.approx([-0.1 * np.sqrt(kl) for kl in KLS])
    assert (lead["lead_high"] - lead["lead_low"]).max() < 1e-9
    assert found.loc["Tilt", "lead"].isna().all()


def test_each_noise_is_apart_and_the_reference_serves_all():
    found = equal_kl(
        pd.concat(
            [
                rows_of("Pretrained", "", NAN, 0.0),
                *(rows_of("PPO", s, k, k) for s, k in (("1", 0.01), ("2", 1.0))),
                *(rows_of("PPO", s, k, -k, noise=BIASED) for s, k in (("1", 0.01), ("2", 1.0))),
            ]
        ),
        RewardScale(),
        resamples=20,
    )
    at = found[(found["kl"] == 1.0) & (found["column"] == "reward gold")].set_index("place")
    assert at["gain"].to_dict() == pytest.approx({"": 1.0, "model": -1.0})


def test_without_a_reference_or_strengths_there_is_nothing():
    one = rows_of("PPO", "weak", 0.1, 0.5)
    assert equal_kl(one, RewardScale()).empty
    assert table(one).empty
    both = pd.concat([one, rows_of("PPO", "strong", 0.5, 0.5)])
    assert equal_kl(both, RewardScale()).empty


def test_bands_of_users_are_those_of_a_mean_where_the_points_are_one():
    """At a KL that is a point of all users the gain is a mean of paired differences."""
    rng = np.random.default_rng(3)
    users = 150
    gain_SN = 0.3 + rng.normal(0, 0.5, users) + rng.normal(0, 0.3, (2, users)) + [[0.02], [-0.02]]
    frames = [
        rows_of("PPO", strength, kl, NAN, seed=seed, users=users).assign(
            **{"reward/gold": 2.0 + kl / 0.1 * gain_SN[seed], "reward/gold@5": 1.0}
        )
        for seed in (0, 1)
        for strength, kl in (("at", 0.1), ("far", 0.4))
    ]
    reference = rows_of("Pretrained", "", NAN, 0.0, users=users)
    rows = pd.concat([reference, *frames], ignore_index=True)
    found = equal_kl(rows, RewardScale(), resamples=20_000)
    at = found[(found["kl"] == 0.1) & (found["column"] == "reward gold")].iloc[0]
    mean_K, draws_RK = bootstrap(gain_SN[None], rng=rng).mean_and_draws
    wanted = interval(mean_K[0], draws_RK[:, 0])
    assert at["gain"] == pytest.approx(wanted.value)
    width = wanted.high - wanted.low
    assert at["low"] == pytest.approx(wanted.low, abs=0.05 * width)
    assert at["high"] == pytest.approx(wanted.high, abs=0.05 * width)


def test_draws_of_seeds_are_those_of_means_for_means():
    """Of few and of many users, by variance and tails; the rest of users and seeds counts once."""
    for users, seeds in ((6, 1), (150, 3)):
        rng = np.random.default_rng(users)
        values = rng.normal(size=users) + 2 * rng.normal(size=(seeds, users))
        drawn_RN = rng.integers(0, users, (40_000, users))
        drawn_RS1 = values[:, drawn_RN].mean(2).T[:, :, None]
        mean_K, draws_RK = draws_of_seeds(values.mean(1)[:, None], drawn_RS1, users, rng)
        wanted_K, wanted_RK = bootstrap(values[None], resamples=40_000, rng=rng).mean_and_draws
        assert mean_K == pytest.approx(wanted_K)
        for tail in (0.05, 0.95):
            found = np.quantile(draws_RK, tail) - mean_K[0]
            assert found == pytest.approx(np.quantile(wanted_RK, tail) - mean_K[0], rel=0.06)


def test_which_columns():
    gold = columns_at_equal_kl(["reward/gold", "reward/gold@5", "ndcg@10"])
    assert [column.source for column in gold] == ["reward/gold", "reward/gold@5"]
    (judge,) = columns_at_equal_kl(["reward/judge-rollout@5", "ndcg@10"])
    assert judge.source == "reward/judge-rollout@5"
    (liked,) = columns_at_equal_kl(["ndcg@10"])
    assert liked.name == "NDCG@10 liked"


def test_the_sheet_by_hand():
    """All alike, so no width; the tilt gains the root and DPO nine tenths of it, up to .09."""
    frames = [rows_of("Pretrained", "", NAN, 0.0)]
    for method, share, far in (("Tilt", 1.0, 1.0), ("DPO", 0.9, 0.09)):
        frames += [rows_of(method, str(kl), kl, share * np.sqrt(kl)) for kl in (0.01, far)]
    found = equal_kl(pd.concat(frames), RewardScale(), resamples=2_000)
    sheet = equal_kl_sheet(found, "Of a made-up world.")
    assert [block.title for block in sheet.blocks] == [
        *("reward gold, without noise", "reward gold@5, without noise")
    ]
    lines = markdown(sheet).splitlines()
    assert lines[0].startswith("Gain over Pretrained at the same KL to it, in nats. Of a made-up")
    assert "† differs from Tilt at the same KL" in lines[0]
    assert "| method | KL 0.01 | KL 0.03 | KL 0.1 | KL 0.3 | KL 1 |" in lines
    assert (
        "| Tilt | **+.1000** ±.0000 | **+.1732** ±.0000 | **+.3162** ±.0000 | **+.5477** ±.0000 | "
        "**+1.0000** ±.0000 |"
    ) in lines
    far = "– (to 0.09)"  # noqa: RUF001
    assert f"| DPO | +.0900† ±.0000 | +.1559† ±.0000 | {far} | {far} | {far} |" in lines
    assert "KL & KL & KL" in latex(sheet)
    alone = equal_kl_sheet(found[found["method"] == "DPO"], "")
    assert "Tilt" not in alone.caption
