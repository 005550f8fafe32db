"""A saving in words: never without its interval or without the seeds behind it, and none where the target is not reached."""

from quandary_server.experiment.report.document import Sample

NOT_REACHED = "not reached"


def interval_told(found: Sample) -> str:
    """Return what is saved, with its interval."""
    if not found["reached"]:
        return NOT_REACHED if found["at_most"] is None else f"{NOT_REACHED}: at most {found['at_most']:z.1%}"
    value = f"{'' if found['random_reached'] else 'at least '}{found['value']:z.1%}"
    if found["low"] is None:
        return f"{value} (one seed: no interval)"
    return f"{value} ({found['low']:z.1%} to {found['high']:z.1%})"


def short_told(found: Sample) -> str:
    """Return what is saved beside a bar that draws the interval."""
    if not found["reached"]:
        return NOT_REACHED
    least = "" if found["random_reached"] else "at least "
    return f"{least}{found['value']:z.0%}" + (", no interval" if found["low"] is None else "")


def seeds_told(found: Sample) -> str:
    """Return how many seeds are behind it, and how many are not."""
    told = count_told(found["seeds"])
    return f"{told} ({found['left_out']} left out)" if found["left_out"] else told


def count_told(seeds: int) -> str:
    """Return a number of seeds."""
    return f"{seeds} seed{'s' if seeds != 1 else ''}"


def needed_told(labels: float, reached: bool, digits: int = 0) -> str:
    """Return the labels, or hours, up to the target; more than those spent where it is not reached."""
    return f"{'' if reached else 'over '}{labels:,.{digits}f}"


def place_told(found: Sample) -> str:
    """Return the measure and the target."""
    return f"{found['measure'].replace('_', ' ')} at {found['target'] * 100:.4g} %"
