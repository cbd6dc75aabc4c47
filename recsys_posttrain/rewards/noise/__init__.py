"""Noise in the reward: one kind per class, in stars (reward_scale.py). `RewardNoise` says where."""

from recsys_posttrain.rewards.noise.bias import ItemBias as ItemBias
from recsys_posttrain.rewards.noise.bias import PopularityBias as PopularityBias
from recsys_posttrain.rewards.noise.bias import UserBias as UserBias
from recsys_posttrain.rewards.noise.data_noise import Flips as Flips
from recsys_posttrain.rewards.noise.data_noise import Starvation as Starvation
from recsys_posttrain.rewards.noise.gaussian import Gaussian as Gaussian
from recsys_posttrain.rewards.noise.gaussian import Independent as Independent
from recsys_posttrain.rewards.noise.log import NoisyLog as NoisyLog
from recsys_posttrain.rewards.noise.mixture import TruthShare as TruthShare
from recsys_posttrain.rewards.noise.optimism import RareOptimism as RareOptimism
from recsys_posttrain.rewards.noise.reward_noise import RewardNoise as RewardNoise
