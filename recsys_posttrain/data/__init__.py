"""Data: where ratings come from, and the sequences and splits that they become.

Importing this is cheap: torch, pandas and datasets are imported when they are used.
"""

from recsys_posttrain.data.audit import audit, audit_lines, rewards_line
from recsys_posttrain.data.beliefs import MovieLensBeliefs
from recsys_posttrain.data.global_time import GlobalTime
from recsys_posttrain.data.hold_out import HoldOut
from recsys_posttrain.data.joined import JoinedLogs
from recsys_posttrain.data.kuairand import KuaiRand, KuaiRandUniform
from recsys_posttrain.data.kuairec import KuaiRec
from recsys_posttrain.data.movielens import MovieLens1M, MovieLens100K, MovieLensSmall
from recsys_posttrain.data.prepare import Dataset, prepare
from recsys_posttrain.data.split import LeaveOneOut, SplitConfig
from recsys_posttrain.data.table_file import RatingsFile
from recsys_posttrain.data.user_holdout import UserHoldout
from recsys_posttrain.data.yambda import Yambda

__all__ = [
    "Dataset",
    "GlobalTime",
    "HoldOut",
    "JoinedLogs",
    "KuaiRand",
    "KuaiRandUniform",
    "KuaiRec",
    "LeaveOneOut",
    "MovieLens1M",
    "MovieLens100K",
    "MovieLensBeliefs",
    "MovieLensSmall",
    "RatingsFile",
    "SplitConfig",
    "UserHoldout",
    "Yambda",
    "audit",
    "audit_lines",
    "prepare",
    "rewards_line",
]
