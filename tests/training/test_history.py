"""What a training logged: as a frame, on disk while it runs, and in a logger of Lightning's."""

import json

import pytest
import torch
from data_factory import made_sequences
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.logger import DummyLogger

import recsys_posttrain as rp
from recsys_posttrain.algorithms import DPO
from recsys_posttrain.algorithms.pairs import SampledPairs
from recsys_posttrain.data.batching import BatchStream
from recsys_posttrain.fitted import Fitted
from recsys_posttrain.plan import Training
from recsys_posttrain.training.fit import fit
from recsys_posttrain.training.module import TrainingModule
from recsys_posttrain.training.posttrain import posttrain
from recsys_posttrain.types import LossOutput


class Kept(DummyLogger):
    """It says what it is given, in order."""

    def __init__(self):
        super().__init__()
        self.given = []

    def log_metrics(self, metrics, step=None):
        self.given.append((step, dict(metrics)))


class Seen(Callback):
    """What stands in the file after each step."""

    def __init__(self, folder):
        self.folder, self.lines = folder, []

    def on_train_batch_end(self, *arguments):
        self.lines.append(len((self.folder / "metrics.jsonl").read_text().splitlines()))


def train(folder=None, logger=None, callbacks=()):
    """12 steps with a validation after each third. The loss is minus a weight that grows by 1."""
    model, values = torch.nn.Linear(1, 1, bias=False), iter([0.5, 0.25, 0.75, 0.125])
    torch.nn.init.zeros_(model.weight)
    plan = Training(4, 1, learning_rate=1.0, warmup_steps=0)

    def objective(batch):
        return LossOutput(-model.weight[0, 0].expand_as(batch.reward_N), {})

    module = TrainingModule(model, objective, plan, 0, dropout=True)
    stream = BatchStream(made_sequences(3 * [2]), 5, 1, 4, 0)
    return fit(
        *(module, stream, folder),
        validate=lambda: {"validation/ndcg@10": next(values)},
        logger=logger,
        callbacks=callbacks,
    )


def test_history_by_hand():
    """Step 10 is logged without a validation, the others with one."""
    history = train().history
    assert history.index.tolist() == [3, 6, 9, 10, 12]
    assert history["loss"].tolist() == pytest.approx([-2, -5, -8, -9, -11], rel=1e-4)
    column = history["validation/ndcg@10"]
    assert column.dropna().tolist() == [0.5, 0.25, 0.75, 0.125]
    assert column.isna().tolist() == [False, False, False, True, False]


def test_nothing_trained_has_an_empty_history():
    assert Fitted(0, 0, None).history.empty


def test_the_share_of_pairs_that_count_is_a_mean_over_logged_steps(capsys):
    lines = ['{"step": 10, "pairs/kept": 0.06}', '{"step": 10, "kl": 1}', '{"pairs/kept": 0.01}']
    few = Fitted(20, 20, None, tuple(lines))
    assert few.kept == pytest.approx(0.035)
    assert few.record["kept"] == few.kept
    few.note_few_pairs("DPO")
    assert "DPO learned from 3.50% of the positions: " in capsys.readouterr().err
    without = Fitted(20, 20, None, ('{"step": 10, "kl": 1}',))
    assert without.kept is None
    assert "kept" not in without.record
    for enough in (without, Fitted(20, 20, None, ('{"pairs/kept": 0.05}',))):
        enough.note_few_pairs("DPO")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("width", "says"), [(1e6, True), (0.0, False)])
def test_training_on_no_pair_is_said(tiny, capsys, width, says):
    algorithm = DPO(pairs=SampledPairs(width=width))
    short = Training(epochs=4, batch_size=16, learning_rate=0.01)
    _, fitted = posttrain(tiny.policy, tiny.data, algorithm, tiny.reward, short)
    assert (fitted.kept == 0) is says
    assert ("DPO learned from 0.00% of the positions" in capsys.readouterr().err) is says


def test_the_file_grows_while_it_runs_and_a_logger_gets_the_same(tmp_path):
    logger, seen = Kept(), Seen(tmp_path)
    fitted = train(tmp_path, logger, [seen])
    assert seen.lines == [0, 0, 2, 2, 2, 4, 4, 4, 6, 7, 7, 9]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [{"step": step, **metrics} for step, metrics in logger.given] == lines
    assert [json.loads(line) for line in fitted.lines] == lines


def test_posttrain_and_pretrain_pass_them_on(tiny, tmp_path):
    """With Lightning's own logger; each stage counts its own steps."""
    plan, seen = Training(steps=10, batch_size=16), []

    class Steps(Callback):
        def on_train_batch_end(self, *arguments):
            seen.append(1)

    for place, train_it in {
        "pre": lambda **more: rp.pretrain(tiny.data, tiny.backbone, plan, **more),
        "post": lambda **more: rp.posttrain(
            tiny.policy, tiny.data, rp.BC(), tiny.reward, plan, **more
        ),
    }.items():
        logger = CSVLogger(tmp_path, name=place)
        _, fitted = train_it(logger=logger, callbacks=[Steps()])
        logger.save()
        text = (tmp_path / place / "version_0" / "metrics.csv").read_text()
        assert {"loss", "step"} <= set(text.splitlines()[0].split(","))
        assert f"{fitted.history['loss'][10]}" in text
    assert len(seen) == 20
