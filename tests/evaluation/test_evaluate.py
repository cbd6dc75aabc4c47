"""Rows of an evaluation against loops over users, items and positions."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from data_factory import made_corpus, made_sequences

from recsys_posttrain.api import load
from recsys_posttrain.data import LeaveOneOut
from recsys_posttrain.evaluation import ranking
from recsys_posttrain.evaluation.evaluate import evaluate
from recsys_posttrain.models import HSTU, SASRec
from recsys_posttrain.models.policy import new_policy
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.training.ensemble import RewardEnsemble
from recsys_posttrain.training.pretrain import validation_ndcg
from recsys_posttrain.types import Batch, History, Split, Targets
from recsys_posttrain.untrained import Given, Popularity

ITEMS, USERS = 15, 30


def evaluate_popularity(data, *models, **options):
    return evaluate(Popularity().ranker(Given(data)), data, *models, **options)


def made_policy(seed):
    policy = new_policy(SASRec(dim=8, blocks=1, feed_forward=16, max_length=6), ITEMS, seed)
    with torch.no_grad():
        policy.backbone.item_embedding.weight[1:] *= 3
    return policy


@pytest.fixture(scope="module")
def data():
    """30 users of 1 to 14 different items out of 15; the longest have seen almost everything."""
    generator = torch.Generator().manual_seed(0)
    lengths = [1, 2, 14, 14, *torch.randint(3, 13, (USERS - 4,), generator=generator).tolist()]
    items = [(torch.randperm(ITEMS, generator=generator)[:n] + 1).tolist() for n in lengths]
    corpus = made_corpus(
        lengths,
        items,
        rewards=torch.randint(1, 6, (sum(lengths),), generator=generator).tolist(),
        times=[event**3 for event in range(sum(lengths))],
        user_ids=np.array([f"user {n}" for n in range(USERS)], dtype=object),
        item_ids=np.arange(ITEMS) * 10,
    )
    return LeaveOneOut().split(corpus)


def made_reward(seed):
    encoder = SASRec(dim=8, blocks=1, feed_forward=16, max_length=6, history_rewards=True)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = RewardEnsemble(encoder, members=2, rank=3).build(ITEMS, 3.0)
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    return model.eval()


@pytest.fixture(scope="module")
def reward():
    return made_reward(5)


def histories(targets):
    """(items, rewards) before each target, as tensors."""
    offsets = targets.history.offsets_N1.tolist()
    for start, stop in pairwise(offsets):
        yield targets.history.items_E[start:stop], targets.history.rewards_E[start:stop]


def slow_scores(policy, items, rewards):
    """[V] in float64, one user at a time."""
    policy.eval()
    with torch.no_grad():
        times = torch.zeros_like(items)[None, -6:]
        history = History(items[None, -6:], rewards[None, -6:], times, times)
        state_D = policy.backbone(history)[0, -1].double()
        return (policy.backbone.item_embedding.weight[1:].double() @ state_D).numpy()


def slow_rank_and_top(score_V, target, seen):
    """The middle of the tied places of a full sort; the ten best, lower id first on a tie."""
    unseen = [item for item in range(1, ITEMS + 1) if item not in seen]
    order = sorted(unseen, key=lambda item: (-score_V[item - 1], item))
    candidates = set(unseen) | {target}
    places = sorted(-score_V[item - 1] for item in candidates)
    tied = [n + 1 for n, score in enumerate(places) if score == -score_V[target - 1]]
    return sum(tied) / len(tied), order[:10] + [0] * (10 - len(order[:10]))


def slow_proxy(reward, items, rewards, top):
    """Mean over the list of score_all at the last position of the whole (latest) history."""
    history_1T, rewards_1T = items[None, -6:], rewards[None, -6:]
    mask_1T = torch.ones_like(history_1T, dtype=torch.bool)
    event = (history_1T, rewards_1T, torch.zeros_like(history_1T))
    batch = Batch(*event, *event, mask_1T, torch.tensor([0]))
    score_V = reward.score_all(batch)[-1]
    return float(np.mean([float(score_V[item - 1]) for item in top if item > 0]))


@pytest.mark.parametrize("which", ["test", "validation"])
def test_rows_of_a_policy_are_those_of_a_full_sort_per_user(data, reward, which):
    policy, targets = made_policy(0), getattr(data, which)
    result = evaluate(policy, data, reward, targets=targets)
    frame = result.per_user
    assert len(frame) == len(targets.items_N) == USERS - 2
    for n, (items, rewards) in enumerate(histories(targets)):
        row, target = frame.loc[n], int(targets.items_N[n])
        score_V = slow_scores(policy, items, rewards)
        rank, top = slow_rank_and_top(score_V, target, set(items.tolist()))
        assert row["rank"] == rank
        assert row["hr@5"] == (rank <= 5)
        assert row["ndcg@10"] == pytest.approx((rank <= 10) / np.log2(rank + 1))
        assert row["top10"].tolist() == top
        assert row["reward/proxy@10"] == pytest.approx(slow_proxy(reward, items, rewards, top))
    assert (frame["top10"].map(min) == 0).any(), "somebody has fewer than ten unseen items"
    assert result.mean() == pytest.approx(frame["ndcg@10"].mean())
    assert result.mean("hr@1") == np.mean(frame["rank"] <= 1)
    assert result.num_items == ITEMS
    if which == "validation":
        assert validation_ndcg(policy.eval(), data) == pytest.approx(result.mean())


def test_rows_name_the_target_its_reward_and_what_the_user_gave_in_training(data):
    frame = evaluate(made_policy(0), data).per_user
    sequences = data.corpus.sequences
    for n, user in enumerate(range(2, USERS)):
        start, stop = sequences.offsets_N1[user : user + 2].tolist()
        row = frame.loc[n]
        assert row["user_id"] == f"user {user}"
        assert row["item_id"] == 10 * (int(sequences.items_E[stop - 1]) - 1)
        assert row["reward"] == float(sequences.rewards_E[stop - 1])
        assert row["total_reward"] == sum(sequences.rewards_E[start : stop - 2].tolist())
    assert frame["reward/proxy@10"].isna().all()
    assert not {"kl", "entropy"} & set(frame.columns)


def test_total_reward_of_users_without_training_events():
    """A split of its own may leave some users, the last one too, without any."""
    corpus = made_corpus([0, 2, 0, 3, 0], rewards=[1, 2, 3, 4, 5], item_ids=np.arange(ITEMS))
    train, chosen_N, users_N = corpus.sequences, torch.arange(7, 12), torch.arange(5)
    history = made_sequences(5 * [1])
    targets = Targets(history, chosen_N, torch.ones(5), users_N, users_N, "allowed")
    frame = evaluate_popularity(Split(corpus, train, targets, targets, train)).per_user
    assert frame["total_reward"].tolist() == [0, 3, 0, 12, 0]


def test_popularity_on_ml_1m_is_the_published_row(shared_data, tmp_path, monkeypatch):
    """Protocol A, test split: HR@10 .0363 and NDCG@10 .0178, measured independently."""
    monkeypatch.setenv("RECSYS_POSTTRAIN_CACHE", str(tmp_path))
    result = evaluate_popularity(load("ml-1m", str(shared_data)))
    assert round(result.mean("hr@10"), 4) == 0.0363
    assert round(result.mean("ndcg@10"), 4) == 0.0178


def test_popularity_is_the_ranking_by_count_with_ties_in_the_middle(data, reward):
    frame = evaluate_popularity(data, reward).per_user
    counts = [0] * ITEMS
    for item in data.train.items_E.tolist() + data.validation.items_N.tolist():
        counts[item - 1] += 1
    assert len(set(counts)) < ITEMS, "there are ties"
    for n, (items, rewards) in enumerate(histories(data.test)):
        rank, top = slow_rank_and_top(counts, int(data.test.items_N[n]), set(items.tolist()))
        assert frame.loc[n, "rank"] == rank
        assert frame.loc[n, "top10"].tolist() == top
        expected = slow_proxy(reward, items, rewards, top)
        assert frame.loc[n, "reward/proxy@10"] == pytest.approx(expected)
    assert (frame["rank"] % 1 == 0.5).any()


def over_unseen(weight_V, items):
    """The shares of the items that the user has not had."""
    unseen = [v for v in range(ITEMS) if v + 1 not in items.tolist()]
    return weight_V[unseen] / weight_V[unseen].sum()


def test_drift_columns_are_the_slow_sums(data):
    policy, reference = made_policy(0), made_policy(1).train()
    frame = evaluate(policy, data, reference=reference).per_user
    for n, (items, rewards) in enumerate(histories(data.test)):
        pi, other = (
            np.exp(score_V - np.logaddexp.reduce(score_V))
            for score_V in (slow_scores(each, items, rewards) for each in (policy, reference))
        )
        pi, other = (over_unseen(each, items) for each in (pi, other))
        kl = sum(p * (np.log(p) - np.log(q)) for p, q in zip(pi, other, strict=True))
        assert frame.loc[n, "kl"] == pytest.approx(kl, rel=1e-4, abs=1e-6)
        assert frame.loc[n, "entropy"] == pytest.approx(-sum(pi * np.log(pi)), rel=1e-5)
    assert frame["kl"].min() > 0.01
    assert evaluate(policy, data, reference=policy).per_user["kl"].abs().max() < 1e-5


class Watched(RewardModel):
    """A reward model that keeps the batches it is asked about and is 0 everywhere."""

    max_length = 6

    def __init__(self):
        super().__init__()
        self.batches = []

    def member_factors(self, batch):
        self.batches.append(batch)
        return torch.zeros(1, len(batch.action_N), 1), torch.zeros(1, ITEMS, 1)


@pytest.mark.parametrize(("which", "back"), [("test", 1), ("validation", 2)])
def test_the_targets_own_time_is_what_the_models_are_given(data, which, back):
    """Event e happens at second e ** 3; the target is the last event, or the one before."""
    policy, reference = (
        new_policy(HSTU(dim=8, max_length=6, target_time=True), ITEMS, seed).eval()
        for seed in (0, 1)
    )
    with torch.no_grad():
        for block in [*policy.backbone.blocks, *reference.backbone.blocks]:
            block.time_bias *= 200  # so that a state without the right time is another one
    targets, reward, offsets = getattr(data, which), Watched(), data.corpus.sequences.offsets_N1
    rows = evaluate(policy, data, reward, reference, targets=targets).per_user
    given = {}
    for batch in reward.batches:
        for row, length in zip(batch.sequences_B.tolist(), batch.mask_BT.sum(dim=1), strict=True):
            given[row] = int(batch.action_times_BT[batch.sequences_B == row, length - 1])
    gains = []
    for n, (items, rewards) in enumerate(histories(targets)):
        target = int(offsets[n + 3]) - back  # the first two users have no targets
        times = torch.arange(target - len(items), target + 1) ** 3
        assert given[n + 2] == target**3, "rows are named by their user"
        history = History(*(e[None, -6:] for e in (items, rewards, times[:-1], times[1:])))
        score_V, other_V = (
            (each.backbone(history)[0, -1] @ each.item_embedding_VD.T).detach().double().numpy()
            for each in (policy, reference)
        )
        rank, _ = slow_rank_and_top(score_V, int(targets.items_N[n]), set(items.tolist()))
        assert rows.loc[n, "rank"] == rank
        pi, rho = (over_unseen(np.exp(each), items) for each in (score_V, other_V))
        assert rows.loc[n, "kl"] == pytest.approx((pi * np.log(pi / rho)).sum(), rel=1e-3, abs=1e-6)
        gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0)
    if which == "validation":
        assert validation_ndcg(policy, data) == pytest.approx(np.mean(gains))
    without = policy.last_hidden_states(targets.history)
    assert not torch.allclose(without, policy.last_hidden_states(targets.history, targets.times_N))


def test_the_judges_column_is_its_own_mean_over_the_list(data, reward):
    judge = made_reward(6)
    for frame in (
        evaluate(made_policy(0), data, reward, judge=judge).per_user,
        evaluate_popularity(data, reward, judge=judge).per_user,
    ):
        for n, (items, rewards) in enumerate(histories(data.test)):
            top = frame.loc[n, "top10"].tolist()
            for model, column in ((reward, "reward/proxy@10"), (judge, "reward/judge@10")):
                expected = slow_proxy(model, items, rewards, top)
                assert frame.loc[n, column] == pytest.approx(expected, rel=1e-5)
    assert "reward/judge@10" not in evaluate(made_policy(0), data, reward).per_user


def test_dropout_never_enters_an_evaluation(data):
    policy = made_policy(0)
    first = evaluate(policy.train(), data, reference=policy.train()).per_user
    second = evaluate(policy.eval(), data, reference=policy.eval()).per_user
    assert first["rank"].tolist() == second["rank"].tolist()
    assert first["kl"].tolist() == second["kl"].tolist()


def test_ranks_and_lists_share_one_pass_over_the_catalogue(data, monkeypatch):
    passes, original = [], ranking.score_chunks
    monkeypatch.setattr(ranking, "score_chunks", lambda *args: passes.append(1) or original(*args))
    evaluate(made_policy(0), data)
    assert len(passes) == 1
