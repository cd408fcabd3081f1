"""The bundled emoji, and the two scripts that made them."""

import importlib.util
import re
import sys
from collections import Counter
from importlib import resources
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from lookalike.prepare import folder

SAMPLE = Path(str(resources.files("lookalike"))) / "sample" / "emoji"
CREDITS = SAMPLE.parent / "credits"
FREE_WITH_CREDIT = {"emojione", "fluent-emoji-flat", "fxemoji", "noto", "noto-v1", "twemoji"}


def script(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def class_folders() -> dict[str, list[Path]]:
    return {folder.name: sorted(folder.iterdir()) for folder in SAMPLE.iterdir()}


def test_about_300_classes_of_four_or_more_styles() -> None:
    sizes = Counter(len(files) for files in class_folders().values())
    assert sum(sizes.values()) == 300
    assert min(sizes) >= 4
    assert sizes[6] > 200


def test_only_styles_that_ask_for_credit_alone() -> None:
    assert {file.stem for files in class_folders().values() for file in files} == FREE_WITH_CREDIT


def test_class_names_are_words() -> None:
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in class_folders())
    assert {"red-apple", "elephant", "bicycle"} <= set(class_folders())


def test_every_image_is_a_64_pixel_png_on_white() -> None:
    for file in (file for files in class_folders().values() for file in files):
        with Image.open(file) as image:
            assert (image.format, image.size) == ("PNG", (64, 64)), file
            assert image.mode in {"RGB", "P"}, file
            assert "transparency" not in image.info, file


def test_no_two_images_are_the_same() -> None:
    seen: dict[bytes, Path] = {}
    for file in (file for files in class_folders().values() for file in files):
        with Image.open(file) as image:
            pixels = image.convert("RGB").tobytes()
        assert pixels not in seen, f"{file} shows what {seen.get(pixels)} shows"
        seen[pixels] = file


def test_whole_sample_is_at_most_5_mb() -> None:
    assert sum(file.stat().st_size for file in SAMPLE.parent.rglob("*") if file.is_file()) <= 5_000_000


@pytest.mark.parametrize("style", sorted(FREE_WITH_CREDIT))
def test_each_style_is_credited_with_a_licence_that_is_there(style: str) -> None:
    readme = (CREDITS / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if line.startswith(f"| `{style}.png` |")]
    (licence,) = re.findall(r"`(LICENSES/[^`]+)`", row)
    assert len((CREDITS / licence).read_text(encoding="utf-8")) > 1000
    assert "https://" in row


def test_readme_counts_what_is_there_and_names_the_changes() -> None:
    readme = (CREDITS / "README.md").read_text(encoding="utf-8")
    images = sum(map(len, class_folders().values()))
    assert f"{images:,} images" in readme
    assert "**Changes:**" in readme


def test_folder_source_reads_the_sample_as_it_is() -> None:
    table, problems = folder.table(SAMPLE)
    assert problems == []
    assert set(table.labels) == set(class_folders())
    assert len(table) == sum(map(len, class_folders().values()))


@pytest.mark.parametrize(
    ("written", "label"),
    [("0023-FE0F-20E3", "23-20e3"), ("1F600", "1f600"), ("1F3F3-FE0F-200D-1F308", "1f3f3-200d-1f308")],
)
def test_code_points_become_labels(written: str, label: str) -> None:
    assert script("get_emoji").code_points(written) == label


def test_the_split_of_the_emoji_set_never_changes() -> None:
    split_of = script("get_emoji").split_of
    assert [split_of(label) for label in ("1f004", "1f0cf", "1f192", "1f195")] == [
        "test", "train", "test", "test",
    ]  # fmt: skip


def icon_set(icons: dict, chars: dict[str, str], aliases: dict | None = None) -> object:
    body = {name: {"body": f"<{name}/>"} for name in icons}
    return script("get_emoji").IconSet(
        {"icons": body, "aliases": aliases or {}, "width": 36, "height": 36}, chars
    )


def test_icons_are_found_by_code_points_then_by_name() -> None:
    listed = icon_set(["red-apple", "pear"], {"1f34e": "red-apple"})
    assert listed.find("1f34e", []).body == "<red-apple/>"
    assert listed.find("1f350", ["pear"]) is None, "a set that lists code points is not joined by name"
    one_word = icon_set(["redapple"], {})
    assert one_word.find("1f34e", ["apple", "red-apple"]).body == "<redapple/>"
    assert one_word.find("1f34e", ["apple"]) is None


def test_another_name_for_an_icon_may_mirror_it() -> None:
    icons = icon_set(["left"], {}, {"right": {"parent": "left", "hFlip": True}})
    assert "scale(-1 1)" in icons.find("x", ["right"]).svg()
    assert "scale" not in icons.find("x", ["left"]).svg()


def test_join_prefers_the_name_that_most_sets_use() -> None:
    sets = {
        "a": icon_set(["up", "arrow"], {"1f199": "up"}),
        "b": icon_set(["up"], {"1f199": "up"}),
        "c": icon_set(["arrow"], {"1f199": "arrow"}),
        "d": icon_set(["arrow", "up"], {}),
    }
    rows = {row["style"]: icon.body for row, icon in script("get_emoji").join([{"label": "1f199"}], sets)}
    assert rows == {"a": "<up/>", "b": "<up/>", "c": "<arrow/>", "d": "<up/>"}


def test_sample_leaves_out_near_twins_and_long_names(tmp_path: Path) -> None:
    make_sample = script("make_sample")
    (tmp_path / "table.csv").write_text(
        "path,label,split,style,group_name,subgroup,name\n"
        "a.png,1f34e,test,noto,Food & Drink,food-fruit,red apple\n"
        "b.png,1f34e,test,openmoji,Food & Drink,food-fruit,red apple\n"
        "c.png,1f550,test,noto,Travel & Places,time,clock face one oclock\n"
        f"d.png,1f350,test,noto,Food & Drink,food-fruit,{'very ' * 10}long pear\n",
        encoding="utf-8",
    )
    chosen = make_sample.choose(make_sample.read_classes(tmp_path))
    assert {name: [row["path"] for row in rows] for name, rows in chosen.items()} == {"red-apple": ["a.png"]}


def test_folder_names_are_plain_words() -> None:
    folder_name = script("make_sample").folder_name
    assert folder_name("Rescue worker’s helmet") == "rescue-workers-helmet"
    assert folder_name("curaçao flag") == "curacao-flag"


def test_palette_is_used_only_where_it_costs_little(tmp_path: Path) -> None:
    make_sample = script("make_sample")
    flat = Image.new("RGB", (64, 64), "white")
    flat.paste("red", (8, 8, 40, 40))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for image, mode in ((flat, "P"), (noise, "RGB")):
        (tmp_path / "x.png").write_bytes(make_sample.png(image))
        with Image.open(tmp_path / "x.png") as kept:
            assert kept.mode == mode
            assert np.array_equal(np.asarray(kept.convert("RGB")), np.asarray(image))
