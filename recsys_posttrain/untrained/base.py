"""The contract of a method without training: a frozen dataclass that names a ranker.

    tilt = Tilt(temperature=0.1).ranker(Given(data, policy, reward))
    evaluate(tilt, data, reward, policy)

A `Run` takes one as its algorithm. It has no steps, so it is evaluated once where no seed changes
what it reads.
"""

from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from recsys_posttrain.config import require
from recsys_posttrain.models.policy import Policy
from recsys_posttrain.models.ranker import Ranker
from recsys_posttrain.models.reward_model import RewardModel
from recsys_posttrain.types import Sequences, Split, Targets

T = TypeVar("T")

# The logits of a method that has only an order are its scores times this: its policy is then its
# first item. A power of two, so that no score is rounded.
SHARP = 2.0**20


class Given(NamedTuple):
    """What a method may read. None: it is not known here, and a method that needs it says so.

    reference: pi_ref.
    reward: r_hat, with its errors where there is noise.
    log: the training log, with its errors where there is noise; None: data.train.
    targets: what will be ranked, none of which may be read but for histories and times; None:
        data.test.
    """

    data: Split
    reference: Policy | None = None
    reward: RewardModel | None = None
    log: Sequences | None = None
    targets: Targets | None = None


@runtime_checkable
class Untrained(Protocol):
    """Optional members:
    reads_rewards: ClassVar[bool] = True: False for a method that reads neither logged rewards nor
        the reward model; it also runs on logs without rewards.
    reads_log: ClassVar[bool] = False: True for a method that reads logged rewards, and no model.
    """

    def ranker(self, given: Given) -> Ranker: ...


def needed(method: object, what: str, value: T | None) -> T:
    """The value. Raises: UserError where it is None."""
    name = type(method).__name__
    require(
        value is not None, f"{name} needs the {what} and was given none: Given(data, {what}=...)."
    )
    assert value is not None
    return value
