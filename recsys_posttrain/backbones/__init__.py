"""Every backbone, one import line each; saved policies and the contract suite find them here."""

from recsys_posttrain.backbones.hstu import HSTU as HSTU
from recsys_posttrain.backbones.sasrec import SASRec as SASRec
