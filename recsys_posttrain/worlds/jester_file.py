"""Jester data set 1 (Eigentaste; K. Goldberg, T. Roeder, D. Gupta, C. Perkins, 2001).

4.1 million ratings of 100 jokes in three Excel files; this is the first: 24,983 users with 36
ratings or more, -10.00 to +10.00. Free for research use with the reference: "Eigentaste: A Constant
Time Collaborative Filtering Algorithm", Information Retrieval 4(2), 133-151.
"""

import io
import zlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys_posttrain.data.archives import NotHere, unpacked
from recsys_posttrain.data.sources import Origin, fetch
from recsys_posttrain.errors import UserError

MISSING = 99.0
_EXCEL, _CSV, _COMPRESSED = "jester-data-1.xls", "jester-data-1.csv", "jester-data-1.csv.gz"
_SHA256 = "3f2d15364acb4e25ae14ebeee07ebed5bc0e717c3d4cf10ad930b94feb747f11"


def jester_ratings(data_root: str | None = None) -> NDArray[np.float64]:
    """All ratings, [24983 users, 100 jokes], -10..10, NaN where there is none.

    data_root: see `sources.fetch`.
    """
    file = fetch(JESTER, data_root)
    rating_UV = _table(file.filename, file.content)[:, 1:]
    return np.where(rating_UV == MISSING, np.nan, rating_UV)


def _hundredths(filename: str, content: bytes) -> bytes:
    """Every cell as a little-endian 16-bit count of hundredths, row by row.

    All ratings have two decimals, so the sheet has one such form, whatever program exported it.
    """
    table = _table(filename, content)
    if not (np.abs(table) <= 100).all():
        raise NotHere(f"{filename} holds values other than ratings, counts and 99")
    return np.rint(100 * table).astype("<i2").tobytes()


def _table(filename: str, content: bytes) -> NDArray[np.float64]:
    """[users, 101]: how many jokes the user rated, then the ratings; 99 where there is none."""
    try:
        if filename == _EXCEL:
            frame = pd.read_excel(io.BytesIO(content), header=None)
        else:
            text = unpacked(content) if filename == _COMPRESSED else content
            frame = pd.read_csv(io.BytesIO(text), header=None)
        return frame.to_numpy(dtype=np.float64)
    except ImportError as error:
        raise UserError(
            f"{filename} is an Excel file and needs the package xlrd to be read; install it "
            f"(pip install xlrd), or save the sheet as {_CSV} and give that with --data-root."
        ) from error
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise NotHere(f"{filename} cannot be read as a table of numbers ({error})") from error


JESTER = Origin(
    name="jester",
    url="https://eigentaste.berkeley.edu/dataset/jester_dataset_1_1.zip",
    sha256_by_file=dict.fromkeys((_COMPRESSED, _CSV, _EXCEL), _SHA256),
    canonical=_hundredths,
)
