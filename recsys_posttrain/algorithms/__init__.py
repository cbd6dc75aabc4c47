"""Every algorithm, one import line each; the contract suite finds them here."""

from recsys_posttrain.algorithms.ada_grpo import AdaGRPO as AdaGRPO
from recsys_posttrain.algorithms.asft import ASFT as ASFT
from recsys_posttrain.algorithms.awac import AWAC as AWAC
from recsys_posttrain.algorithms.bc import BC as BC
from recsys_posttrain.algorithms.cql import CQL as CQL
from recsys_posttrain.algorithms.crr import CRR as CRR
from recsys_posttrain.algorithms.dpo import DPO as DPO
from recsys_posttrain.algorithms.exact_ppo import ExactPPO as ExactPPO
from recsys_posttrain.algorithms.exp_rsft import ExpRSFT as ExpRSFT
from recsys_posttrain.algorithms.filtered_bc import FilteredBC as FilteredBC
from recsys_posttrain.algorithms.grpo import GRPO as GRPO
from recsys_posttrain.algorithms.ipo import IPO as IPO
from recsys_posttrain.algorithms.iql import IQL as IQL
from recsys_posttrain.algorithms.kto import KTO as KTO
from recsys_posttrain.algorithms.offline_ppo import OfflinePPO as OfflinePPO
from recsys_posttrain.algorithms.pessimistic import Pessimistic as Pessimistic
from recsys_posttrain.algorithms.return_conditioned import ReturnConditioned as ReturnConditioned
from recsys_posttrain.algorithms.robust_dpo import RobustDPO as RobustDPO
from recsys_posttrain.algorithms.rwr import RWR as RWR
from recsys_posttrain.algorithms.sa2c import SA2C as SA2C
from recsys_posttrain.algorithms.sdpo import SDPO as SDPO
from recsys_posttrain.algorithms.snqn import SNQN as SNQN
from recsys_posttrain.algorithms.topk_reinforce import TopKREINFORCE as TopKREINFORCE
from recsys_posttrain.algorithms.wbc import WBC as WBC
