"""Asks public packages for their losses on the inputs of inputs.py; writes peers.json.

    pip install trl torchrl d3rlpy seaborn pyieoe; pip install --no-deps obp    (in one of its own)
    python tests/oracles/ask_peers.py

Each loss is the package's own method, called on one row at a time, with what it asks of its trainer
in the place of a trainer. peers.json holds the versions, and for every row the loss and its
gradient; test_peers.py compares ours with them.
"""

import json
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import torch
from d3rlpy.algos.qlearning.torch.awac_impl import AWACImpl
from d3rlpy.algos.qlearning.torch.cql_impl import DiscreteCQLImpl
from d3rlpy.algos.qlearning.torch.crr_impl import CRRImpl
from d3rlpy.algos.qlearning.torch.iql_impl import IQLImpl
from inputs import ITEMS, ROWS, inputs
from obp import ope
from tensordict import TensorDict
from torch import nn
from torchrl.modules import QValueActor
from torchrl.objectives import DiscreteCQLLoss, IQLLoss, ValueEstimators
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

FOLDER = Path(__file__).parent
GIVEN = {name: torch.from_numpy(values) for name, values in inputs().items()}
torch.set_default_dtype(torch.float64)


def trainer(**fields):
    """What a loss of TRL reads of its trainer."""
    machine = SimpleNamespace(
        device="cpu",
        gather=torch.clone,
        gather_for_metrics=torch.clone,
        num_processes=1,
        reduce=lambda value, reduction: value,
    )
    return SimpleNamespace(
        accelerator=machine,
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **fields,
    )


def model_of(log_probs):
    """A model of sequences of two tokens, the second of which has these log-probabilities."""
    column = log_probs[:, None]
    fields = {name: torch.zeros_like(column) for name in ("entropy", "mean_logits")}
    answer = SimpleNamespace(log_probs=column, is_top1=column > 0, **fields)
    return lambda **_: answer


def by_row(loss_of, *names):
    """Loss and gradient in the first input, row by row."""
    loss_R, gradient_R = [], []
    for row in range(ROWS):
        first, *others = (GIVEN[name][row].clone() for name in names)
        first.requires_grad_()
        loss = loss_of(first, *others)
        (gradient,) = torch.autograd.grad(loss, first)
        loss_R.append(loss.item())
        gradient_R.append(gradient.tolist())
    return {"loss": loss_R, "gradient": gradient_R}


PAIR = "policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected"
TWO_TOKENS = {
    "input_ids": torch.zeros(2, 2, dtype=torch.long),
    "attention_mask": torch.ones(2, 2),
    "completion_mask": torch.tensor([[0, 1], [0, 1]]),
}


def pair_loss(loss_type, beta, label_smoothing=0.0):
    asked = trainer(
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=label_smoothing,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        use_weighting=False,
    )

    def loss(chosen, rejected, reference_chosen, reference_rejected):
        given = {
            **TWO_TOKENS,
            "ref_chosen_logps": reference_chosen[None],
            "ref_rejected_logps": reference_rejected[None],
        }
        model = model_of(torch.stack([chosen, rejected]))
        return DPOTrainer._compute_loss(asked, model, given, False)

    return by_row(loss, *PAIR)


def kto(beta, good_weight, bad_weight):
    asked = trainer(
        beta=beta,
        loss_type="kto",
        desirable_weight=good_weight,
        undesirable_weight=bad_weight,
        precompute_ref_logps=True,
        calculate_KL=True,
    )

    def loss(chosen, reference, kl, is_good):
        asked._compute_kl_logps = lambda model, batch: kl[None]
        given = {name: tensor[:1] for name, tensor in TWO_TOKENS.items()}
        given |= {"label": is_good[None], "ref_logps": reference[None]}
        given["ref_KL_logps"] = torch.zeros(1)
        return KTOTrainer._compute_loss(asked, model_of(chosen[None]), given, False)

    return by_row(loss, "policy_chosen", "reference_chosen", "kl", "is_good")


def grpo(clip, kl_coefficient):
    def per_token(model, input_ids, attention_mask, kept, **_):
        return model, torch.zeros_like(model), None

    asked = trainer(
        beta=kl_coefficient,
        epsilon_low=clip,
        epsilon_high=clip,
        loss_type="grpo",
        importance_sampling_level="token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False),
        _get_per_token_logps_and_entropies=per_token,
    )

    def loss(chosen, old, reference, advantage):
        one = torch.ones(1, 1)
        given = dict.fromkeys(("prompt_ids", "prompt_mask", "completion_ids"), one)
        given |= {"completion_mask": one, "advantages": advantage[None]}
        given |= {"old_per_token_logps": old[None, None]}
        given["ref_per_token_logps"] = reference[None, None]
        return GRPOTrainer._compute_loss(asked, chosen[None, None], given)

    return by_row(loss, "policy_chosen", "old_chosen", "reference_chosen", "advantage")


def q_of(values):
    """d3rlpy's forwarder of Q functions, which knows these values."""
    return SimpleNamespace(compute_expected_q=lambda *_: values)


def conservative():
    def loss(q_V, action):
        asked = SimpleNamespace(_q_func_forwarder=q_of(q_V[None]), action_size=ITEMS)
        return DiscreteCQLImpl._compute_conservative_loss(asked, None, action[None])

    return by_row(loss, "q_RV", "action")


class Values(nn.Module):
    """A Q network whose parameters are its values."""

    def __init__(self, q_V):
        super().__init__()
        self.q = nn.Parameter(q_V)

    def forward(self, observation):
        return self.q.expand(len(observation), -1)


def q_error(alpha):
    """Discrete CQL of TorchRL without a next state: squared error and alpha times penalty."""

    def loss(q_V, action, reward):
        network = Values(q_V.detach())
        actor = QValueActor(network, in_keys=["observation"], action_space="categorical")
        asked = DiscreteCQLLoss(actor, loss_function="l2", action_space="categorical")
        asked.make_value_estimator(ValueEstimators.TD0, gamma=0.0)
        end = torch.ones(1, 1, dtype=torch.bool)
        after = {"observation": torch.zeros(1, 1), "reward": reward[None, None]}
        after |= {"done": end, "terminated": end}
        batch = {"observation": torch.zeros(1, 1), "action": action[None], "next": after}
        found = asked(TensorDict(batch, batch_size=[1]))
        value = 2 * found["loss_qvalue"] + alpha * found["loss_cql"]
        (gradient_V,) = torch.autograd.grad(
            value, list(asked.value_network_params.values(True, True))
        )
        return value.detach() + (gradient_V * (q_V - q_V.detach())).sum()

    return by_row(loss, "q_RV", "action", "reward")


def expectile(level):
    return by_row(lambda value, q: IQLLoss.loss_value_diff(q - value, level), "value", "q")


def weight_of_iql(temperature, cap):
    batch = SimpleNamespace(observations=None, actions=None)

    def weight(value, q):
        asked = SimpleNamespace(
            _targ_q_func_forwarder=q_of(q),
            _modules=SimpleNamespace(value_func=lambda _: value),
            _weight_temp=1 / temperature,
            _max_weight=cap,
        )
        return IQLImpl._compute_weight(asked, batch)

    return by_row(weight, "value", "q")["loss"]


def weight_of_crr(temperature, cap):
    kind = "binary" if temperature is None else "exp"

    asked = SimpleNamespace(
        _compute_advantage=lambda *_: GIVEN["advantage"],
        _weight_type=kind,
        _beta=temperature,
        _max_weight=cap,
    )
    return CRRImpl._compute_weight(asked, None, None).double().tolist()


def weight_of_awac(temperature):
    """Of all rows as one batch: V = 0, so that Q is the advantage."""
    q = GIVEN["advantage"][:, None]
    draws = 4

    def expected(observations, actions, _):
        return q if len(actions) == ROWS else torch.zeros(ROWS * draws, 1)

    mean = torch.zeros(ROWS, 1)
    action = SimpleNamespace(mu=mean, squashed_mu=mean, logstd=mean)
    asked = SimpleNamespace(
        _q_func_forwarder=SimpleNamespace(compute_expected_q=expected),
        _modules=SimpleNamespace(policy=lambda _: action),
        _n_action_samples=draws,
        action_size=1,
        _lam=temperature,
    )
    return AWACImpl._compute_weights(asked, torch.zeros(ROWS, 1), q).flatten().tolist()


def value_of_policy(estimator):
    """By the Open Bandit Pipeline: propensities are the reference's, q_RV is the reward model."""
    logged = {
        "reward": GIVEN["reward"].numpy(),
        "action": GIVEN["action"].numpy(),
        "pscore": GIVEN["reference_chosen"].exp().numpy(),
        "action_dist": GIVEN["policy_RV"].numpy()[:, :, None],
    }
    model = {"estimated_rewards_by_reg_model": GIVEN["q_RV"].numpy()[:, :, None]}
    asks_model = not isinstance(estimator, ope.InverseProbabilityWeighting)
    return float(estimator.estimate_policy_value(**logged, **(model if asks_model else {})))


def main():
    answers = {
        "versions": {name: version(name) for name in ("trl", "torchrl", "d3rlpy", "obp", "torch")},
        "trl/sigmoid": pair_loss("sigmoid", 0.7),
        "trl/ipo": pair_loss("ipo", 0.7),
        "trl/robust": pair_loss("robust", 0.7, 0.1),
        "trl/aot_unpaired": pair_loss("aot_unpaired", 0.7, 0.1),
        "trl/kto": kto(0.7, 1.3, 0.6),
        "trl/grpo": grpo(0.2, 0.4),
        "trl/grpo without kl": grpo(0.2, 0.0),
        "d3rlpy/conservative": conservative(),
        "torchrl/cql": q_error(0.8),
        "torchrl/expectile": expectile(0.7),
        "d3rlpy/iql weight": weight_of_iql(0.5, 20.0),
        "d3rlpy/crr weight": weight_of_crr(0.5, 20.0),
        "d3rlpy/crr filter": weight_of_crr(None, 20.0),
        "d3rlpy/awac weight": weight_of_awac(0.5),
        "obp/dm": value_of_policy(ope.DirectMethod()),
        "obp/ips": value_of_policy(ope.InverseProbabilityWeighting()),
        "obp/snips": value_of_policy(ope.SelfNormalizedInverseProbabilityWeighting()),
        "obp/dr": value_of_policy(ope.DoublyRobust()),
        "obp/sndr": value_of_policy(ope.SelfNormalizedDoublyRobust()),
        "obp/switch-dr": value_of_policy(ope.SwitchDoublyRobust(tau=ROWS**0.5)),
    }
    lines = [f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in answers.items()]
    (FOLDER / "peers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
