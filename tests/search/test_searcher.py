import numpy as np
import pytest
import torch
from PIL import Image

from lookalike.data.table import Table
from lookalike.data.transforms import Resize
from lookalike.embeddings import embed
from lookalike.errors import DataError, LookalikeError
from lookalike.model import backbones, heads, pooling
from lookalike.model.embedder import build
from lookalike.search.index import Index
from lookalike.search.searcher import Searcher


def small_model(seed=0):
    torch.manual_seed(seed)
    return build(backbones.small_cnn([4, 4]), pooling.Average(), heads.Linear, 8, Resize(16)).eval()


@pytest.fixture(scope="module")
def gallery(shapes_folder):
    import polars as pl

    files = sorted(shapes_folder.rglob("*.png"))[:24]
    rows = {
        "path": [str(file.relative_to(shapes_folder)) for file in files],
        "label": [file.parent.name for file in files],
        "split": "test",
    }
    return Table(pl.DataFrame(rows), shapes_folder)


@pytest.fixture(scope="module")
def searcher(gallery):
    model = small_model()
    found = embed(model, gallery, progress=False)
    return Searcher(Index(found.vectors, found.table, found.space), model)


def test_a_photo_of_the_gallery_finds_itself_first(searcher, gallery):
    hits = searcher.search([gallery.file(row) for row in range(24)], k=3, batch_size=5)
    assert [found[0].row for found in hits] == list(range(24))
    assert [found[0].label for found in hits] == gallery.labels.tolist()
    assert [found[0].similarity for found in hits] == pytest.approx([1.0] * 24, abs=1e-6)
    assert max(found[0].similarity for found in hits) <= 1
    for found in hits:
        assert [hit.similarity for hit in found] == sorted((hit.similarity for hit in found), reverse=True)


def test_a_part_of_a_photo_is_searched_with_and_hits_tell_theirs(gallery):
    import polars as pl

    model = small_model()
    halves = gallery.frame.with_columns(x1=0, y1=0, x2=pl.Series([8, 16] * 12), y2=16)
    table = Table(halves, gallery.folder)
    found = embed(model, table, progress=False)
    searcher = Searcher(Index(found.vectors, found.table, found.space), model)
    files = [gallery.file(row) for row in range(4)]
    boxes = [table.box(row) for row in range(4)]
    pictures = [Image.open(file).convert("RGB") for file in files]
    for images in (files, pictures, [np.asarray(picture) for picture in pictures]):
        hits = searcher.search(images, k=1, boxes=boxes)
        assert [one[0].row for one in hits] == list(range(4))
        assert [one[0].box for one in hits] == boxes
    for wrong in ([None], [(0, 0, 0, 9)] * 4, [(0, 0, 9)] * 4):
        with pytest.raises(ValueError, match="box"):
            searcher.search(files, boxes=wrong)
    for images in (files, pictures):
        with pytest.raises(DataError, match="box"):
            searcher.search(images, boxes=[(900, 0, 909, 9)] * 4)


def test_paths_open_from_the_current_folder(searcher, gallery, monkeypatch, tmp_path):
    monkeypatch.chdir(gallery.folder.parent)
    assert searcher.search([gallery.file(0)], k=1)[0][0].path == str(
        gallery.folder.name / gallery.file(0).relative_to(gallery.folder)
    )
    monkeypatch.chdir(tmp_path)
    Image.open(searcher.search([gallery.file(0)], k=1)[0][0].path).load()


def test_files_pictures_and_arrays_find_the_same(searcher, gallery):
    image = Image.open(gallery.file(5))
    one, two, three = searcher.search([gallery.file(5), image, np.array(image.convert("RGB"))], k=4)
    assert one == two == three


def test_more_hits_than_images_are_all_images(searcher):
    hits = searcher.search([Image.new("RGB", (20, 20))], k=100)[0]
    assert sorted(hit.row for hit in hits) == list(range(24))


def test_photos_that_cannot_be_read_are_listed_in_their_place(searcher, gallery, tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    images = [tmp_path / "text.jpg", gallery.file(1), tmp_path / "nowhere.png"]
    with pytest.raises(DataError, match="2 of 3 images cannot be read") as raised:
        searcher.search(images)
    assert [problem.row for problem in raised.value.problems] == [0, 2]
    skipped = []
    hits = searcher.search(images, k=1, skipped=skipped, batch_size=1)
    assert [len(found) for found in hits] == [0, 1, 0]
    assert [problem.row for problem in skipped] == [0, 2]


def test_a_single_photo_needs_a_list(searcher, gallery):
    with pytest.raises(TypeError, match=r"search\(\[image\]\)"):
        searcher.search(str(gallery.file(0)))


def test_a_model_in_training_mode_searches_as_in_evaluation_and_stays(searcher, gallery):
    expected = searcher.search([gallery.file(0)])
    searcher.model.train()
    assert searcher.search([gallery.file(0)]) == expected
    assert searcher.model.training
    searcher.model.eval()


def test_another_model_is_refused_with_both_spaces_and_what_to_do(searcher):
    other = small_model(seed=1)
    with pytest.raises(LookalikeError) as raised:
        Searcher(searcher.index, other)
    for words in (searcher.index.space, other.space, "model=", "lookalike index"):
        assert words in str(raised.value)


def test_the_same_weights_with_another_resize_are_another_model(searcher):
    other = small_model()
    other.resize = Resize(24)
    with pytest.raises(LookalikeError, match="cannot be compared"):
        Searcher(searcher.index, other)


def test_the_model_is_found_through_the_index(searcher, gallery, tmp_path):
    searcher.model.save(tmp_path / "model")
    index = Index(searcher.index.vectors, gallery, searcher.index.space, tmp_path / "model")
    index.save(tmp_path / "index")
    assert Searcher(tmp_path / "index").search([gallery.file(3)], k=1)[0][0].row == 3
    (tmp_path / "model").rename(tmp_path / "moved")
    with pytest.raises(LookalikeError, match=r"which is not there; give it with model="):
        Searcher(tmp_path / "index")
    assert Searcher(tmp_path / "index", tmp_path / "moved").search([gallery.file(3)], k=1)[0][0].row == 3


def test_an_index_without_a_model_says_so(searcher):
    with pytest.raises(LookalikeError, match="does not say which model"):
        Searcher(Index(searcher.index.vectors, searcher.index.table, searcher.index.space))


def test_vectors_are_searched_as_images_are_and_must_have_length_1(searcher, gallery):
    vectors = np.array(searcher.index.vectors[:3])
    assert [found[0].row for found in searcher.search_vectors(vectors, k=1)] == [0, 1, 2]
    for wrong, said in [
        (vectors * [[1], [3], [1]], "row 1 has the length 3"),
        (vectors * np.nan, "not finite .* rows? 0"),
        (vectors[:1] * np.nan, "row 0$"),
        (vectors[:, :4] / np.linalg.norm(vectors[:, :4], axis=1, keepdims=True), "4 numbers each"),
    ]:
        with pytest.raises(ValueError, match=said):
            searcher.search_vectors(wrong.astype(np.float32))


def test_a_folder_is_no_table(gallery):
    with pytest.raises(TypeError, match="read_table"):
        embed(small_model(), str(gallery.folder))
