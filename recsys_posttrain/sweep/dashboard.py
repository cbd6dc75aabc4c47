"""`recsys-posttrain dashboard`: optuna-dashboard on the trials of a sweep."""

from pathlib import Path

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.sweep.load import Options, name_of
from recsys_posttrain.sweep.run import DATABASE
from recsys_posttrain.sweep.storage import open_storage, sqlite_url, storage_is_explained


def serve(file: Path, dataset: str | None, storage: str | None, output: Path, port: int) -> None:
    """Until it is interrupted. storage: as for a sweep.

    Raises: UserError where there is no such sweep yet, optuna-dashboard is missing, or the port is
    taken.
    """
    try:
        from optuna_dashboard import run_server  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(
            "the dashboard needs optuna-dashboard, which is not installed: install "
            "recsys-posttrain[dashboard]"
        ) from error
    database = output / name_of(file, Options(dataset).sweep(file)) / DATABASE
    require(
        storage or database.is_file(),
        f"{database} does not exist: there is no such sweep yet; start it with recsys-posttrain "
        f"sweep {file}" + (f" --dataset {dataset}" if dataset else ""),
    )
    url = storage or sqlite_url(database)
    with storage_is_explained(url):
        trials = open_storage(url)
        print(f"http://127.0.0.1:{port}/ until Ctrl-C", flush=True)
        try:
            run_server(trials, host="127.0.0.1", port=port)
        except OSError as error:
            raise UserError(
                f"--port {port}: {error.strerror or error}; give another one"
            ) from error
