"""Properties of Kafka clients from a file, as librdkafka's own tools read them: name=value a line, # for comments."""

from pathlib import Path

from quandary.errors import InvalidArgument

__all__ = ["options_of"]


def options_of(file: Path | None) -> dict[str, str]:
    """Return the properties in a file, none without one. Raises InvalidArgument for a file or line that is none."""
    if file is None:
        return {}
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument.of("selector.kafka.options_file", file, f"a file that can be read ({error})") from None
    found = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            # the value may be a secret: the line is not shown
            raise InvalidArgument.of("selector.kafka.options_file", f"line {number} of {file}", "name=value")
        found[name.strip()] = value.strip()
    return found
