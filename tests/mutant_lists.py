"""What tests/mutants.py breaks besides what the syntax tree gives, and what it leaves alone."""

NAMED = """
    signals weights clipped pairs bc filtered_bc rwr exp_rsft asft offline_ppo exact_ppo dpo cql wbc
    iql awac crr topk_reinforce surrogates grpo margin shown_items shown_pairs ipo robust_dpo losers
    sdpo kto pessimistic q_head q_learning snqn sa2c ada_grpo return_conditioned
"""
ALGORITHMS = tuple(NAMED.split())
LOSSES = ("negatives", "one_pass", "sampled_softmax", "gbce")
FILES = ["ops/softmax.py", "ops/logsumexp.py", "ops/log_prob.py"]
FILES += [f"algorithms/{name}.py" for name in ALGORITHMS]
FILES += [f"losses/{name}.py" for name in LOSSES]
FILES += ["catalogue_sample.py", "training/catalogue.py"]
FILES += ["models/pessimistic.py", "evaluation/off_policy.py", "evaluation/over_optimisation.py"]
FILES += ["worlds/tabular.py"]
# Tests that are not in the file of the same name.
TESTS = {
    "ops/softmax.py": ["tests/ops/test_softmax.py", "tests/ops/test_parts.py"],
    "catalogue_sample.py": ["tests/contract/test_catalogue_sample.py"],
    "training/catalogue.py": ["tests/contract/test_catalogue_sample.py"],
    "evaluation/off_policy.py": [
        "tests/evaluation/test_off_policy.py",
        "tests/evaluation/test_off_policy_rows.py",
    ],
}

# Which model, which data, which bound: file -> (text found exactly once, replacement).
SWAPPED = {
    "algorithms/signals.py": [
        ("batch.real(batch.history_rewards_BT", "batch.real(batch.rewards_BT"),
        ("return batch.reward_N", "return batch.real(batch.history_rewards_BT)"),
        ("trains_policy=False", "trains_policy=True"),
        ("actors.reference.softmax", "actors.policy.softmax"),
    ],
    "algorithms/bc.py": [
        ("torch.ones_like(", "-torch.ones_like("),
        ("torch.ones_like(batch.reward_N)", "batch.reward_N"),
    ],
    "algorithms/rwr.py": [("mean = actors.log.rewards_E", "mean = batch.reward_N")],
    "algorithms/exp_rsft.py": [
        ("in (actors.log.rewards_E, reward_N)", "in (reward_N, reward_N)"),
        ("centre = actors.log.rewards_E.mean()", "centre = reward_N.mean()"),
        ("log_mean_exp(capped(exponent_E, self.weight_cap, centre))", "log_mean_exp(exponent_E)"),
        (".logsumexp(dim=0)", ".exp().sum(dim=0).log()"),
        (".logsumexp(dim=0)", ".amax(dim=0)"),
    ],
    "algorithms/asft.py": [
        ("explained_share(baseline_N, batch.reward_N)", "explained_share(baseline_N, reward_N)"),
        ("value_error(baseline_N, reward_N)", "value_error(reward_N, baseline_N)"),
    ],
    "algorithms/weights.py": [("exponent.minimum(", "exponent.maximum(")],
    "algorithms/offline_ppo.py": [
        ("old, drawn = actors.old_at(batch)", "old, drawn = actors.policy"),
        ("actors.reference.log_prob(", "actors.old.log_prob("),
        ("actors.policy.loss_of_log_prob(", "actors.old.loss_of_log_prob("),
    ],
    "algorithms/exact_ppo.py": [
        ("chunk.old_log_prob_CV.exp()", "chunk.reference_log_prob_CV.exp()"),
        ("(old_CV * chunk.reward_CV)", "(new_CV * chunk.reward_CV)"),
        ("chunk.policy_log_prob_CV - chunk", "chunk.old_log_prob_CV - chunk"),
    ],
    "algorithms/pairs.py": [
        ("actors.reference.sample(", "actors.policy.sample("),
        ("is_sure_N & (chosen_N != rejected_N)", "is_sure_N"),
        ("is_better_N & (chosen_N != rejected_N)", "is_better_N"),
    ],
    "algorithms/cql.py": [
        ("actors.log.rewards_E.mean()", "reward_N.mean()"),
        ("value_error(q_N, reward_N)", "value_error(q_N, batch.reward_N * 0)"),
    ],
    "algorithms/wbc.py": [
        ("self.reward(batch, actors)", "batch.reward_N"),
        ("rewards_E = actors.log.rewards_E", "rewards_E = batch.reward_N"),
    ],
    "algorithms/iql.py": [
        ("expectile_error(value_N, q_N, self.level)", "expectile_error(q_N, value_N, self.level)"),
        ("explained_share(value_N, batch.reward_N)", "explained_share(value_N, q_N)"),
    ],
    "algorithms/awac.py": [("(position_N == 0).cumsum(dim=0)", "(position_N == 0).long()")],
    "algorithms/topk_reinforce.py": [
        ("actors.reference.log_prob(", "actors.old.log_prob("),
        ("if batch.propensity_N is None", "if True"),
        (".clamp(min=0)", ".clamp(max=0)"),
    ],
    "algorithms/surrogates.py": [
        ("difference.clamp(max=LARGEST)", "difference"),
        ("torch.maximum(old, torch.where", "torch.minimum(old, torch.where"),
    ],
    "algorithms/grpo.py": [
        ("actors.old_at(batch).sample(", "actors.policy.sample("),
        ("actors.reference.log_prob(", "actors.old.log_prob("),
        ("actors.policy.loss_of_log_prob", "actors.old.loss_of_log_prob"),
    ],
    "algorithms/q_head.py": [
        ('trains_policy=name == "q"', "trains_policy=False"),
        ("None, excluded)", "None, None)"),
        ("leave_out(counted_NK, excluded, False)", "counted_NK"),
    ],
    "algorithms/q_learning.py": [
        ('q_values("target", batch', 'q_values("q", batch'),
        ("target.of(q.best(", "target.of(target.best("),
        ("later_N.roll(-1)", "later_N.roll(1)"),
        ("where(batch.is_last_N, 0, ", "where(batch.is_last_N < 0, 0, "),
        ("mean = actors.log.rewards_E", "mean = batch.reward_N"),
        ("self.reward(batch, actors)", "batch.reward_N"),
    ],
    "algorithms/sa2c.py": [("clamp(min=0, ", "clamp("), ("max=self.weight_cap", "max=None")],
    "algorithms/ada_grpo.py": [("self.group.after_step(actors)", "pass")],
    "algorithms/return_conditioned.py": [("self.reward(batch, actors)", "batch.reward_N")],
    "algorithms/margin.py": [
        ("actors.policy.log_prob(", "actors.reference.log_prob("),
        ("actors.reference.log_prob(", "actors.policy.log_prob("),
        ("nll_coefficient * log_prob_N2[:, 0]", "nll_coefficient * log_prob_N2[:, 1]"),
        ("log_prob_N2, kept_N, beta), kept_N)", "log_prob_N2, kept_N, beta))"),
    ],
    "algorithms/losers.py": [
        ("actors.reference.sample(", "actors.policy.sample("),
        ("is_sure_NK & (items_NK != best_NK)", "is_sure_NK"),
        ("rejected_NK = drawn_NK != logged_N1", "rejected_NK = drawn_NK > 0"),
        ("torch.zeros_like(logged_N1,", "torch.ones_like(logged_N1,"),
    ],
    "algorithms/sdpo.py": [
        ("is_out_NK[:, 0] = False", "is_out_NK[:, 0] = True"),
        ("LossOutput(loss_N, metrics, kept_N)", "LossOutput(loss_N, metrics)"),
    ],
    "algorithms/pessimistic.py": [
        ("actors.reward = reward\n", "pass\n"),
        ("return heads_of(self.method, dim, num_items)", "return {}"),
        ("after_step(self.method, actors)", "pass"),
    ],
    "algorithms/kto.py": [
        ("actors.policy.sample(", "actors.reference.sample("),
        ("actors.reference.log_prob(batch, drawn_NS)", "actors.old.log_prob(batch, drawn_NS)"),
        ("actors.reference.log_prob(batch, items_NK)", "actors.old.log_prob(batch, items_NK)"),
        (".clamp(min=0)", ""),
        ("-gain, gain)", "gain, -gain)"),
        ("(sign_NK != 0).any(dim=1)", "(sign_NK > 0).any(dim=1)"),
        ("kl_N.mean()", "kl_N.sum()"),
    ],
}

# (file, start of the line) whose mutants change nothing that can be observed, and why.
SAME = {
    ("ops/softmax.py", "@torch.no_grad() def sample_items("): "item ids have no gradient anyway",
    ("algorithms/signals.py", "@torch.no_grad()"): "the models that it reads are frozen",
    ("losses/negatives.py", "index_K = torch.searchsorted("): "the last share is 1 up to rounding",
    ("losses/negatives.py", "index_K = index_K.clamp_("): "it only catches rounding",
    ("algorithms/q_learning.py", "goal_N, goal_NK = goal_N *"): "a sign is its own inverse",
    ("training/catalogue.py", "@torch.no_grad()"): "the reference is frozen",
    ("algorithms/pairs.py", "@torch.no_grad()"): "the models that it reads are frozen",
    ("evaluation/off_policy.py", "@torch.no_grad()"): "the models that it reads are frozen",
    ("algorithms/margin.py", "with torch.no_grad():"): "the reference is frozen",
    ("algorithms/losers.py", "@torch.no_grad()"): "the models that it reads are frozen",
    ("algorithms/offline_ppo.py", "with torch.no_grad():"): "the models in the block are frozen",
}
