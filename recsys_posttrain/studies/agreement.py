"""How alike two finished studies rank their methods."""

from pathlib import Path

from recsys_posttrain.data.split import LeaveOneOut
from recsys_posttrain.files import write_text
from recsys_posttrain.progress import say
from recsys_posttrain.report.agreement import agreement_sheet, rank_agreement
from recsys_posttrain.report.record import read_rows, study_record
from recsys_posttrain.report.render import markdown
from recsys_posttrain.reward_scale import scale_in
from recsys_posttrain.stats.bootstrap import RESAMPLES


def study_agreement(folder: Path, against: Path) -> None:
    """Prints and writes how alike two finished studies rank their methods (`rank_agreement`).

    Popularity is left out: it stands apart in every column and would raise every correlation.
    """
    named, rows, scales = [], [], []
    for each in (folder, against):
        record = study_record(each, ("dataset", "commit"))
        split = record.get("split", LeaveOneOut().label)  # older records had no other
        named.append(f"{record['dataset']}, {split} (commit {record['commit']})")
        scales.append(scale_in(record))
        found = read_rows(each)
        rows.append(found[found["method"] != "Popularity"])
    sheet = agreement_sheet(
        rank_agreement(*rows, scales=(scales[0], scales[1])),
        f"How alike the methods are ranked: {named[0]} against {named[1]}. Rank correlation of the "
        f"methods' means, without Popularity, with 95% intervals ({RESAMPLES:,} draws of users "
        "and seeds, independent in the two). Noise hides agreement: a low interval proves nothing.",
    )
    text = markdown(sheet)
    path = folder / f"agreement-{against.resolve().name}.md"
    say(text)
    write_text(path, text)
    say(f"written: {path}")
