"""The endpoints that recognise: what they answer, and that they answer like the library."""

import lookalike


def test_identify_answers_like_the_library(reader, shelter, photo, tmp_path):
    files = {name: photo(name) for name in ("red triangle", "blue circle")}
    answers = reader.post("/identify", files=[("image", (f"{n}.png", data)) for n, data in files.items()])
    assert answers.status_code == 200
    for name, data in files.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    index = lookalike.Index.load(shelter / "fixed")
    expected = index.identify([tmp_path / f"{name}.png" for name in files], fpir=0.05)
    for number, (name, given, wanted) in enumerate(zip(files, answers.json(), expected, strict=True)):
        values = wanted.to_dict()
        assert (given["image"], given["photo"], given["width"]) == (f"{name}.png", number, 48)
        for key in ("answer", "identity", "threshold", "unsure_between", "fpir", "fpir_interval"):
            assert given[key] == values[key], key
        assert abs(given["score"] - values["score"]) < 1e-5
        assert [hit["label"] for hit in given["hits"]] == [hit["label"] for hit in values["hits"]]
        assert given["upload"] is None
