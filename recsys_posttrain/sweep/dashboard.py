"""`recsys-posttrain dashboard`: optuna-dashboard on the trials of a sweep."""

from pathlib import Path

import optuna

from recsys_posttrain.config import require
from recsys_posttrain.errors import UserError
from recsys_posttrain.studies.folder import DEFINITION, definition_in, differences
from recsys_posttrain.sweep.load import Options, definition_of, name_of
from recsys_posttrain.sweep.storage import open_storage, sqlite_url, storage_is_explained
from recsys_posttrain.sweep.storage_url import shown
from recsys_posttrain.sweep.there import DATABASE, fix, listed, no_such_sweep


def serve(file: Path, options: Options, port: int) -> None:
    """Until it is interrupted. options: as the sweep was given them.

    Raises: UserError where there is no such sweep yet, optuna-dashboard is missing, or the port is
    taken.
    """
    url, name = _storage_of(file, options)
    with storage_is_explained(url):
        trials = open_storage(url)
        there = optuna.get_all_study_names(trials)
        sweeps = [each for each in there if "/" not in each]  # a cell's is called <sweep>/<cell>
        require(
            name in there,
            f"{shown(url)} holds no sweep {name} ({listed(sweeps)}); {fix(file)}",
        )
        try:
            # Slow to import, and not needed for a refusal.
            from optuna_dashboard import run_server  # type: ignore[import-untyped]
        except ImportError as error:
            raise UserError(
                "the dashboard needs optuna-dashboard, which is not installed: install "
                "recsys-posttrain[dashboard]"
            ) from error
        print(f"http://127.0.0.1:{port}/ until Ctrl-C", flush=True)
        try:
            run_server(trials, host="127.0.0.1", port=port)
        except OSError as error:
            raise UserError(
                f"--port {port}: {error.strerror or error}; give another one"
            ) from error


def _storage_of(file: Path, options: Options) -> tuple[str, str]:
    """Its URL, and the sweep's name in it. Raises: UserError where there is no such file, or the
    sweep of this name is another one."""
    sweep = options.sweep(file)
    folder = options.output / name_of(file, sweep, options)
    if options.storage:
        return options.storage, folder.name
    database = folder / DATABASE
    require(
        database.is_file(),
        no_such_sweep(database, options.output, file),
    )
    # Thresholds, and the rules by which a file is read, are not in its name.
    before = definition_in(folder) if (folder / DEFINITION).exists() else None
    differ = [] if before is None else differences(before, definition_of(file, sweep, options))
    require(
        not differ,
        f"{database} is of another sweep ({'; '.join(differ)}): give the options of that one, or "
        "the --output of yours",
    )
    return sqlite_url(database), folder.name
