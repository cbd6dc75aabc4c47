"""Methods without training, one import line each: the rows that a trained method has to beat."""

from recsys_posttrain.untrained.base import Given as Given
from recsys_posttrain.untrained.lists import BestFixedList as BestFixedList
from recsys_posttrain.untrained.lists import ItemMean as ItemMean
from recsys_posttrain.untrained.lists import Popularity as Popularity
from recsys_posttrain.untrained.lists import Uniform as Uniform
from recsys_posttrain.untrained.tilt import Pretrained as Pretrained
from recsys_posttrain.untrained.tilt import RewardArgmax as RewardArgmax
from recsys_posttrain.untrained.tilt import Tilt as Tilt
