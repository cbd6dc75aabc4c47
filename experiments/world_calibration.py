"""How much a semi-synthetic log looks like the real one, and what there is to gain in it.

    python experiments/world_calibration.py semi-ml-1m [--data-root FOLDER] [--output FOLDER]

Prints the figures and writes calibration-<world>.csv, headroom-<world>.csv and a picture,
calibration-<world>.png.
"""

import argparse
from pathlib import Path

from worlds.calibration import calibration, scatter
from worlds.picture import plot_calibration

from recsys_posttrain.data import LeaveOneOut, prepare
from recsys_posttrain.evaluation.headroom import headroom, headroom_lines
from recsys_posttrain.worlds.base import truth_of
from recsys_posttrain.worlds.catalog import dataset_named
from recsys_posttrain.worlds.semi_synthetic import SemiSyntheticMovieLens

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("world", help="semi-ml-100k or semi-ml-1m")
parser.add_argument("--data-root", help="a folder or zip that holds the real ratings")
parser.add_argument("--output", type=Path, default=Path("runs/worlds"))
options = parser.parse_args()

world = dataset_named(options.world, options.data_root)
if not isinstance(world, SemiSyntheticMovieLens):
    parser.error(f"{options.world} is no semi-synthetic world; give semi-ml-100k or semi-ml-1m")
options.output.mkdir(parents=True, exist_ok=True)
real, log = world.source.load(), world.load()
figures = calibration(real, log)
figures.loc[len(figures)] = scatter(world)
data = LeaveOneOut().split(prepare(world))
values = headroom(truth_of(world, data.corpus), data)
print(figures.round(4).to_string(), *headroom_lines(world.name, values), sep="\n")
figures.to_csv(options.output / f"calibration-{world.name}.csv")
values.to_csv(options.output / f"headroom-{world.name}.csv")
plot_calibration(real, log, options.output / f"calibration-{world.name}.png")
