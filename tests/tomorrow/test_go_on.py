"""A policy of monday goes on on tuesday: from Python."""

import numpy as np
import pandas as pd
import pytest
import torch

import recsys_posttrain as rp
from recsys_posttrain.data.encode import as_text
from recsys_posttrain.tomorrow.reads import reads_model

PLAN = rp.Training(steps=60, batch_size=32, learning_rate=8e-3, decay=True)


def cells(table):
    return table.frame().set_index(["method", "column"])


def continued(drift, **given):
    asked = {"training": PLAN} | given
    return rp.posttrain_from(drift.policy, drift.folder / "tuesday.csv", **asked)


def test_it_gains_on_new_targets_and_says_what_it_forgets(drift, capsys):
    half, none = continued(drift, replay=0.5), continued(drift, replay=0.0)
    said = capsys.readouterr().err
    assert "12 events on 1 item that the policy does not know ('a film of tuesday')" in said
    for found in (half, none):
        gain = cells(found.table).loc["continued", "NDCG@10 new"]
        assert gain["difference_low"] > 0
        assert found.record["new_events"] == len(drift.tuesday) - 12
        assert found.record["old_events"] == len(drift.monday)
        assert found.record["steps"] == 60
    lost = [
        cells(each.table).loc["continued", "NDCG@10 old"]["difference"] for each in (half, none)
    ]
    assert lost[1] < lost[0] - 0.02, "what is not replayed is forgotten"
    assert cells(none.table).loc["continued", "NDCG@10 old"]["difference_high"] < 0
    assert half.record["kl"] > 0
    assert "saved policy" in half.table.markdown()


def test_the_table_holds_the_metrics_of_both_policies(drift):
    """The cells are the means of `evaluate`, over targets that no training event is one of."""
    found = continued(drift, replay=0.5)
    news = found.data
    saved = rp.load_policy(drift.policy).policy
    table = cells(found.table)
    for name, policy in (("saved policy", saved), ("continued", found.policy)):
        for part, targets in (("new", news.data.test), ("old", news.old)):
            mean = rp.evaluate(policy, news.data, targets=targets).mean()
            assert table.loc[name, f"NDCG@10 {part}"]["mean"] == pytest.approx(mean)
    trained = events_of(news.data.train, news.data.corpus)
    for targets in (news.data.validation, news.data.test):
        ids = news.data.corpus.item_ids[targets.items_N.numpy() - 1]
        users = news.data.corpus.user_ids[targets.users_N.numpy()]
        assert not trained & set(zip(users, ids, strict=True))
        assert int(targets.times_N.min()) > int(drift.monday["timestamp"].max())


def events_of(sequences, corpus):
    user_E = np.repeat(corpus.user_ids, sequences.lengths_N.numpy())
    return set(zip(user_E, corpus.item_ids[sequences.items_E.numpy() - 1], strict=True))


def test_old_rows_in_the_new_log_and_the_order_of_rows_change_nothing(drift):
    """Histories are the same, whichever of the two logs says them."""
    want = continued(drift, replay=0.5)
    both = pd.concat([drift.tuesday, drift.monday])
    got = rp.posttrain_from(drift.policy, both, training=PLAN, replay=0.5)
    assert got.record["new_events"] == want.record["new_events"]
    assert got.record["new_targets"] == want.record["new_targets"]
    new = set(drift.tuesday[["user_id", "item_id"]].itertuples(index=False, name=None))
    here, there = (
        new & events_of(each.data.data.train, each.data.data.corpus) for each in (want, got)
    )
    assert here == there
    assert len(here) > 300
    assert as_text(got.policy.item_ids) == as_text(want.policy.item_ids)


def test_without_the_old_log_the_past_is_what_the_new_one_holds(drift, tmp_path, capsys):
    saved = rp.load_policy(drift.policy)._replace(source={})
    with pytest.raises(rp.UserError, match=r"nothing to replay; give the log .* --past"):
        rp.posttrain_from(saved, drift.tuesday, training=PLAN)
    assert "the log of the policy, monday, is not there (give it with --past)" in (
        capsys.readouterr().err
    )
    alone = rp.posttrain_from(saved, drift.tuesday, training=PLAN, replay=0)
    assert list(cells(alone.table).index.unique("column")) == ["NDCG@10 new", "HR@10 new"]
    assert alone.record["old_targets"] == 0
    given = rp.posttrain_from(saved, drift.tuesday, training=PLAN, past=drift.monday)
    assert given.record["old_events"] == len(drift.monday)
    oldest = saved._replace(newest=None)
    with pytest.raises(rp.UserError, match=r"does not say when its log ended, .* --past FILE"):
        rp.posttrain_from(oldest, drift.tuesday, training=PLAN, replay=0)
    again = rp.posttrain_from(oldest, drift.tuesday, training=PLAN, past=drift.monday)
    assert again.record["new_events"] == given.record["new_events"]


def test_a_reward_model_serves_a_method_that_reads_one(drift):
    data = rp.load(drift.folder / "monday.csv")
    reward, _ = rp.train_reward(data, rp.RewardFactors(rounds=1))
    found = continued(drift, algorithm=rp.ASFT(temperature=0.5), reward=reward)
    assert found.record["kl"] > 0
    with pytest.raises(rp.UserError, match=r"^ASFT reads a reward model, and there is none: give"):
        continued(drift, algorithm=rp.ASFT())


def test_a_guard_holds_it(drift):
    plan = rp.Training(steps=40, batch_size=32, learning_rate=0.05, guard=rp.Guard(kl=0.1, every=2))
    found = continued(drift, training=plan)
    assert found.record["steps"] < 40
    assert found.record["guard"] == found.fitted.guard != ""
    assert found.record["kl"] < 0.3


@pytest.mark.parametrize(
    ("method", "reads"),
    [
        (rp.BC(), False),
        (rp.RWR(), False),
        (rp.FilteredBC(), False),
        (rp.ASFT(), True),
        (rp.DPO(), True),
        (rp.GRPO(), True),
        (rp.OfflinePPO(), True),
    ],
)
def test_whether_a_method_reads_the_reward_model(drift, method, reads):
    policy = rp.load_policy(drift.policy).policy
    before = {name: each.clone() for name, each in policy.state_dict().items()}
    assert reads_model(method, policy) is reads
    assert all(torch.equal(each, before[name]) for name, each in policy.state_dict().items())


REFUSED = {
    "old": r"ends on 2023-11-1\d .* and the log of the policy on .*: nothing is new",
    "unknown": r"none of its 30 events after .* is on an item that the policy knows",
    "another": r"none of its items is known to the policy, which was trained with item ids such as",
    "few": r"2 new events on known items are too few to train on",
    "constant": r"^RWR reads rewards, and .* has none: every reward is 1",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_logs_are_refused(drift, kind):
    new, old = drift.tuesday, drift.monday
    known = new[new["item_id"] != "a film of tuesday"]
    log = {
        "old": old.head(50),
        "unknown": pd.concat([old, new.head(30).assign(item_id="x")]),
        "another": new.assign(item_id="x" + new["item_id"]),
        "few": known.head(2),
        "constant": known.assign(rating=1.0),
    }[kind]
    past = old.assign(rating=1.0) if kind == "constant" else None
    with pytest.raises(rp.UserError, match=REFUSED[kind]):
        rp.posttrain_from(drift.policy, log, rp.RWR(), training=PLAN, past=past)


@pytest.mark.parametrize("replay", [-0.1, 1.0, float("nan")])
def test_a_share_is_a_share(drift, replay):
    with pytest.raises(rp.UserError, match=r"replay=.* must be a share from 0"):
        continued(drift, replay=replay)
