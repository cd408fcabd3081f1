"""Descriptions of requests and responses that FastAPI cannot derive, with examples."""

from typing import Any

from pydantic import BaseModel

from lookalike.serve.schemas import Answer, Failure, Found, Merge, Photos, Split, Undo

FORM = "multipart/form-data"
PHOTOS = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "photos"}
BOX = {
    "type": "string",
    "description": "x1,y1,x2,y2 in pixels of the upright photo",
    "example": "10,20,110,220",
}
NUMBER = {"type": "integer", "minimum": 1, "maximum": 100, "default": 5, "description": "number of hits"}
KEEP = {
    "type": "boolean",
    "default": False,
    "description": "keep the subjects for 30 minutes, to enrol them",
}


def form(required: list[str], **properties: Any) -> dict[str, Any]:
    """The description of a multipart form."""
    schema = {"type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {FORM: {"schema": schema}}}}


def body(model: type[BaseModel]) -> dict[str, Any]:
    """The description of a JSON body."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_route(extra: dict[str, Any], result: Any = None) -> dict[str, Any]:
    """Arguments of a route: the body of the request, and a response that is not checked again."""
    return {"openapi_extra": extra, **({} if result is None else {"responses": {200: result}})}


def list_schema(entry: type[BaseModel], example: Any) -> dict[str, Any]:
    """A list of entries or of photos that cannot be read."""
    one = entry.model_json_schema(ref_template="#/components/schemas/{model}")
    one.pop("$defs", None)
    unread = {"$ref": "#/components/schemas/Unread"}
    schema = {"type": "array", "items": {"anyOf": [one, unread]}}
    return {
        "description": "One entry per subject",
        "content": {"application/json": {"schema": schema, "example": example}},
    }


LOCATION = {"image": "photo.jpg", "photo": 0, "width": 640, "height": 480, "box": None, "upload": None}
HIT = {
    "label": "mia",
    "score": 0.83,
    "path": "photos/mia/1.jpg",
    "box": None,
    "words": "very similar",
    "id": "0f1e2d3c4b5a6978",
    "picture": "/pictures/0f1e2d3c4b5a6978",
    "likely": True,
}
ANSWER = {
    **LOCATION,
    "answer": "known",
    "identity": "mia",
    "score": 0.83,
    "words": "very similar",
    "threshold": 0.712,
    "unsure_between": [0.688, 0.741],
    "fpir": 0.01,
    "fpir_interval": [0.0048, 0.021],
    "fpir_requested": 0.01,
    "extrapolated": False,
    "hits": [HIT],
}
ENCOUNTER = {"type": "boolean", "default": False, "description": "all photos show the same one: one answer"}
IDENTIFY = describe_route(
    form(["image"], image=PHOTOS, encounter=ENCOUNTER, k=NUMBER, box=BOX, keep=KEEP),
    list_schema(Answer, [ANSWER]),
)
BY = {"type": "string", "enum": ["image", "label"], "default": "image"}
SEARCH = describe_route(
    form(
        ["image"],
        image=PHOTOS,
        k=NUMBER,
        by={"type": "string", "enum": ["image", "label"]},
        box=BOX,
        keep=KEEP,
    ),
    list_schema(Found, [{**LOCATION, "hits": [HIT], "likely": True}]),
)
ONE = {"type": "string", "format": "binary", "description": "a photo"}
VERIFY = describe_route(
    form(
        ["image", "image_b"],
        image=ONE,
        image_b=ONE,
        box=BOX,
        box_b=BOX,
        threshold={
            "type": "number",
            "minimum": -1,
            "maximum": 1,
            "description": "in place of that of the model",
        },
    )
)
EMBED = describe_route(form(["image"], image=PHOTOS, box=BOX))
UPLOAD = {"type": "array", "items": {"type": "string"}, "description": "kept uploads, in place of photos"}
ENROL = describe_route(
    form([], image=PHOTOS, upload=UPLOAD, name={"type": "string", "example": "mia"}, box=BOX)
)
ENROL_NAMED = describe_route(form([], image=PHOTOS, upload=UPLOAD, box=BOX))
MERGE = describe_route(body(Merge))
SPLIT = describe_route(body(Split))
SAME = describe_route(body(Photos))
DIFFERENT = describe_route(body(Photos))
UNDO = describe_route(body(Undo))
ENTRIES = {
    "type": "string",
    "description": "JSON of the tasks",
    "example": '{"facial-recognition": {"detection": {"modelName": "", "options": {"minScore": 0.5}}}}',
}
PREDICT = describe_route(form(["entries"], entries=ENTRIES, image=ONE, text={"type": "string"}))
PICTURE: dict[str, Any] = {
    "responses": {200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}}
}
FAILURES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Failure, "description": "The request is wrong, or not allowed"},
    "5XX": {"model": Failure, "description": "The service is too busy, or its disk is full"},
}
