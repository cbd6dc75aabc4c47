"""Which strength for each algorithm? Three trials each, looked at on validation targets only:

    recsys-posttrain run experiments/strengths.py --dataset ml-1m --on validation

BC and RWR have no strength. The main study takes the trial with the highest NDCG@10 on liked
validation targets; what was chosen is in README.md beside this file.
"""

from dataclasses import replace

from recsys_posttrain.algorithms import ASFT, BC, DPO, RWR, ExpRSFT, OfflinePPO
from recsys_posttrain.algorithms.signals import model_reward, reference_value
from recsys_posttrain.studies.run import Run

BASE = Run(algorithm=BC())
TUNING = "this table is the tuning: three trials for each algorithm that has a strength"
TEMPERATURES = (0.5, 1.0, 2.0)

RUNS = [
    BASE,
    replace(BASE, algorithm=RWR()),
    *(
        replace(BASE, name=f"ExpRSFT temperature {value:g}", algorithm=ExpRSFT(temperature=value))
        for value in TEMPERATURES
    ),
    *(
        replace(BASE, name=f"ASFT temperature {value:g}", algorithm=ASFT(temperature=value))
        for value in TEMPERATURES
    ),
    *(
        replace(
            BASE,
            name=f"ASFT-model temperature {value:g}",
            algorithm=ASFT(model_reward, reference_value, temperature=value),
        )
        for value in TEMPERATURES
    ),
    *(
        replace(BASE, name=f"OfflinePPO kl {value:g}", algorithm=OfflinePPO(kl_coefficient=value))
        for value in (0.5, 1.0, 2.0)
    ),
    *(
        replace(BASE, name=f"DPO beta {value:g}", algorithm=DPO(beta=value))
        for value in (0.5, 2.0, 8.0)
    ),
]
