"""W&B without a login and without a network."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def isolated(tmp_path_factory):
    """No login, no folder outside of the test's own, and nobody who answers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DIR", "WANDB_PROJECT"):
            patch.delenv(name, raising=False)
        own = tmp_path_factory.mktemp("wandb")
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(own / name))
        patch.setenv("NETRC", str(own / "netrc"))
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        yield
