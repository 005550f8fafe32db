"""Quotas within a query: shares of classes, drives and tags."""

from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from quandary.errors import InvalidArgument
from quandary.labels import CLASSES
from quandary.records import MAX_TAG_CHARACTERS
from quandary_server.selection.quotas import ClassQuota, DriveQuota, Quota, TagQuota
from quandary_server.settings.section import Section, Share

__all__ = ["QuotaKind", "QuotaSettings", "check_together"]

TOGETHER_AT_MOST = 1.0 + 1e-9


class QuotaKind(StrEnum):
    """What a quota goes by."""

    CLASS = "class"
    DRIVE = "drive"
    TAG = "tag"


class QuotaSettings(Section):
    """A quota: shares of what a generation asks for in a queue, of its tasks that are leased or labelled and of the picks."""

    by: QuotaKind = Field(description="class: frames that stand for it, by what the detector expects in them; drive; or tag")
    key: str = Field(default="", max_length=MAX_TAG_CHARACTERS, description="for tag: its key")
    value: str | None = Field(
        default=None,
        min_length=1,
        description="the class, a shell pattern of drive ids, which count together, or the tag's value; None: each by itself",
    )
    least: Share = Field(default=0.0, description="share due to it, as far as there are candidates; needs a value")
    most: Share = Field(default=1.0, description="share it may have, as far as there are other candidates")

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if (self.by is QuotaKind.TAG) != bool(self.key):
            bound = "the key of a tag" if self.by is QuotaKind.TAG else f"unset for a quota by {self.by}"
            raise InvalidArgument.of("key", repr(self.key), bound)
        if self.by is QuotaKind.CLASS and self.value is not None and self.value not in CLASSES[:-1]:
            raise InvalidArgument.of("value", self.value, f"one of {', '.join(CLASSES[:-1])}")
        if self.least > self.most:
            raise InvalidArgument.of("least", f"{self.least:g}", f"at most `most`, {self.most:g}")
        if self.least > 0 and self.value is None:
            raise InvalidArgument.of("least", f"{self.least:g}", "0 where no value is set: a share of each is not due")
        if self.least == 0 and self.most == 1:
            raise InvalidArgument.of("most", f"{self.most:g}", "below 1, or `least` above 0: it binds nothing")
        return self

    @property
    def quota(self) -> Quota:
        """The quota as the query takes it."""
        match self.by:
            case QuotaKind.CLASS:
                index = None if self.value is None else CLASSES.index(self.value)
                return ClassQuota(self.least, self.most, index)
            case QuotaKind.DRIVE:
                return DriveQuota(self.least, self.most, self.value)
            case QuotaKind.TAG:
                return TagQuota(self.least, self.most, self.key, self.value)


def check_together(quotas: Sequence[QuotaSettings]) -> None:
    """Raise InvalidArgument for two quotas of the same, and where more than all is due by one kind, or by one tag."""
    seen: dict[tuple[QuotaKind, str, str | None], int] = {}
    due: defaultdict[tuple[QuotaKind, str], float] = defaultdict(float)
    for i, quota in enumerate(quotas):
        first = seen.setdefault((quota.by, quota.key, quota.value), i)
        if first != i:
            what = " ".join(filter(None, (quota.by, quota.key, quota.value)))
            raise InvalidArgument.of(f"{i}", what, f"another than quota {first}: one for each")
        due[quota.by, quota.key] += quota.least
        if due[quota.by, quota.key] > TOGETHER_AT_MOST:
            left = max(1.0 - (due[quota.by, quota.key] - quota.least), 0.0)
            kind = f"{quota.by} {quota.key}".rstrip()
            raise InvalidArgument.of(f"{i}.least", f"{quota.least:g}", f"at most {left:g}: by {kind} 1 is due in all at most")
