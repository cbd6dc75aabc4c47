"""Worlds with known truth: the reward of every choice, for judging policies exactly."""
