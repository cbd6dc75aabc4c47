"""Breaks one thing at a time in the files that carry formulas; each break must fail a test.

Mutants are made from the syntax tree (signs, comparisons, products, minima, detach, no_grad) and
from the list SWAPPED below (which model, which clamp). Each is tried in a temporary copy, never in
the working tree. Exit code 1 if one survives, or if a text listed here is no longer found.

    python tests/mutants.py [part of a file name ...]
"""

import ast
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
OPTIONS = ["-x", "--assert=plain", "-pno:cacheprovider", "-ppytest_timeout", "--timeout=180"]

ALGORITHMS = ("signals", "weights", "clipped", "pairs")
ALGORITHMS += ("bc", "filtered_bc", "rwr", "exp_rsft", "asft", "offline_ppo", "exact_ppo", "dpo")
ALGORITHMS += ("cql", "wbc", "iql", "awac", "crr", "topk_reinforce", "surrogates", "grpo")
ALGORITHMS += ("margin", "shown_items", "shown_pairs", "ipo", "robust_dpo", "losers", "sdpo")
ALGORITHMS += ("kto", "pessimistic")
ALGORITHMS += ("q_head", "q_learning", "snqn", "sa2c", "ada_grpo", "return_conditioned")
LOSSES = ("negatives", "one_pass", "sampled_softmax", "gbce")
FILES = ["ops/softmax.py", "ops/logsumexp.py", "ops/log_prob.py"]
FILES += [f"algorithms/{name}.py" for name in ALGORITHMS]
FILES += [f"losses/{name}.py" for name in LOSSES]
FILES += ["catalogue_sample.py", "training/catalogue.py"]
FILES += ["models/pessimistic.py", "evaluation/over_optimisation.py", "worlds/tabular.py"]
# Tests that are not in the file of the same name.
TESTS = {
    "ops/softmax.py": ["tests/ops/test_softmax.py", "tests/ops/test_parts.py"],
    "catalogue_sample.py": ["tests/contract/test_catalogue_sample.py"],
    "training/catalogue.py": ["tests/contract/test_catalogue_sample.py"],
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
        ("leave_out(counts_NK, excluded, False)", "counts_NK"),
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
    ("algorithms/margin.py", "with torch.no_grad():"): "the reference is frozen",
    ("algorithms/losers.py", "@torch.no_grad()"): "the models that it reads are frozen",
    ("algorithms/offline_ppo.py", "with torch.no_grad():"): "the models in the block are frozen",
}

OPERATORS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*"}
COMPARISONS = {ast.Gt: (">", "<"), ast.Lt: ("<", ">"), ast.GtE: (">=", "<"), ast.LtE: ("<=", ">")}
COMPARISONS |= {ast.Eq: ("==", "!="), ast.NotEq: ("!=", "==")}
COMPARISONS |= {ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is")}
NAMES = {"minimum": "maximum", "argmin": "argmax", "no_grad": "enable_grad", "amax": "amin"}
NAMES |= {value: key for key, value in NAMES.items()}


class Mutant(NamedTuple):
    file: str
    start: int  # characters [start, end) of the file become `new`
    end: int
    new: str
    line: int
    was: str


def tests_of(file: str) -> list[str]:
    return TESTS.get(file, [str(Path("tests") / Path(file).with_name(f"test_{Path(file).name}"))])


def mutants_of(file: str) -> Iterator[Mutant]:
    source = (ROOT / "recsys_posttrain" / file).read_text()
    lines = source.splitlines(keepends=True)
    assert source.isascii(), f"{file}: the offsets below count characters"

    def at(line: int, column: int) -> int:
        return sum(map(len, lines[: line - 1])) + column

    def replaced(node: ast.expr, start: int, end: int, new: str) -> Iterator[Mutant]:
        was = lines[node.lineno - 1].strip()
        if was.startswith("@"):
            was += " " + lines[node.lineno].strip()
        if not any(file == each and was.startswith(text) for each, text in SAME):
            yield Mutant(file, start, end, new, node.lineno, was)

    def span(node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno and node.end_col_offset  # noqa: PT018
        return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            left, right = span(node.left), span(node.right)
            between = source[left[1] : right[0]]
            old = next(sign for sign in ("+", "-", "*", "/") if sign in between)
            new = between.replace(old, OPERATORS[type(node.op)], 1)
            yield from replaced(node, left[1], right[0], new)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if not (isinstance(node.operand, ast.Constant) and node.operand.value == 1):  # dim=-1
                yield from replaced(node, span(node)[0], span(node)[0] + 1, "")
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
            start, end = span(node.left)[1], span(node.comparators[0])[0]
            new = source[start:end].replace(*COMPARISONS[type(node.ops[0])], 1)
            yield from replaced(node, start, end, new)
        elif isinstance(node, ast.Attribute) and node.attr in NAMES:
            end = span(node)[1]
            yield from replaced(node, end - len(node.attr), end, NAMES[node.attr])
        elif isinstance(node, ast.Call) and source[slice(*span(node.func))].endswith(".detach"):
            yield from replaced(node, span(node.func)[1] - len(".detach"), span(node)[1], "")


def swapped(file: str, old: str, new: str) -> Mutant:
    source = (ROOT / "recsys_posttrain" / file).read_text()
    if source.count(old) != 1:
        sys.exit(f"error: {file} holds {source.count(old)} times, not once: {old!r}")
    start = source.index(old)
    line = source.count("\n", 0, start) + 1
    return Mutant(file, start, start + len(old), new, line, old.replace("\n", " "))


def mutated(mutant: Mutant) -> str:
    """The file with the change. It must be Python, or the mutant's death would say nothing."""
    source = (ROOT / "recsys_posttrain" / mutant.file).read_text()
    source = source[: mutant.start] + mutant.new + source[mutant.end :]
    ast.parse(source)
    return source


def run(mutant: Mutant | str) -> tuple[Mutant | str, int]:
    """pytest's exit code on a copy: of one file with one change, or of a file as it is."""
    file = mutant if isinstance(mutant, str) else mutant.file
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("recsys_posttrain", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "setup.cfg", copy)
        target = copy / "recsys_posttrain" / file
        if isinstance(mutant, Mutant):
            target.write_text(mutated(mutant))
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        sys.dont_write_bytecode = True
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        package = importlib.import_module("recsys_posttrain")
        assert Path(str(package.__file__)).is_relative_to(copy), "the copy must be what is run"
        return mutant, int(pytest.main([*OPTIONS, *tests_of(file)]))


def main(patterns: list[str]) -> int:
    started = time.monotonic()
    files = [file for file in FILES if not patterns or any(part in file for part in patterns)]
    mutants: list[Mutant] = [mutant for file in files for mutant in mutants_of(file)]
    mutants += [swapped(file, *texts) for file in files for texts in SWAPPED.get(file, ())]
    # A forked process has the slow imports behind it; the package itself is imported in each.
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for slow in ("pandas", "pytest_timeout", "torch.distributed.tensor", "torch.utils.checkpoint"):
        importlib.import_module(slow)

    survived: list[Mutant] = []
    with multiprocessing.get_context("fork").Pool(WORKERS, maxtasksperchild=1) as pool:
        for file, code in pool.imap_unordered(run, files):
            if code != 0:
                sys.exit(f"error: {' '.join(tests_of(str(file)))} fails without any mutation")
        for done, (mutant, code) in enumerate(pool.imap_unordered(run, mutants), start=1):
            assert isinstance(mutant, Mutant)
            if code not in (1, 2, 4):  # a test failed; it, or its conftest, could not be imported
                survived.append(mutant)
            seconds = time.monotonic() - started
            print(f"\r{done}/{len(mutants)} mutants, {seconds:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    print(f"{'file':<28}{'mutants':>8}{'killed':>8}{'survived':>10}")
    for file in files:
        tried, alive = (sum(each.file == file for each in group) for group in (mutants, survived))
        print(f"{file:<28}{tried:>8}{tried - alive:>8}{alive:>10}")
    for mutant in sorted(survived):
        print(f"survived: {mutant.file}:{mutant.line}: {mutant.was}  ->  {mutant.new!r}")
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
