"""Queues beside `active` and `control`: which frames go there, and how they are asked for."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Self

from pydantic import Field, SerializationInfo, field_serializer, field_validator, model_validator

from quandary.errors import InvalidArgument
from quandary.frames import check_identifier
from quandary.records import MAX_TAG_CHARACTERS, MAX_TAGS
from quandary_server.settings.query import QuerySettings
from quandary_server.settings.section import Section
from quandary_server.storage.task_values import ACTIVE_QUEUE, CONTROL_QUEUE

__all__ = ["QueueSettings", "check_names"]

RESERVED = (ACTIVE_QUEUE, CONTROL_QUEUE)


class QueueSettings(Section):
    """A queue of its own for the frames that match all that is set here; control drives match nothing."""

    name: str = Field(description="as in queues/{name}: 1 to 128 characters of [A-Za-z0-9._-]")
    tags: Mapping[str, str] = Field(
        default_factory=dict, max_length=MAX_TAGS, description="tags with the values that a frame must have, all of them"
    )
    drives: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="shell patterns of drive ids (night-*), of which the frame's must match one"
    )
    query: QuerySettings = Field(
        default=QuerySettings(), description="what is set here counts in place of selector.query, setting by setting"
    )

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        check_identifier("", name)
        if name in RESERVED:
            raise InvalidArgument.of("", name, f"another than {' and '.join(RESERVED)}, which are there already")
        return name

    @field_validator("tags")
    @classmethod
    def _can_be(cls, tags: Mapping[str, str]) -> Mapping[str, str]:
        for key, value in tags.items():
            if max(len(key), len(value)) > MAX_TAG_CHARACTERS:
                raise InvalidArgument.of(key, value, f"with its key of at most {MAX_TAG_CHARACTERS} characters, as all tags")
        return tags

    @model_validator(mode="after")
    def _matches_something(self) -> Self:
        if not self.tags and not self.drives:
            raise InvalidArgument.of("tags", "unset", "set, or drives: no frame would go there")
        return self

    @field_serializer("query")
    def _only_what_is_set(self, query: QuerySettings, info: SerializationInfo) -> dict[str, Any]:
        return query.model_dump(mode=info.mode, exclude_unset=True)  # another process must not take defaults for set

    def takes(self, drive_id: str, tags: Mapping[str, str]) -> bool:
        """Return whether a frame of the drive with these tags goes there."""
        in_drives = not self.drives or any(fnmatchcase(drive_id, pattern) for pattern in self.drives)
        return in_drives and all(tags.get(key) == value for key, value in self.tags.items())

    def query_over(self, query: QuerySettings) -> QuerySettings:
        """Return the query with what is set here in the place of its own."""
        return query.model_copy(update={name: getattr(self.query, name) for name in self.query.model_fields_set})


def check_names(queues: Sequence[QueueSettings]) -> None:
    """Raise InvalidArgument for a name given twice."""
    names = [queue.name for queue in queues]
    for i, name in enumerate(names):
        if (first := names.index(name)) != i:
            raise InvalidArgument.of(f"queues.{i}.name", name, f"another than that of queue {first}")
