"""What is known of a generation, apart from its weights."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from quandary.errors import shortened

FORMAT = 1
GENERATION = r"^g[0-9]{6}-[0-9a-f]{8}$"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Quantiles = Annotated[tuple[Finite, ...], Field(min_length=2)]


class GateRecord(BaseModel):
    """How the candidate did at one gate; `difference` is the interval of candidate less reference.

    candidate: None where nothing could be measured. reference: the current generation's figure, None without one. floor: the
    bound that the candidate's figure is held to, None where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate: str
    verdict: Literal["passed", "refused", "undetermined"]
    candidate: Finite | None = None
    reference: Finite | None = None
    difference: tuple[Finite, Finite] | None = None
    floor: Finite | None = None
    reason: str


class NetRecord(BaseModel):
    """What the server must know of the net to feed it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: int = Field(ge=8, le=256, description="rows and columns of a map")
    embedding: int = Field(ge=1, description="width of the first mask")
    hidden: int = Field(ge=1, description="width of the second mask")
    dropout: float = Field(ge=0, lt=1, description="share dropped by a mask")


class CascadeRecord(BaseModel):
    """What ESCALATE must know: masks of each member in its first pass, and how the first scores of control crops are spread.

    quantiles: by acquisition function, at evenly spaced levels from 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    masks: int = Field(ge=2, description="masks of each member in the first pass")
    crops: int = Field(ge=1, description="crops behind the quantiles")
    quantiles: dict[str, Quantiles]


class Manifest(BaseModel):
    """A generation's description; `files` holds the SHA-256 of every artefact by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    generation: str = Field(pattern=GENERATION)
    number: int = Field(ge=1)
    created: AwareDatetime
    parent: str = ""
    run: str = ""
    classes: tuple[str, ...] = Field(min_length=2)
    net: NetRecord
    temperature: Positive = Field(default=1.0, description="the logits are divided by it")
    variance_scales: tuple[Positive, ...] = Field(
        default=(1.0,) * 7, min_length=7, max_length=7, description="the box's variances, of both kinds, are multiplied by them"
    )
    calibration: str = Field(default="", description="what temperature and scales were fitted on, or why they were not")
    box_scales: tuple[Positive, ...] = Field(min_length=7, max_length=7, description="variances that count as one")
    seed: int = Field(ge=0, lt=2**64, description="seed of the masks where a request names none")
    cascade: CascadeRecord | None = Field(default=None, description="thresholds of ESCALATE; none: all objects escalate")
    files: dict[str, Digest] = Field(min_length=1)
    snapshot_digest: str = ""
    training_crops: int = Field(default=0, ge=0)
    metrics: dict[str, float] = Field(default_factory=dict)
    gates: tuple[GateRecord, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    seal: str = Field(default="", description="SHA-256 of all of the above as registered, see `seal`; empty in older ones")

    @property
    def members(self) -> tuple[str, ...]:
        """File names of the members in their order."""
        return tuple(member_name(k) for k in range(len(self.files)))

    @property
    def refused(self) -> bool:
        """Whether a gate refused it."""
        return any(gate.verdict == "refused" for gate in self.gates)


def why_unreadable(data: bytes, error: ValidationError) -> str:
    """Return in words why these bytes are no manifest of this version; one of another version is not torn."""
    with contextlib.suppress(ValueError):
        found = json.loads(data)
        if isinstance(found, dict) and found.get("format", FORMAT) != FORMAT:
            return f"has the format {shortened(found['format'])}, this program reads {FORMAT}: upgrade it"
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"])) or "JSON"
    if first["type"] == "extra_forbidden":
        return f"has the field {field}, which this program does not know: upgrade it"
    return f"is no valid manifest: {field}"


def member_name(index: int) -> str:
    """Return the file name of a member."""
    return f"member-{index}.onnx"


def sha256(data: bytes) -> str:
    """Return the SHA-256 of the data, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def generation_id(number: int, files: Mapping[str, str]) -> str:
    """Return the id of the generation with this number and these digests by file name: both are in it."""
    listing = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
    return f"g{number:06d}-{sha256(listing.encode())[:8]}"
