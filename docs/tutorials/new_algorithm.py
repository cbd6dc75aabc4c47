"""A new algorithm in 30 minutes: write it, check it, and run it beside the others.

    python docs/tutorials/new_algorithm.py

About a minute. The idea: clone an item by the chance that it was better than expected,

    loss = -w log pi(a | x),   w = sigmoid((r - b) / temperature)

with r the logged reward and b what the pretrained policy earns there on average, by the reward
model. Weights are between 0 and 1, so none needs a cap.
"""

import sys
from dataclasses import dataclass

import made_log
import torch
from torch import Tensor

import recsys_posttrain as rp
from recsys_posttrain.algorithms.actors import Actors
from recsys_posttrain.algorithms.signals import Signal, reference_value
from recsys_posttrain.algorithms.weights import weight_metrics
from recsys_posttrain.types import Batch, LossOutput

# The formula stands alone, as a function of tensors: then it can be checked by hand.


def weight(reward: Tensor, baseline: Tensor, temperature: float) -> Tensor:
    return torch.sigmoid((reward - baseline) / temperature)


# The algorithm is a frozen dataclass. Its fields are its settings, and its one method returns a
# loss for each real position of a batch and reduces nothing. `weighted_nll` is -w log pi(a | x) in
# one pass over the catalogue; no gradient flows into the weight.


@dataclass(frozen=True)
class SigmoidBC:
    temperature: float = 0.5  # in stars
    baseline: Signal = reference_value

    def loss(self, batch: Batch, actors: Actors) -> LossOutput:
        baseline_N = self.baseline(batch, actors)
        weight_N = weight(batch.reward_N, baseline_N, self.temperature)
        return LossOutput(actors.policy.weighted_nll(batch, weight_N), weight_metrics(weight_N))


# By hand: as good as expected is one half; far better is 1, far worse 0. With a very high
# temperature every weight is one half, and the method is BC at half the rate.

three = weight(torch.tensor([3.0, 5.0, 1.0]), torch.tensor([3.0, 3.0, 3.0]), temperature=0.1)
assert torch.allclose(three, torch.tensor([0.5, 1.0, 0.0]), atol=1e-6), three
assert torch.allclose(weight(torch.tensor([1.0, 5.0]), torch.zeros(2), 1e6), torch.tensor(0.5))

# In a world that we drew ourselves, the true worth of a list is known.

log, truth = made_log.draw(int(sys.argv[1]) if sys.argv[1:] else 600)
data = rp.load(log)
policy, _ = rp.pretrain(data)
reward, _ = rp.train_reward(data)

# Beside the others, from the same policy, with the same batches and steps. It is worth something if
# it beats BC, which reads no rewards, and the tilt, which trains nothing. A second run with the
# rewards shuffled must lose the gain: otherwise it did not come from the rewards.

results = {"Pretrained": rp.evaluate(policy, data)}
tilt = rp.Tilt(temperature=0.5).ranker(rp.Given(data, policy, reward))
results["Tilt"] = rp.evaluate(tilt, data)
for algorithm in (rp.BC(), rp.ASFT(temperature=0.5), SigmoidBC()):
    better, _ = rp.posttrain(policy, data, algorithm, reward)
    results[type(algorithm).__name__] = rp.evaluate(better, data)
shuffled = rp.load(log.assign(rating=log["rating"].sample(frac=1, random_state=0).to_numpy()))
better, _ = rp.posttrain(policy, shuffled, SigmoidBC(), reward)
results["SigmoidBC, shuffled"] = rp.evaluate(better, data)

print(rp.compare(results, control="BC").markdown())
for name, result in results.items():
    print(f"{name:<20} true stars of lists of five: {made_log.worth(result, data, truth):.3f}")

# To keep it: recsys_posttrain/ADDING.md has the same steps for a file of the package, with the
# suites that every algorithm must pass; a study file of your own may import it from where it is.
