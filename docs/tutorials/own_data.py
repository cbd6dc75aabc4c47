"""From a data frame of your own to a table, lists and a saved policy.

    python docs/tutorials/own_data.py

About a minute. A log has one row for each thing that somebody chose: who, what, how much it was
worth to them, and when. Here it comes from a file with other names than ours, as logs do.
"""

import sys

import made_log
import pandas as pd

import recsys_posttrain as rp

people = int(sys.argv[1]) if sys.argv[1:] else 600

# A file such as yours. The worth of a choice is the number of minutes watched, 20 a star here.

drawn = made_log.draw(people)[0]
drawn["rating"] = 20 * drawn["rating"]
drawn.columns = ["viewer", "title", "minutes", "began"]
drawn.to_csv("watched.csv", index=False)

# Names that we do not know are given once. What is printed first says how rewards are read: any
# unit is brought to stars, so that temperatures mean the same for every log.

frame = pd.read_csv("watched.csv")
names = {"user_id": "viewer", "item_id": "title", "rating": "minutes", "timestamp": "began"}
data = rp.load(frame, columns=names)
print(data.corpus)
print(data.corpus.reward_scale)

# Two models are trained: the policy, which ranks what comes next, and the reward model, which
# predicts minutes.

policy, _ = rp.pretrain(data)
reward, _ = rp.train_reward(data)

# Three ways to use rewards. The tilt trains nothing: it multiplies the policy's probabilities by
# exp(predicted reward / temperature). BC trains on without looking at rewards. What A-SFT adds must
# show against both.

tilt = rp.Tilt(temperature=0.5).ranker(rp.Given(data, policy, reward))
cloned, _ = rp.posttrain(policy, data, rp.BC(), reward)
better, _ = rp.posttrain(policy, data, rp.ASFT(temperature=0.5), reward)

# The test target of a viewer is the last title watched. `all` counts every target, `liked` those
# whose reward is liked. A mark † means that a difference to the control is more than chance.

rankers = {"Pretrained": policy, "Tilt": tilt, "BC": cloned, "ASFT": better}
results = {name: rp.evaluate(each, data, reward) for name, each in rankers.items()}
print(rp.compare(results, control="BC").markdown())

# One row for each target, with your own ids, for any further question.

print(results["ASFT"].per_user[["user_id", "item_id", "rank", "ndcg@10"]].head())

# Lists, best first, of titles that the viewer did not have; and the policy as a folder, which
# `recsys-posttrain recommend` and `live materialize` read too.

print(rp.recommend(better, frame, k=3, users=["u0", "u1"], columns=names))
rp.save_policy(better, "my_policy", data)
again = rp.recommend(rp.load_policy("my_policy"), frame, k=3, users=["u0", "u1"], columns=names)
print(again)
