"""Q-learning in NumPy, for tests of the methods with a Q head."""

import numpy as np
import torch


def perturb(heads, seed=0):
    """No head is 0, and the target is not the head."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter += 0.2 * torch.randn(
                parameter.shape, generator=generator, dtype=torch.float64
            )


def table(actors, name):
    """Q of all items in all contexts, where item vectors are unit vectors, [X, V]."""
    weight, bias = (each.detach().numpy() for each in actors.heads[name].parameters())
    output = actors.policy.backbone.logits.detach().numpy() @ weight.T + bias
    return output[:, :-1] + 30 * output[:, -1:]


def oracle(batch, actors, rewards, negative, discount, signs=None):
    """The error of each position, all items of the catalogue drawn once; the log's mean is 3."""
    q, target, n, errors = table(actors, "q"), table(actors, "target"), 0, []
    catalogue = q.shape[1]
    signs = np.ones((len(rewards), 1 + catalogue)) if signs is None else signs
    for length in batch.mask_BT.sum(dim=1).tolist():
        contexts = (batch.real(batch.history_BT)[n : n + length] - 1).tolist()
        value = [target[x, q[x].argmax()] for x in contexts]
        for t, x in enumerate(contexts):
            a, error = int(batch.action_N[n]) - 1, 0.0
            if t + 1 < length:
                goal = rewards[n] - 3 + discount * value[t + 1]
                error += (q[x, a] - signs[n, 0] * goal) ** 2
            goal = negative - 3 + discount * value[t]
            others = [(q[x, v] - signs[n, 1 + v] * goal) ** 2 for v in range(catalogue) if v != a]
            errors.append(error + sum(others) / len(others))
            n += 1
    return errors


def assert_renews_every_third_step(algorithm, actors):
    """Of heads that differ: the target is the head's copy after step 3, and not before."""
    for step, is_same in ((2, False), (3, True)):
        actors.step = step
        algorithm.after_step(actors)
        q, target = (actors.heads[name].bias for name in ("q", "target"))
        assert torch.equal(q, target) == is_same
