"""The command line: every command, and what becomes of its errors."""

import sys

import typer
from pydantic import ValidationError

from quandary.errors import InvalidArgument, QuandaryError
from quandary_server.cli import bench, db, demo, experiment, frames, generations, labels, log, queue, runs, services, tokens
from quandary_server.cli.output import err, print_error
from quandary_server.cli.refused_options import Commands
from quandary_server.settings import refused

app = typer.Typer(
    name="quandary",
    cls=Commands,
    help="Which LiDAR frames is the detector unsure about? Score them, label them first, retrain, swap the better one in.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(log.app, name="log")
app.add_typer(queue.app, name="queue")
app.add_typer(labels.app, name="labels")
app.add_typer(runs.app, name="runs")
app.add_typer(generations.app, name="generations")
app.add_typer(experiment.app, name="experiment")
app.add_typer(tokens.app, name="token")
app.add_typer(db.app, name="db")
for module in (services, demo, frames, runs, bench):
    module.add_to(app)

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def run() -> None:
    """Run the command line; errors of ours, and of files, end in a line on stderr and a code, never in a trace."""
    try:
        app()
    except InvalidArgument as error:
        print_error(error)
        sys.exit(BAD_INPUT)
    except ValidationError as error:
        print_error(refused(error))
        sys.exit(BAD_INPUT)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        err.print(f"{place}{error.strerror or error}", markup=False)
        sys.exit(FAILED)
    except QuandaryError as error:
        print_error(error)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(INTERRUPTED)
