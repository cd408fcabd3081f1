"""The formats of JSON in requests and responses."""

from pydantic import BaseModel, ConfigDict, Field


class Point(BaseModel):
    """The threshold from which a photo is given a name, and how often strangers are."""

    threshold: float
    unsure_between: list[float]
    fpir: float
    fpir_interval: list[float]
    fpir_requested: float
    extrapolated: bool
    text: str


class Info(BaseModel):
    """What a service is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "index": "cats",
                "model": "mine/model",
                "space": "3f0c9a1b2d4e5f60",
                "images": 120,
                "identities": 30,
                "writable": True,
                "may_write": True,
                "token_needed": False,
                "fpir": None,
                "no_threshold": "its model has no vectors of validation identities",
                "threshold": 0.64,
                "max_bytes": 20000000,
                "max_pixels": 50000000,
                "max_photos": 16,
                "detect": "face",
                "version": "0.1",
            }
        }
    )
    index: str
    model: str | None
    space: str
    images: int
    identities: int
    writable: bool
    may_write: bool
    token_needed: bool
    fpir: Point | None
    no_threshold: str | None
    threshold: float | None
    max_bytes: int
    max_pixels: int
    max_photos: int
    detect: str
    version: str


class Status(BaseModel):
    """Whether the service runs."""

    status: str = Field(examples=["ok"])


class Problem(BaseModel):
    """An error: a code for programs, and one sentence."""

    code: str = Field(examples=["unreadable_image"])
    message: str = Field(examples=["photo.txt: not a readable image; it begins with b'hello'"])


class Failure(BaseModel):
    """The body of every response that is not a success."""

    error: Problem


class Verified(BaseModel):
    """Whether two photos show the same identity."""

    answer: str = Field(examples=["same"])
    similarity: float
    threshold: float
    cannot_tell_between: list[float] | None
    far: float | None
    images: list[str]
    boxes: list[list[float] | None]
    words: str = Field(examples=["very similar"])


class Location(BaseModel):
    """Where a subject is."""

    image: str
    photo: int
    width: int
    height: int
    box: list[float] | None


class Unread(BaseModel):
    """A photo without a subject."""

    image: str
    photo: int
    error: Problem


class Vectors(BaseModel):
    """Vectors of photos."""

    space: str
    dim: int
    vectors: list[list[float]]
    images: list[Location]
    problems: list[Unread]


class Hit(BaseModel):
    """An enrolled photo that is similar."""

    label: str | int
    score: float
    path: str
    box: list[float] | None
    words: str | None
    id: str
    picture: str
    likely: bool | None


class Answer(BaseModel):
    """Who a subject is."""

    image: str | list[str]
    photo: int
    width: int
    height: int
    box: list[float] | None
    upload: str | list[str | None] | None
    answer: str = Field(examples=["known", "new", "unsure"])
    identity: str | int | None
    score: float | None
    words: str | None
    threshold: float | None
    unsure_between: list[float] | None
    fpir: float
    fpir_interval: list[float] | None
    fpir_requested: float
    extrapolated: bool
    hits: list[Hit]


class Found(BaseModel):
    """What is similar to a subject."""

    image: str
    photo: int
    width: int
    height: int
    box: list[float] | None
    upload: str | None
    hits: list[Hit]
    likely: bool | None


class IdentityRow(BaseModel):
    """An identity in the list."""

    name: str
    photos: int
    picture: str
    unknown: bool


class Identities(BaseModel):
    """Some identities, and how many there are."""

    total: int
    identities: list[IdentityRow]


class EnrolledPhoto(BaseModel):
    """A photo of an identity."""

    id: str
    picture: str
    added: str | None


class Identity(BaseModel):
    """An identity with its photos."""

    name: str
    unknown: bool
    photos: list[EnrolledPhoto]


class Enrolment(BaseModel):
    """What was enrolled."""

    name: str = Field(examples=["mia"])
    photos: list[str]
    already: list[str] = Field(description="those of the photos that the identity had before")
    warnings: list[str]


class Decision(BaseModel):
    """A decision on identities."""

    id: int
    kind: str
    subject: str
    object: str
    undoes: int | None
    author: str
    time: str
    can_undo: bool


class Decided(BaseModel):
    """The number of a decision."""

    decision: int


class DecidedSplit(Decided):
    """The number of a decision, and the name of the new identity."""

    name: str


class Removed(BaseModel):
    """How many photos are forgotten."""

    photos: int


class Merge(BaseModel):
    """Into which identity another one is merged; a new name renames it."""

    into: str = Field(examples=["mia"])
    author: str | None = None


class Split(BaseModel):
    """Which photos become an identity of their own."""

    photos: list[str]
    into: str | None = Field(None, examples=["tom"], description="null takes the next of new-1, new-2, …")
    author: str | None = None


class Photos(BaseModel):
    """Which enrolled photos show an identity, or do not."""

    photos: list[str]
    author: str | None = None


class Undo(BaseModel):
    """Which decision is taken back."""

    decision: int
    author: str | None = None
