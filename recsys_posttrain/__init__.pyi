"""What type checkers and editors see of __init__.py, which imports a name when it is asked for."""

from recsys_posttrain.algorithms import *
from recsys_posttrain.api import compare as compare
from recsys_posttrain.api import load as load
from recsys_posttrain.api import off_policy as off_policy
from recsys_posttrain.data import GlobalTime as GlobalTime
from recsys_posttrain.data import HoldOut as HoldOut
from recsys_posttrain.data import LeaveOneOut as LeaveOneOut
from recsys_posttrain.data import UserHoldout as UserHoldout
from recsys_posttrain.data.encode import encode as encode
from recsys_posttrain.errors import UserError as UserError
from recsys_posttrain.evaluation.evaluate import evaluate as evaluate
from recsys_posttrain.evaluation.true_value import true_value as true_value
from recsys_posttrain.export import export_onnx as export_onnx
from recsys_posttrain.guard import Guard as Guard
from recsys_posttrain.losses import GBCE as GBCE
from recsys_posttrain.losses import FullSoftmax as FullSoftmax
from recsys_posttrain.losses import SampledSoftmax as SampledSoftmax
from recsys_posttrain.models import HSTU as HSTU
from recsys_posttrain.models import ItemFeatures as ItemFeatures
from recsys_posttrain.models import SASRec as SASRec
from recsys_posttrain.models.new_items import add_items as add_items
from recsys_posttrain.models.own import policy_of as policy_of
from recsys_posttrain.plan import Training as Training
from recsys_posttrain.reward_scale import Thresholds as Thresholds
from recsys_posttrain.rewards.factor import RewardFactors as RewardFactors
from recsys_posttrain.rewards.own import RewardFunction as RewardFunction
from recsys_posttrain.rewards.own import RewardRegressor as RewardRegressor
from recsys_posttrain.rewards.own_predictions import RewardPredictions as RewardPredictions
from recsys_posttrain.serve import load_policy as load_policy
from recsys_posttrain.serve import recommend as recommend
from recsys_posttrain.serve import save_policy as save_policy
from recsys_posttrain.studies.run import Run as Run
from recsys_posttrain.studies.setup import Setup as Setup
from recsys_posttrain.tomorrow.go_on import posttrain_from as posttrain_from
from recsys_posttrain.training.ensemble import RewardEnsemble as RewardEnsemble
from recsys_posttrain.training.posttrain import posttrain as posttrain
from recsys_posttrain.training.pretrain import pretrain as pretrain
from recsys_posttrain.training.reward import train_reward as train_reward
from recsys_posttrain.untrained import *
from recsys_posttrain.worlds.base import truth_of as truth_of
from recsys_posttrain.worlds.jester import Jester as Jester

__version__: str
