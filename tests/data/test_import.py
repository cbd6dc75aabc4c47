import subprocess
import sys

REAL_RUN = subprocess.run  # the folder's conftest refuses it to the code under test


def test_import_is_light():
    code = (
        "import sys, recsys_posttrain.data; "
        "print([m for m in ('torch', 'pandas', 'numpy', 'datasets', 'rich') if m in sys.modules])"
    )
    done = REAL_RUN([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
