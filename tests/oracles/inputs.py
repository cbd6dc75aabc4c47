"""Random float64 inputs of the losses, the same here and in the environment of the peers."""

import numpy as np

ROWS, ITEMS = 24, 11


def inputs():
    """One number per row unless the name ends in _RV (items)."""
    draw = np.random.default_rng(20260326)
    logits_RV = {name: draw.normal(0, 2, (ROWS, ITEMS)) for name in ("policy", "old", "reference")}
    log_RV = {
        name: logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        for name, logits in logits_RV.items()
    }
    items_R2 = np.array([draw.permutation(ITEMS)[:2] for _ in range(ROWS)])
    chosen_R, rejected_R = items_R2.T
    row_R = np.arange(ROWS)
    at = {}
    for name, log_prob_RV in log_RV.items():
        at[f"{name}_chosen"] = log_prob_RV[row_R, chosen_R]
        at[f"{name}_rejected"] = log_prob_RV[row_R, rejected_R]
    return {
        **at,
        "action": chosen_R,
        "policy_RV": np.exp(log_RV["policy"]),
        "q_RV": draw.normal(3, 1.5, (ROWS, ITEMS)),
        "reward": draw.integers(1, 6, ROWS).astype(float),
        "value": draw.normal(3, 1, ROWS),
        "q": draw.normal(3, 1.5, ROWS),
        "advantage": draw.normal(0, 1.5, ROWS),
        "kl": draw.normal(0, 1, ROWS),
        "is_good": draw.random(ROWS) < 0.5,
    }
