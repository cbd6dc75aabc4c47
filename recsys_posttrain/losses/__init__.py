"""Every loss of pretraining, one import line each."""

from recsys_posttrain.losses.full_softmax import FullSoftmax as FullSoftmax
from recsys_posttrain.losses.gbce import GBCE as GBCE
from recsys_posttrain.losses.sampled_softmax import SampledSoftmax as SampledSoftmax
