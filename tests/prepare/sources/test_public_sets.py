"""Each public set from a small archive in its true layout: labels, splits, boxes, and every slip listed."""

import gzip
import logging
import os
import signal
from dataclasses import replace

import layouts
import numpy as np
import pytest
from layouts import lines, tar_bytes, write_files, zip_bytes
from PIL import Image

from lookalike.errors import DataError
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.protocols.retrieval import QueryGallery
from lookalike.metrics.neighbours import global_average_precision
from lookalike.prepare.sources import (
    aliproducts,
    cars196,
    celeba,
    cub,
    fashion_mnist,
    hm,
    inaturalist2018,
    inaturalist2021,
    inshop,
    largefinefoodai,
    lfw,
    matlab,
    met,
    mnist,
    omniglot,
    products10k,
    rp2k,
    shopee,
    sop,
    tsinghua_dogs,
)
from lookalike.prepare.sources.public import Raw


def problem_texts(problems):
    return [str(problem) for problem in problems]


def by_split(table):
    counts = {}
    for label, split in table.frame.select("label", "split").iter_rows():
        counts.setdefault(split, {}).setdefault(label, 0)
        counts[split][label] += 1
    return counts


def all_there(table):
    return all(table.file(row).is_file() for row in range(len(table)))


def test_sop(tmp_path):
    write_files(tmp_path, {"Stanford_Online_Products.zip": zip_bytes(layouts.sop())})
    table, problems = sop.table(Raw(tmp_path))
    assert problems == []
    assert by_split(table) == {"train": {1: 2, 2: 2, 3: 2}, "test": {4: 2, 5: 2}}
    assert table.frame["super_class"].unique().sort().to_list() == ["mug", "table"]
    assert all_there(table)
    assert table.frame.columns == ["path", "label", "split", "super_class"]


def test_sop_lists_every_slip(tmp_path):
    files = layouts.sop()
    top = "Stanford_Online_Products"
    files[f"{top}/Ebay_train.txt"] = lines(
        layouts.SOP_HEADER,
        "1 1 2 table_final/3810526276_0.JPG",
        "2 1 2",
        "3 two 1 mug_final/3810526277_0.JPG",
        "4 2 1 mug_final/nothing\x85.JPG",
        "",
        "5 3 2 table_final/3810526278_0.JPG",
        "5 3 2 table_final/3810526278_1.JPG",
        "99 3 2 table_final/3810526278_1.JPG",
    )
    table, problems = sop.table(Raw(write_files(tmp_path, files)))
    assert by_split(table) == {"train": {1: 1, 3: 1}, "test": {4: 2, 5: 2}}
    assert problem_texts(problems) == [
        "Ebay_train.txt, row 1: 3 fields where 4 are expected "
        "(image_id class_id super_class_id path): '2 1 2'",
        "Ebay_train.txt, row 6: image_id '5' is listed before",
        "Ebay_info.txt, row 1: image_id '2' is not in Ebay_train.txt or Ebay_test.txt",
        "Ebay_info.txt, row 5: image_id '6' is not in Ebay_train.txt or Ebay_test.txt",
        "Ebay_train.txt, row 7: image_id '99' has no row in Ebay_info.txt",
        "Ebay_train.txt, row 2: class_id='two': must be whole numbers",
        "Ebay_train.txt, row 3: mug_final/nothing\\x85.JPG: there is no such file",
    ]


def test_rows_are_those_of_the_files(tmp_path):
    files = layouts.sop()
    top = "Stanford_Online_Products"
    del files[f"{top}/Ebay_info.txt"]
    first = "2 9 1 mug_final/a.JPG"
    files[f"{top}/Ebay_train.txt"] = lines(layouts.SOP_HEADER, "1 x 1 mug_final/a.JPG", first)
    files[f"{top}/Ebay_test.txt"] = lines(layouts.SOP_HEADER, "3 y 1 mug_final/a.JPG", first)
    files[f"{top}/mug_final/a.JPG"] = layouts.picture()
    _, problems = sop.table(Raw(write_files(tmp_path, files)))
    assert problem_texts(problems)[2:] == [
        "Ebay_test.txt, row 1: mug_final/a.JPG is listed before, in row 1 of Ebay_train.txt"
    ]


def test_a_header_and_an_encoding_that_are_not_as_published(tmp_path):
    files = layouts.sop()
    files["Stanford_Online_Products/Ebay_test.txt"] = b"id class path\n1 1 a.jpg\n"
    with pytest.raises(DataError, match=r"Ebay_test.txt: line 1 must be 'image_id class_id"):
        sop.table(Raw(write_files(tmp_path / "a", files)))
    files = layouts.sop()
    files["Stanford_Online_Products/Ebay_train.txt"] += "9 9 1 caf\xe9.JPG\n".encode("latin-1")
    with pytest.raises(DataError, match=r"Ebay_train.txt: line 8 is not UTF-8 text \(byte 0xe9\)"):
        sop.table(Raw(write_files(tmp_path / "b", files)))


def test_cars_by_class_and_by_image(tmp_path):
    raw = Raw(write_files(tmp_path, {"CARS196.zip": zip_bytes(layouts.cars())}))
    table, problems = cars196.table(raw)
    assert problems == []
    assert by_split(table) == {
        "train": {"Car 97 2012": 2, "Car 98 2012": 2},
        "test": {"Car 99 2012": 2, "Car 100 2012": 2},
    }
    assert all_there(table)
    assert table.box(0) == (0, 1, 24, 11), "pixels 1 to 24 and 2 to 11"
    official, _ = cars196.table(raw, official_split=True, boxes=False)
    assert {split: set(counts.values()) for split, counts in by_split(official).items()} == {
        "train": {1},
        "test": {1},
    }
    assert "x1" not in official.frame.columns


def test_cars_in_the_older_archives(tmp_path, here):
    for name, files in layouts.cars_devkit().items():
        write_files(tmp_path, {name: files[""] if "" in files else tar_bytes(files)})
    table, problems = cars196.table(Raw(tmp_path))
    assert problems == []
    assert len(table) == 8
    assert {split: set(counts.values()) for split, counts in by_split(table).items()} == {
        "train": {2},
        "test": {2},
    }
    assert all_there(table)


def kill_process(files):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_matlab_file_that_crashes_its_reader(tmp_path, monkeypatch):
    raw = Raw(write_files(tmp_path, layouts.cars()))
    monkeypatch.setattr(matlab, "load_files", kill_process)
    with pytest.raises(DataError, match=r"cars_annos.mat: damaged: reading it crashed"):
        cars196.table(raw)


def test_cars_that_are_no_cars(tmp_path, here):
    files = layouts.cars()
    name = "CARS196/cars_annos.mat"
    for content, wrong in [
        (b"not a MATLAB file at all" * 20, "not a readable MATLAB file"),
        (layouts.mat(other=[1]), "has no struct array 'annotations'"),
        (layouts.mat(annotations=[{"fname": "a"}, {"fname": "b"}]), "have no field bbox_x1, bbox_y1"),
    ]:
        with pytest.raises(DataError, match=wrong):
            cars196.table(Raw(write_files(tmp_path, files | {name: content})))
    box = {**layouts.CAR_BOX, "bbox_x2": 0}
    rows = [
        {"relative_im_path": f"car_ims/{place:06}.jpg", **b, "class": label, "test": 0}
        for place, (label, b) in enumerate([(97, layouts.CAR_BOX), (98, box), (500, layouts.CAR_BOX)], 1)
    ]
    bad = layouts.mat(annotations=rows, class_names=layouts.CAR_NAMES)
    table, problems = cars196.table(Raw(write_files(tmp_path, files | {name: bad})))
    assert len(table) == 1
    assert problem_texts(problems) == [
        "cars_annos.mat, row 2: class 500 is not in cars_annos.mat",
        "cars_annos.mat, row 1: box 0.0 1.0 0.0 11.0: must be x1 y1 x2 y2 with x1 < x2 and y1 < y2",
    ]


def test_cars_lists_every_slip(tmp_path, here):
    files = layouts.cars()
    slips = {1: {"bbox_x1": np.nan}, 2: {"class": 1.5}, 3: {"bbox_y2": []}, 4: {"relative_im_path": 7}}
    rows = [
        {"relative_im_path": f"car_ims/{row + 1:06}.jpg", **layouts.CAR_BOX, "class": 97, "test": row % 3}
        | {"bbox_x2": 20.5}
        | slips.get(row, {})
        for row in range(8)
    ]
    name = "CARS196/cars_annos.mat"
    files[name] = layouts.mat(annotations=rows, class_names=layouts.CAR_NAMES)
    table, problems = cars196.table(Raw(write_files(tmp_path, files)), official_split=True)
    assert problem_texts(problems) == [
        "cars_annos.mat, row 1: bbox_x1=nan: must be a number",
        "cars_annos.mat, row 2: class=1.5: must be a whole number",
        "cars_annos.mat, row 3: bbox_y2=array([], dtype=float64): must be a number",
        "cars_annos.mat, row 4: relative_im_path=7: must be text",
        "cars_annos.mat, row 5: split is empty",
    ]
    assert table.box(0)[2] == 21, "the pixel that it ends in"
    twice = [*layouts.CAR_NAMES[:97], layouts.CAR_NAMES[0]]
    files[name] = layouts.mat(
        annotations=[row | {"class": 97 + row["test"] % 2} for row in rows[5:]], class_names=twice
    )
    _, problems = cars196.table(Raw(write_files(tmp_path, files)))
    assert problem_texts(problems) == [
        f"cars_annos.mat, row 97: label {twice[0]!r} is listed before",
        "cars_annos.mat, row 2: class 98 is not in cars_annos.mat",
    ]


def test_cub(tmp_path):
    raw = Raw(write_files(tmp_path, {"CUB_200_2011.tgz": tar_bytes(layouts.cub())}))
    table, problems = cub.table(raw)
    assert problems == []
    assert by_split(table) == {
        "train": {"099.Bird_99": 2, "100.Bird_100": 2},
        "test": {"101.Bird_101": 2, "102.Bird_102": 2},
    }
    assert table.box(0) == (2, 3, 12, 15), "x y width height become corners"
    assert all_there(table)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["CUB_200_2011.tgz", "CUB_200_2011.unpacked"]
    assert by_split(cub.table(raw, official_split=True)[0])["train"].keys() == {
        "099.Bird_99",
        "100.Bird_100",
        "101.Bird_101",
        "102.Bird_102",
    }


def test_cub_lists_every_slip(tmp_path):
    files = layouts.cub()
    top = "CUB_200_2011"
    files[f"{top}/image_class_labels.txt"] = lines(
        "1 99", "2 99", "3 100", "5 101", "6 101", "7 102", "8 7", "9 9"
    )
    files[f"{top}/bounding_boxes.txt"] = lines(
        "1 2.0 3.0 10.5 12.5",
        "2 2.0 3.0 0.0 12.0",
        "3 nan 3.0 10.0 12.0",
        *(f"{number} -1.0 3.0 10.0 12.0" for number in (4, 5)),
        "6 -9.0 3.0 4.0 12.0",
        *(f"{number} 1.0 3.0 10.0 12.0" for number in (7, 8, 8)),
    )
    files[f"{top}/train_test_split.txt"] = lines(*((number, number) for number in range(1, 9)))
    table, problems = cub.table(Raw(write_files(tmp_path, files)))
    assert sorted(problem_texts(problems)) == [
        "bounding_boxes.txt, row 1: box 2.0 3.0 2.0 15.0: must be x1 y1 x2 y2 with x1 < x2 and y1 < y2",
        "bounding_boxes.txt, row 2: x='nan' y='3.0' w='10.0' h='12.0': must be numbers",
        "bounding_boxes.txt, row 3: id '4' is not in images.txt",
        "bounding_boxes.txt, row 5: box -9.0 3.0 -5.0 15.0: is left of or above the image",
        "bounding_boxes.txt, row 8: id '8' is listed before",
        "image_class_labels.txt, row 6: class 7 is not in classes.txt",
        "image_class_labels.txt, row 7: id '9' is not in images.txt",
        "images.txt, row 3: id '4' has no row in image_class_labels.txt",
    ]
    assert len(table) == 3
    assert [table.box(row) for row in (0, 1)] == [(2, 3, 13, 16), (-1, 3, 9, 15)], "the second is cut later"
    official = [str(problem) for problem in cub.table(Raw(tmp_path), official_split=True, boxes=False)[1]]
    assert "images.txt, row 1: split is empty" in official, "2 is neither train nor test"
    (tmp_path / top / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"classes.txt: cannot be read: No such file"):
        cub.table(Raw(tmp_path))


def test_inshop_keeps_its_roles(tmp_path):
    raw = Raw(write_files(tmp_path, layouts.inshop()))
    table, problems = inshop.table(raw)
    assert problems == []
    rows = table.frame.select("path", "label", "split", "role").rows()
    assert rows == [
        (path, item, "train" if status == "train" else "test", "both" if status == "train" else status)
        for path, (item, status) in layouts.INSHOP.items()
    ]
    assert all_there(table)
    boxed, problems = inshop.table(raw, boxes=True)
    assert problems == []
    assert boxed.box(0) == (0, 1, 20, 12)


def test_inshop_lists_every_slip(tmp_path):
    files = layouts.inshop()
    name = "Eval/list_eval_partition.txt"
    files[name] = files[name].replace(b" gallery", b" galery ", 1).replace(b"6\n", b"52712\n", 1)
    table, problems = inshop.table(Raw(write_files(tmp_path, files)))
    assert len(table) == 5
    assert problem_texts(problems) == [
        "list_eval_partition.txt: its first line announces 52712 rows, but there are 6",
        "list_eval_partition.txt, row 4: evaluation_status 'galery': must be train, query or gallery",
    ]
    with pytest.raises(DataError, match=r"boxes belong to source\.images=img"):
        inshop.table(Raw(tmp_path), images="img_highres", boxes=True)


def ali_parts():
    classes = [f"{number:05}" for number in range(10)]
    return {
        f"train_val.part{part}.tar.gz": tar_bytes(
            layouts.class_tree("train", [classes[part]]) | layouts.class_tree("val", [classes[part]], each=1)
        )
        for part in range(10)
    }


def test_aliproducts_needs_all_ten_parts(tmp_path):
    parts = ali_parts()
    last = parts.pop("train_val.part0.tar.gz")
    raw = Raw(write_files(tmp_path, parts))
    with pytest.raises(DataError, match=r"each as an archive or unpacked:\n  train_val.part0.tar.gz"):
        aliproducts.table(raw)
    write_files(tmp_path, {"train_val.part0.tar.gz": last})
    table, problems = aliproducts.table(raw)
    assert problems == []
    assert by_split(table) == {
        "train": {f"{number:05}": 2 for number in range(10)},
        "test": {f"{number:05}": 1 for number in range(10)},
    }
    assert all_there(table)
    assert "split" not in aliproducts.table(raw, official_split=False)[0].frame.columns


def test_aliproducts_unpacked_by_hand(tmp_path):
    write_files(
        tmp_path, layouts.class_tree("train", ["a", "b"]) | layouts.class_tree("val", ["a", "b"], each=1)
    )
    table, _ = aliproducts.table(Raw(tmp_path))
    assert len(table) == 6
    assert table.frame["path"][0] == "train/a/0.jpg"


def test_rp2k(tmp_path):
    names = ["雪碧", "可口可乐 500ml"]
    files = layouts.class_tree("all/train", names) | layouts.class_tree("all/test", names, each=1)
    files |= {
        "all/train/.DS_Store": b"",
        f"all/train/{names[0]}/._0.jpg": b"x",
        "all/train/readme.txt": b"",
        "all/test/空/x.txt": b"",
    }
    table, problems = rp2k.table(Raw(write_files(tmp_path, {"rp2k_dataset.zip": zip_bytes(files)})))
    assert by_split(table) == {"train": dict.fromkeys(names, 2), "test": dict.fromkeys(names, 1)}
    assert all_there(table)
    assert problem_texts(problems) == [
        "rp2k_dataset.unpacked/all/train/readme.txt: is outside the class folders, so it has no label",
        "rp2k_dataset.unpacked/all/test/空/: a class folder without images",
    ]


def products10k_files():
    rows = {
        "train": [("1.jpg", 0, 7), ("2.jpg", 0, 7), ("3.jpg", 1, 7)],
        "test": [("1.jpg", 0, "Public"), ("2.jpg", 1, "Private")],
    }
    lists = {
        "train.csv": layouts.table_csv(["name", "class", "group"], rows["train"]),
        "test_kaggletest.csv": layouts.table_csv(["name", "class", "Usage"], rows["test"]),
    }
    images = {
        f"{split}.zip": zip_bytes({f"{split}/{row[0]}": layouts.picture() for row in rows[split]})
        for split in rows
    }
    return lists | images


def test_products10k(tmp_path):
    table, problems = products10k.table(Raw(write_files(tmp_path, products10k_files())))
    assert problems == []
    assert by_split(table) == {"train": {0: 2, 1: 1}, "test": {0: 1, 1: 1}}
    assert all_there(table)


def test_a_csv_with_other_columns_or_ragged_rows(tmp_path):
    files = products10k_files()
    files["train.csv"] = b"name,class,group\n1.jpg,0,7\n2.jpg,0\n3.jpg,x,7\n9.jpg,1,7\n1.jpg,1,7\n"
    table, problems = products10k.table(Raw(write_files(tmp_path, files)))
    assert by_split(table) == {"test": {0: 1, 1: 1}}
    assert problem_texts(problems) == [
        "train.csv, row 1: 2 fields where the header has 3",
        "train.csv, row 2: class='x': must be whole numbers",
        "train.csv, row 0: train.unpacked/train/1.jpg is listed under 2 labels, here '0'",
        "train.csv, row 3: train.unpacked/train/9.jpg: there is no such file",
        "train.csv, row 4: train.unpacked/train/1.jpg is listed under 2 labels, here '1'",
    ]
    for content, wrong in [
        ("name,label,group\n1.jpg,0,7\n", "has no column 'class'; its columns are 'name', 'label', 'group'"),
        ("name,class,class\n1.jpg,0,7\n", "has the column 'class' twice"),
        (
            'name,class,group\n1.jpg,0,"7\n2.jpg,0,7\n',
            "train.csv: not a readable CSV from line 3 on, or earlier",
        ),
    ]:
        write_files(tmp_path, {"train.csv": content.encode()})
        with pytest.raises(DataError, match=wrong):
            products10k.table(Raw(tmp_path))


def test_met(tmp_path):
    raw = Raw(write_files(tmp_path, {name: tar_bytes(files) for name, files in layouts.met().items()}))
    table, problems = met.table(raw)
    assert problems == []
    assert table.frame["role"].value_counts().sort("role").rows() == [
        ("gallery", 6),
        ("query", 6),
    ]
    assert by_split(table)["train"] == {"11": 2, "12": 2, "13": 2}
    assert by_split(table)["test"] == {"12": 1, "test_other/test.jpg": 1, "test_noart/test.jpg": 1}
    assert all_there(table)
    few, _ = met.table(raw, distractors=False)
    assert few.frame["role"].value_counts().sort("role").rows() == [("gallery", 6), ("query", 2)]


@pytest.mark.parametrize(("other", "gap"), [(0.1, 1.0), (1.0, 1 / 3)])
def test_met_is_evaluated_as_prepared(tmp_path, other, gap):
    """Photos of no exhibit are unknown queries: right for nobody, and in GAP only as mistakes."""
    raw = Raw(write_files(tmp_path, {name: tar_bytes(files) for name, files in layouts.met().items()}))
    table = met.table(raw)[0].split("train", "test")
    places = {"11": 0, "12": 1, "13": 2}
    vectors = np.zeros((len(table), 5))
    for row, (label, role) in enumerate(table.frame.select("label", "role").iter_rows()):
        vectors[row, places.get(label, 4)] = 0.5 if role == "query" else 1
        vectors[row, 3] = 0.5 if role == "query" and label in places else 0
        vectors[row, 0] += other if label not in places else 0
    metrics = {"gap": global_average_precision}
    found = evaluate(
        vectors, table.labels, frame=table.frame, metrics=metrics, protocol=QueryGallery(), intervals=False
    )
    assert found.metrics["gap"]["value"] == pytest.approx(gap)
    assert found.queries == 1, "the others have nothing to find"


def test_met_lists_every_slip(tmp_path):
    files = {name: dict(content) for name, content in layouts.met().items()}
    files["ground_truth.tar.gz"]["ground_truth/testset.json"] = layouts.as_json(
        [
            {"path": "test_met/test.jpg", "MET_id": 12},
            {"MET_id": 12},
            "x",
            {"path": "elsewhere/1.jpg"},
            {"path": "test_met/test.jpg", "MET_id": 1.5},
            {"path": "MET/../../1.jpg"},
        ]
    )
    _, problems = met.table(Raw(write_files(tmp_path, {name: tar_bytes(one) for name, one in files.items()})))
    assert problem_texts(problems) == [
        *(
            f"testset.json, row {row}: {entry}: must be text, and an integer or text"
            for row, entry in [
                (1, "path=None MET_id=12"),
                (2, "path=None MET_id=None"),
                (4, "path='test_met/test.jpg' MET_id=1.5"),
            ]
        ),
        "testset.json, row 3: path 'elsewhere/1.jpg': must begin with MET, test_met, test_other, test_noart",
        "testset.json, row 5: 'MET.unpacked/MET/../../1.jpg' leads out of its folder",
    ]


def test_hm_by_product(tmp_path):
    files = layouts.hm()
    del files["images/011/0110065002.jpg"]
    archive = {"h-and-m-personalized-fashion-recommendations.zip": zip_bytes(files)}
    table, problems = hm.table(Raw(write_files(tmp_path, archive)))
    assert table.frame.select("path", "label", "article_id").rows() == [
        ("images/010/0108775015.jpg", "108775", "0108775015"),
        ("images/010/0108775044.jpg", "108775", "0108775044"),
        ("images/011/0110065001.jpg", "110065", "0110065001"),
    ]
    assert problem_texts(problems) == [
        "articles.csv, row 3: images/011/0110065002.jpg: there is no such file"
    ]
    assert "split" not in table.frame.columns
    assert table.frame["prod_name"][0] == "Strap top, wide"


def test_largefinefoodai(tmp_path):
    classes = [str(number) for number in (0, 1)]
    files = {
        "Train.tar": tar_bytes(layouts.class_tree("Train", classes), "w"),
        "Val.tar": tar_bytes(layouts.class_tree("Val", classes, each=1), "w"),
    }
    table, problems = largefinefoodai.table(Raw(write_files(tmp_path, files)))
    assert problems == []
    assert by_split(table) == {"train": {"0": 2, "1": 2}, "test": {"0": 1, "1": 1}}
    assert all_there(table)


def test_shopee(tmp_path):
    archive = {"shopee-product-matching.zip": zip_bytes(layouts.shopee())}
    table, problems = shopee.table(Raw(write_files(tmp_path, archive)))
    assert table.frame["label"].to_list() == [249114794, 249114794, 2937985045, 2937985045]
    assert table.frame["hash"][0] == "94974f937d4c2433"
    assert problem_texts(problems) == [
        "train.csv, row 4: train_images/a.jpg is listed before, in row 0 of train.csv"
    ]


def inaturalist_files(top="train_mini"):
    lists = {name: layouts.coco(name, each=2 if name == top else 1) for name in (top, "val")}
    archives = {}
    for name, content in lists.items():
        images = {image["file_name"]: layouts.picture(image["id"]) for image in content["images"]}
        archives |= {f"{name}.tar.gz": tar_bytes(images)}
        archives |= {f"{name}.json.tar.gz": tar_bytes({f"{name}.json": layouts.as_json(content)})}
    return archives


def test_inaturalist2021(tmp_path):
    raw = Raw(write_files(tmp_path, inaturalist_files()))
    table, problems = inaturalist2021.table(raw)
    assert problems == []
    assert by_split(table) == {
        "train": {f"Species {number}": 2 for number in range(3)},
        "test": {f"Species {number}": 1 for number in range(3)},
    }
    assert all_there(table)
    with pytest.raises(
        DataError, match=r"train.tar.gz, which contains train\n(.|\n)*source.images=train_mini"
    ):
        inaturalist2021.table(Raw(tmp_path), images="train")


def test_inaturalist2021_lists_every_slip(tmp_path):
    content = layouts.coco("val")
    content["annotations"] = [*content["annotations"][1:], {"image_id": 5, "category_id": 1}]
    content["annotations"][1]["category_id"] = 77
    file = write_files(tmp_path, {"val.json": layouts.as_json(content)}) / "val.json"
    frame, problems = inaturalist2021.read_coco(file)
    assert problem_texts(problems) == [
        "val.json (annotations), row 5: image_id 5 is not in val.json (images)",
        "val.json (images), row 0: image_id 1000 has no row in val.json (annotations)",
        "val.json (annotations), row 1: category_id 77 is not in val.json (categories)",
    ]
    odd = [{"id": 2**80, "file_name": "a"}, {"id": 1.0, "file_name": "b"}, {"id": 3}, 4]
    write_files(tmp_path, {"val.json": layouts.as_json(content | {"images": content["images"] + odd})})
    same, problems = inaturalist2021.read_coco(file)
    assert same.equals(frame)
    assert problem_texts(problems)[:4] == [
        f"val.json (images), row {row}: {one}: must be whole numbers, file_name and name text"
        for row, one in enumerate(
            [
                f"id={2**80} file_name='a'",
                "id=1.0 file_name='b'",
                "id=3 file_name=None",
                "id=None file_name=None",
            ],
            len(content["images"]),
        )
    ]
    for wrong, message in [
        ([], "must hold images, annotations and categories"),
        ({"images": [{"id": 1}]}, "images must have the fields id and file_name"),
        ({"licenses": []}, "has no list 'images'; it contains licenses"),
    ]:
        write_files(tmp_path, {"val.json": layouts.as_json(wrong)})
        with pytest.raises(DataError, match=message):
            inaturalist2021.read_coco(file)
    for broken in (layouts.as_json(content)[:-30], b"[" * 100_000):
        file.write_bytes(broken)
        with pytest.raises(DataError, match="not readable JSON"):
            inaturalist2021.read_coco(file)


def test_inaturalist2018_divided(tmp_path):
    paths = {
        "train": [f"train_val2018/Aves/2761/{number}.jpg" for number in range(3)],
        "test": [f"train_val2018/Plantae/12/{number}.jpg" for number in range(2)],
    }
    images = {path: layouts.picture() for half in paths.values() for path in half}
    lists = {f"Inat_dataset_splits/Inaturalist_{name}_set1.txt": lines(*half) for name, half in paths.items()}
    files = {"train_val2018.tar.gz": tar_bytes(images), "Inat_dataset_splits.zip": zip_bytes(lists)}
    table, problems = inaturalist2018.table(Raw(write_files(tmp_path, files)))
    assert problems == []
    assert by_split(table) == {"train": {"Aves/2761": 3}, "test": {"Plantae/12": 2}}
    assert all_there(table)


def test_tsinghua_dogs_in_nine_parts(tmp_path):
    files = layouts.tsinghua_dogs()
    images = files.pop("images")
    size = len(images) // 9 + 1
    parts = {f"TsinghuaDogs.zip.{part + 1:03}": images[part * size : (part + 1) * size] for part in range(9)}
    lost = parts.pop("TsinghuaDogs.zip.005")
    raw = Raw(write_files(tmp_path, files | parts))
    with pytest.raises(DataError, match=r"has 9 parts; missing: TsinghuaDogs.zip.005"):
        tsinghua_dogs.table(raw)
    write_files(tmp_path, {"TsinghuaDogs.zip.005": lost})
    table, problems = tsinghua_dogs.table(raw)
    assert problems == []
    assert by_split(table) == {
        "train": dict.fromkeys(layouts.DOGS, 2),
        "test": dict.fromkeys(layouts.DOGS, 1),
    }
    assert table.frame["path"][0] == "high-resolution/806-n000129-papillon/n170750.jpeg"
    assert all_there(table)


def test_celeba_a_quarter_of_the_identities(tmp_path):
    raw = Raw(write_files(tmp_path, layouts.celeba()))
    table, problems = celeba.table(raw)
    assert problems == []
    counts = by_split(table)
    assert (len(counts["train"]), len(counts["test"])) == (6, 2)
    assert not counts["train"].keys() & counts["test"].keys()
    assert set(table.frame["label"]) == set(range(2880, 2888))
    assert all_there(table)
    other, _ = celeba.table(raw, seed=1)
    assert by_split(other)["test"].keys() != counts["test"].keys()
    official, problems = celeba.table(raw, split="official")
    assert problems == []
    assert {split: len(labels) for split, labels in by_split(official).items()} == {
        "train": 2,
        "val": 2,
        "test": 4,
    }


def test_celeba_lists_every_slip(tmp_path):
    files = layouts.celeba()
    files["list_eval_partition.txt"] = files["list_eval_partition.txt"].replace(b"2.jpg 0", b"2.jpg 7")
    files["identity_CelebA.txt"] += b"000099.jpg 1\n"
    _, problems = celeba.table(Raw(write_files(tmp_path, files)), split="official")
    assert problem_texts(problems) == [
        "identity_CelebA.txt, row 16: image '000099.jpg' has no row in list_eval_partition.txt",
        "identity_CelebA.txt, row 1: split is empty",
    ]


def test_lfw_and_its_pairs(tmp_path):
    table, problems, pairs = lfw.table(Raw(write_files(tmp_path, layouts.lfw())))
    assert problems == []
    assert by_split(table) == {"test": {"Aaron_Peirsol": 3, "George_W_Bush": 4, "Zach_Safrin": 1}}
    assert all_there(table)
    assert pairs.rows() == [
        ("Aaron_Peirsol/Aaron_Peirsol_0001.jpg", "Aaron_Peirsol/Aaron_Peirsol_0002.jpg", True, 0),
        ("Aaron_Peirsol/Aaron_Peirsol_0001.jpg", "Zach_Safrin/Zach_Safrin_0001.jpg", False, 0),
        ("George_W_Bush/George_W_Bush_0002.jpg", "George_W_Bush/George_W_Bush_0004.jpg", True, 1),
        ("George_W_Bush/George_W_Bush_0003.jpg", "Aaron_Peirsol/Aaron_Peirsol_0003.jpg", False, 1),
    ]


def test_pairs_that_are_none(tmp_path):
    file = tmp_path / "pairs.txt"
    file.write_bytes(b"1\t2\nA\t1\t2\nA\t1\tB\t9\nA\t1\tA\t2\n")
    pairs, problems = lfw.read_official_pairs(file, {"A/A_0001.jpg", "A/A_0002.jpg"})
    assert len(pairs) == 2
    assert problem_texts(problems) == [
        "pairs.txt: its first line announces 1 × 2 × 2 pairs, but there are 3",
        "pairs.txt, row 1: there is no B/B_0009.jpg",
    ]
    for content, wrong in [
        (b"1\t2\nA\tx\t2\nA\t1\tA\t2\t3\n", "2 lines are invalid"),
        (b"1\t1\nA\t1\t9\n", "none of its 1 pairs has both images"),
        (b"", "contains no pairs"),
    ]:
        file.write_bytes(content)
        with pytest.raises(DataError, match=wrong):
            lfw.read_official_pairs(file, {"A/A_0001.jpg"})


@pytest.mark.parametrize(("module", "first"), [(mnist, "0"), (fashion_mnist, "T-shirt/top")])
def test_idx_files_become_images(module, first, tmp_path):
    table, problems = module.table(Raw(write_files(tmp_path, layouts.mnist())))
    assert problems == []
    assert {split: sum(counts.values()) for split, counts in by_split(table).items()} == {
        "train": 12,
        "test": 6,
    }
    assert table.frame.row(0) == ("png/train/00000.png", first, "train")
    raw = gzip.decompress((tmp_path / "t10k-images-idx3-ubyte.gz").read_bytes())
    with Image.open(tmp_path / "png" / "test" / "00001.png") as image:
        assert image.size == (28, 28)
        assert image.tobytes() == raw[16 + 784 : 16 + 2 * 784]
    assert "split" not in module.table(Raw(tmp_path), official_split=False)[0].frame.columns
    other = "train-images-idx3-ubyte.gz"
    write_files(
        tmp_path, {other: gzip.compress(gzip.decompress((tmp_path / other).read_bytes())[:-1] + b"!")}
    )
    with pytest.raises(DataError, match="png: was not made from the files beside it; delete it"):
        module.table(Raw(tmp_path))


def test_idx_files_that_are_damaged(tmp_path):
    files = layouts.mnist()
    name = "train-images-idx3-ubyte.gz"
    plain = gzip.decompress(files[name])
    for content, wrong in [
        (files[name][:-200], "damaged or truncated"),
        (gzip.compress(plain[:-1]), "announces 9,408 bytes, but there are only 9,407"),
        (gzip.compress(plain + b"x"), "announces 9,408 bytes, but there are more"),
        (files["train-labels-idx1-ubyte.gz"], "not an idx file of images; it begins with 00 00 08 01"),
        (gzip.compress(b"\0\0"), "damaged or truncated"),
        (gzip.compress(plain[:4]), "damaged or truncated"),
        (b"<html>", "damaged or truncated"),
        (gzip.compress(plain[:4] + b"\xff" * 12), "not an idx file of images"),
        (gzip.compress(plain[:4] + bytes(12)), "not an idx file of images"),
    ]:
        with pytest.raises(DataError, match=wrong):
            mnist.table(Raw(write_files(tmp_path, files | {name: content})))
        assert not (tmp_path / "png").exists()
    with pytest.raises(DataError, match="6 labels, 12 images"):
        label = "train-labels-idx1-ubyte.gz"
        mnist.table(Raw(write_files(tmp_path, files | {label: files["t10k-labels-idx1-ubyte.gz"]})))


def test_omniglot(tmp_path):
    raw = Raw(write_files(tmp_path, layouts.omniglot()))
    table, problems = omniglot.table(raw)
    assert problems == []
    assert by_split(table) == {
        "train": {"Greek/character01": 3, "Greek/character02": 3},
        "test": {"Atlantean/character01": 3, "Atlantean/character02": 3},
    }
    turned, _ = omniglot.table(raw, rotations=True)
    assert len(by_split(turned)["train"]) == 8
    assert by_split(turned)["test"] == by_split(table)["test"]
    assert all_there(turned)


def test_a_set_that_is_not_as_large_as_published_is_said(tmp_path, caplog, monkeypatch):
    raw = Raw(write_files(tmp_path, layouts.sop()))
    sop.table(raw)
    assert (
        "train: 6 images of 3 classes listed, but 59,551 images of 11,318 classes are published"
        in caplog.text
    )
    caplog.clear()
    monkeypatch.setattr(sop, "SET", replace(sop.SET, counts={"train": (6, 3), "test": (4, 2)}))
    with caplog.at_level(logging.INFO):
        sop.table(raw)
    assert caplog.text == ""


def test_counts_are_compared_also_where_the_split_is_dropped(tmp_path, caplog):
    mnist.table(Raw(write_files(tmp_path, layouts.mnist())), official_split=False)
    assert "MNIST, train: 12 images of 10 classes listed" in caplog.text
