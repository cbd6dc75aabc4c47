"""Weights that are saved while a policy is post-trained, for a curve of what it gains."""

SNAPSHOT = "step-{:06d}.safetensors"


def snapshot_steps(count: int, last: int) -> set[int]:
    """The steps after which weights are saved: at most `count`, the last one included.

    They grow by about the same factor, because the policy moves most in the first steps.
    """
    return {round(last ** (n / count)) for n in range(1, count + 1)}
