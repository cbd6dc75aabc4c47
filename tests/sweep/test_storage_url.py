"""URLs of storages: what is refused, and that no password is shown, however it is written."""

import pytest

from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep.storage import open_storage
from recsys_posttrain.sweep.storage_url import address, shown


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://me:s3cret@host:abc/x", "postgresql://***@host:abc/x: its port is not a num"),
        ("postgresql://me:s3cret@host:99999/x", "me:***@host:99999/x: port 99999 is not from 1 to"),
        ("postgresql://me:s3cret@host:0/x", "me:***@host:0/x: port 0 is not from 1 to"),
        ("postgresql:/me:s3cret@host/x", "postgresql://***@host/x: write it as postgresql://user@"),
        ("postgresql://me:s3cret#host/x", "postgresql:***: its port is not a number; write it as"),
        ("me:s3cret@host/x", "://***@host/x: write it as postgresql://user@host:port/database"),
        ("mysql://me:s3cret@host/x", "mysql://me:***@host/x: mysql is not supported; give a postg"),
        ("mysql://me@host/x?password=s3cret", "mysql://me@host/x?password=***: mysql is not supp"),
        ("postgresql//host?password=s3cret", "postgresql//host: write it as postgresql://user@"),
        ("nonsense", "nonsense: write it as postgresql://user@host:port/database"),
    ],
)
def test_a_mistyped_url_is_one_sentence_without_its_password(url, sentence):
    with pytest.raises(UserError) as refusal:
        open_storage(url)
    text = str(refusal.value)
    assert text.startswith("--storage ")
    assert sentence in text
    assert "s3cret" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://me:s3cret@host:5433/x", "s3cret"),
        ("postgresql://me@host:5433/x?password=s3cret", "s3cret"),
        ("postgresql://me:s%40cret@host:5433/x", "s@cret"),
    ],
)
def test_the_password_is_no_part_of_the_address(url, password):
    bare, secrets = address(url)
    assert bare.render_as_string(hide_password=False) == "postgresql+psycopg://me@host:5433/x"
    assert secrets == {"password": password}
    assert password not in shown(url)
    assert "***" in shown(url)


def test_without_a_password_all_is_shown():
    assert shown("postgresql://me@host/x?sslmode=require") == (
        "postgresql://me@host/x?sslmode=require"
    )
    assert address("postgresql://me@host/x")[1] == {}
