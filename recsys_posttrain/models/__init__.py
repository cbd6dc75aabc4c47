"""Every backbone, one import line each; saved policies and the contract suite find them here."""

from recsys_posttrain.models.features import ItemFeatures as ItemFeatures
from recsys_posttrain.models.hstu import HSTU as HSTU
from recsys_posttrain.models.own import OwnEncoder as OwnEncoder
from recsys_posttrain.models.sasrec import SASRec as SASRec
