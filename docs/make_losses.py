"""Write the list of losses in docs/losses.md from conf/loss and the classes it names.

python docs/make_losses.py
"""

import inspect
import textwrap
from importlib import import_module
from pathlib import Path

import yaml

import lookalike
from lookalike.config.catalogue import Entry, entries, summary

PAGE = Path(__file__).with_name("losses.md")
CONF = Path(lookalike.__file__).parent / "conf" / "loss"
START, END = "<!-- list: made by docs/make_losses.py -->", "<!-- end of list -->"
GROUPS = {
    "several images of each class": """
        Losses that compare images with images. A batch must hold several images of a class
        (`sampler=per_class`); nothing is learned beside the model, with few exceptions; labels may be
        anything, -1 is unknown.""",
    "any batch": """
        Losses with something learned for each class, its proxies. Any batch will do, also one image of a
        class; every training label must be known. Proxies learn at their own rate (`loss_lr`).""",
    "any batch, many classes": """
        Classification with a margin: proxies again, made for thousands to millions of classes. They share
        `options`, such as margins by class size, and can sample their classes (`class_sample`).""",
    "beside another loss": """
        Regularisers. They do not tell classes apart by themselves: add them to another loss,
        `loss=[triplet,gor]`.""",
}


def data(file: Path) -> str:
    """What the second line of a loss's file says it is for."""
    return file.read_text(encoding="utf-8").splitlines()[1].removeprefix("# Data: ")


def story(file: Path) -> str:
    """What the class says about itself, up to its arguments."""
    (node,) = yaml.safe_load(file.read_text(encoding="utf-8")).values()
    module, _, name = node["_target_"].rpartition(".")
    text = inspect.getdoc(getattr(import_module(module), name)) or ""
    for heading in ("Args:", "Attributes:"):
        text = text.split(f"\n{heading}\n")[0]
    return text.strip()


def argument(entry: Entry) -> str:
    """A line about one value."""
    return f"- `{entry.key.partition('.')[2]}={entry.text}`: {entry.comment}"


def section(file: Path) -> str:
    """One loss."""
    values = [argument(entry) for entry in entries(file) if not entry.key.endswith(".weight")]
    listed = "\n".join(values) or "No values to set."
    return f"#### `{file.stem}`\n\n{summary(file)}\n\n{story(file)}\n\n{listed}\n"


def listing() -> str:
    """All losses, by what data they are for."""
    files = sorted(CONF.glob("*.yaml"))
    parts = []
    for group, words in GROUPS.items():
        members = [file for file in files if data(file) == group]
        names = ", ".join(f"[`{file.stem}`](#{file.stem})" for file in members)
        parts.append("### Beside another loss\n" if group.startswith("beside") else f"### For {group}\n")
        parts += [textwrap.fill(" ".join(words.split()), 118) + "\n", names + "\n", *map(section, members)]
    return "\n".join(parts)


def page() -> str:
    """The page with its list made anew."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    return f"{before}{START}\n\n{listing()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
