"""Small public sets in their true layout, as folders and as the archives that their authors publish."""

import csv
import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (24, 20), kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """The bytes of a small image; another seed, another grey."""
    stream = io.BytesIO()
    Image.new(mode, size, seed % 200 if mode != "RGB" else (seed % 200, 90, 30)).save(stream, kind)
    return stream.getvalue()


def lines(*rows: Sequence[object] | str, separator: str = " ") -> bytes:
    """Rows as text."""
    texts = (row if isinstance(row, str) else separator.join(map(str, row)) for row in rows)
    return "".join(f"{text}\n" for text in texts).encode()


def table_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream).writerows([header, *rows])
    return stream.getvalue().encode()


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The files in a folder."""
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(entry.name for entry in folder.iterdir())


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tar_bytes(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def mat(**values: object) -> bytes:
    """A MATLAB file; a list of dicts becomes a struct array, a list of text a cell array."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, {name: _matlab(value) for name, value in values.items()})
    return stream.getvalue()


def _matlab(value: object) -> object:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        names = list(value[0])
        array = np.zeros((1, len(value)), dtype=[(name, object) for name in names])
        for place, row in enumerate(value):
            array[0, place] = tuple(row[name] for name in names)
        return array
    return np.array([value], dtype=object) if isinstance(value, list) else value


def idx(array: np.ndarray) -> bytes:
    """An idx file, compressed."""
    magic = 0x0800 | array.ndim
    head = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


SOP_HEADER = "image_id class_id super_class_id path"


def sop(train: int = 3, test: int = 2, each: int = 2) -> dict[str, bytes]:
    """So many classes in each split."""
    files: dict[str, bytes] = {}
    lists: dict[str, list[str]] = {"train": [], "test": []}
    number = 0
    for label in range(1, train + test + 1):
        split = "train" if label <= train else "test"
        for shot in range(each):
            number += 1
            path = f"{'table' if label % 2 else 'mug'}_final/{3810526275 + label}_{shot}.JPG"
            files[path] = picture(number)
            lists[split].append(f"{number} {label} {1 + label % 2} {path}")
    for name, rows in {**lists, "info": lists["train"] + lists["test"]}.items():
        files[f"Ebay_{name}.txt"] = lines(SOP_HEADER, *rows)
    return {f"Stanford_Online_Products/{name}": content for name, content in files.items()}


def cub(classes: Sequence[int] = (99, 100, 101, 102), each: int = 2) -> dict[str, bytes]:
    names = {label: f"{label:03}.Bird_{label}" for label in classes}
    rows = [
        (label, f"{names[label]}/Bird_{label}_{shot:04}.jpg") for label in classes for shot in range(each)
    ]
    numbered = list(enumerate(rows, 1))
    files = {
        "README": b"birds\n",
        "classes.txt": lines(*names.items()),
        "images.txt": lines(*((number, path) for number, (_, path) in numbered)),
        "image_class_labels.txt": lines(*((number, label) for number, (label, _) in numbered)),
        "train_test_split.txt": lines(*((number, number % 2) for number, _ in numbered)),
        "bounding_boxes.txt": lines(*((number, "2.0", "3.0", "10.0", "12.0") for number, _ in numbered)),
        "parts/part_locs.txt": b"1 1 0.0 0.0 0\n",
        **{f"images/{path}": picture(number) for number, (_, path) in numbered},
    }
    return {"attributes.txt": b"x\n", **{f"CUB_200_2011/{name}": content for name, content in files.items()}}


CAR_BOX = {"bbox_x1": 1, "bbox_y1": 2, "bbox_x2": 24, "bbox_y2": 11}
CAR_NAMES = [f"Car {number} 2012" for number in range(1, 197)]


def cars(classes: Sequence[int] = (97, 98, 99, 100), each: int = 2) -> dict[str, bytes]:
    rows = [
        {"relative_im_path": f"car_ims/{place:06}.jpg", **CAR_BOX, "class": label, "test": place % 2}
        for place, label in enumerate((label for label in classes for _ in range(each)), 1)
    ]
    images = {row["relative_im_path"]: picture(place) for place, row in enumerate(rows)}
    files = {"cars_annos.mat": mat(annotations=rows, class_names=CAR_NAMES), **images}
    return {f"CARS196/{name}": content for name, content in files.items()}


def cars_devkit(classes: Sequence[int] = (97, 98, 99, 100)) -> dict[str, dict[str, bytes]]:
    """The older archives, by their names; the last is a file as it is."""
    rows = [{**CAR_BOX, "class": label, "fname": f"{place:05}.jpg"} for place, label in enumerate(classes, 1)]
    annotated = mat(annotations=rows)
    images = {row["fname"]: picture(place) for place, row in enumerate(rows)}
    return {
        "car_devkit.tgz": {
            "devkit/cars_train_annos.mat": annotated,
            "devkit/cars_test_annos.mat": annotated,
            "devkit/cars_meta.mat": mat(class_names=CAR_NAMES),
        },
        "cars_train.tgz": {f"cars_train/{name}": content for name, content in images.items()},
        "cars_test.tgz": {f"cars_test/{name}": content for name, content in images.items()},
        "cars_test_annos_withlabels.mat": {"": annotated},
    }


INSHOP = {
    "img/WOMEN/Dresses/id_00000002/02_1_front.jpg": ("id_00000002", "train"),
    "img/WOMEN/Dresses/id_00000002/02_2_side.jpg": ("id_00000002", "train"),
    "img/MEN/Denim/id_00000004/01_1_front.jpg": ("id_00000004", "train"),
    "img/WOMEN/Skirts/id_00000001/02_1_front.jpg": ("id_00000001", "query"),
    "img/WOMEN/Skirts/id_00000001/02_2_side.jpg": ("id_00000001", "gallery"),
    "img/WOMEN/Skirts/id_00000007/01_1_front.jpg": ("id_00000007", "gallery"),
}


def inshop() -> dict[str, bytes]:
    """The files as they are given: the archive of the images, the list of roles, the boxes."""
    roles = [f"{path:<70} {item} {status:<11}" for path, (item, status) in INSHOP.items()]
    boxes = [f"{path:<70} 3 1 001 002 020 {12 + place:03}" for place, path in enumerate(INSHOP)]
    return {
        "Img/img.zip": zip_bytes({path: picture(place) for place, path in enumerate(INSHOP)}),
        "Eval/list_eval_partition.txt": lines(
            str(len(roles)), "image_name item_id evaluation_status", *roles
        ),
        "Anno/list_bbox_inshop.txt": lines(
            str(len(boxes)), "image_name clothes_type pose_type x_1 y_1 x_2 y_2", *boxes
        ),
    }


def class_tree(top: str, classes: Sequence[str], each: int = 2, ending: str = "jpg") -> dict[str, bytes]:
    """`top/<class>/<number>.jpg`."""
    return {
        f"{top}/{label}/{number}.{ending}": picture(place * 7 + number)
        for place, label in enumerate(classes)
        for number in range(each)
    }


def met() -> dict[str, dict[str, bytes]]:
    """The archives by their names: 3 exhibits, and of each kind of photo one to validate and one to test."""
    gallery = [{"id": label, "path": f"MET/{label}/{shot}.jpg"} for label in (11, 12, 13) for shot in (0, 1)]
    kinds = ("test_met", "test_other", "test_noart")
    queries = {
        split: [
            {"path": f"{kind}/{split}.jpg", **({"MET_id": 12} if kind == "test_met" else {})}
            for kind in kinds
        ]
        for split in ("val", "test")
    }
    return {
        "ground_truth.tar.gz": {
            "ground_truth/MET_database.json": as_json(gallery),
            "ground_truth/mini_MET_database.json": as_json(gallery[:2]),
            **{f"ground_truth/{split}set.json": as_json(rows) for split, rows in queries.items()},
        },
        "MET.tar.gz": {row["path"]: picture(place) for place, row in enumerate(gallery)},
        **{f"{kind}.tar.gz": {f"{kind}/{split}.jpg": picture() for split in queries} for kind in kinds},
    }


HM_HEADER = [
    "article_id",
    "product_code",
    "prod_name",
    "product_type_no",
    "product_type_name",
    "colour_group_name",
]


def hm(
    articles: Sequence[str] = ("0108775015", "0108775044", "0110065001", "0110065002"),
) -> dict[str, bytes]:
    rows = [(one, one[1:7].lstrip("0"), "Strap top, wide", 253, "Vest top", "Black") for one in articles]
    images = {f"images/{one[:3]}/{one}.jpg": picture(place) for place, one in enumerate(articles)}
    return {"articles.csv": table_csv(HM_HEADER, rows), "customers.csv": b"customer_id\n", **images}


def shopee() -> dict[str, bytes]:
    rows = [
        ("train_1", "a.jpg", "94974f937d4c2433", "Paper Bag, Victoria\nSecret", 249114794),
        ("train_2", "b.jpg", "af3f9460c2838f0f", "Double Tape 3M", 249114794),
        ("train_3", "c.jpg", "b94cb00ed3e50f78", "Maling TTS", 2937985045),
        ("train_4", "d.jpg", "8514fc58eafea283", "Daster", 2937985045),
        ("train_5", "a.jpg", "94974f937d4c2433", "Paper Bag again", 249114794),
    ]
    header = ["posting_id", "image", "image_phash", "title", "label_group"]
    images = {f"train_images/{name}": picture(ord(name[0])) for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")}
    return {"train.csv": table_csv(header, rows), "test.csv": b"x\n", **images}


def coco(top: str, categories: Sequence[int] = (0, 1, 2), each: int = 2) -> dict[str, object]:
    """A list in COCO's form, of images below `top`."""
    names = [
        {"id": label, "name": f"Species {label}", "image_dir_name": f"{label:05}_x"} for label in categories
    ]
    images, labels = [], []
    for place, label in enumerate(label for label in categories for _ in range(each)):
        number = place + (1000 if top == "val" else 0)
        path = f"{top}/{label:05}_x/{number}.jpg"
        images.append({"id": number, "width": 24, "height": 20, "file_name": path})
        labels.append({"id": number, "image_id": number, "category_id": label})
    return {"info": {}, "images": images, "annotations": labels, "categories": names}


DOGS = ("806-n000129-papillon", "200-n000008-Airedale")


def tsinghua_dogs() -> dict[str, bytes]:
    """The images, and the archive of the lists."""
    paths = [f"{folder}/n{170750 + place}.jpeg" for folder in DOGS for place in range(3)]
    images = {f"high-resolution/{path}": picture(place) for place, path in enumerate(paths)}
    halves = {"train": paths[:2] + paths[3:5], "validation": [paths[2], paths[5]]}
    lists = {
        f"TrainAndValList/{name}.lst": b"\xef\xbb\xbf" + lines(*(f".//{path}" for path in half))
        for name, half in halves.items()
    }
    return {"images": zip_bytes(images), "TrainValSplit.zip": zip_bytes(lists)}


def celeba(identities: int = 8, each: int = 2) -> dict[str, bytes]:
    names = [f"{number:06}.jpg" for number in range(1, identities * each + 1)]
    images = {f"img_align_celeba/{name}": picture(place) for place, name in enumerate(names)}
    people = [2880 + place // each for place in range(len(names))]
    parts = [min(2, 4 * place // len(names)) for place in range(len(names))]
    return {
        "img_align_celeba.zip": zip_bytes(images),
        "identity_CelebA.txt": lines(*zip(names, people, strict=True)),
        "list_eval_partition.txt": lines(*zip(names, parts, strict=True)),
    }


def lfw() -> dict[str, bytes]:
    people = {"Aaron_Peirsol": 3, "George_W_Bush": 4, "Zach_Safrin": 1}
    images = {
        f"lfw/{name}/{name}_{number:04}.jpg": picture(number)
        for name, count in people.items()
        for number in range(1, count + 1)
    }
    folds = [
        [("Aaron_Peirsol", 1, 2), ("Aaron_Peirsol", 1, "Zach_Safrin", 1)],
        [("George_W_Bush", 2, 4), ("George_W_Bush", 3, "Aaron_Peirsol", 3)],
    ]
    pairs = lines((2, 1), *(pair for fold in folds for pair in fold), separator="\t")
    return {"lfw.tgz": tar_bytes(images), "pairs.txt": pairs}


def mnist(train: int = 12, test: int = 6) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for name, count in (("train", train), ("t10k", test)):
        files[f"{name}-images-idx3-ubyte.gz"] = idx(rng.integers(0, 256, (count, 28, 28)))
        files[f"{name}-labels-idx1-ubyte.gz"] = idx(np.arange(count) % 10)
    return files


def omniglot() -> dict[str, bytes]:
    def half(top: str, alphabet: str) -> bytes:
        names = [f"{top}/{alphabet}/character{c:02}/{c:04}_{n:02}.png" for c in (1, 2) for n in (1, 2, 3)]
        images = {name: picture(place, (105, 105), "PNG", "1") for place, name in enumerate(names)}
        return zip_bytes(images)

    return {
        "images_background.zip": half("images_background", "Greek"),
        "images_evaluation.zip": half("images_evaluation", "Atlantean"),
    }
