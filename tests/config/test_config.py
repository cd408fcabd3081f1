from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, model_validator

from lookalike import config
from lookalike.config import catalogue, usage
from lookalike.errors import ConfigError


class Spring:
    """A loss of these tests."""

    def __init__(
        self,
        margin: Annotated[float, Field(ge=0)] = 0.2,
        mining: Literal["all", "hard"] = "all",
        sizes: list[int] | None = None,
        name: str = "spring",
        miner: "Spring | None" = None,
        size: tuple[int, int] = (1, 1),
        num_classes: int = 0,
        few: Annotated[tuple[int, ...], Field(min_length=1)] = (1,),
    ):
        if margin > 2:
            raise ValueError(f"margin={margin}: at most 2 on the sphere")
        self.margin, self.miner, self.num_classes, self.sizes = margin, miner, num_classes, sizes


class Brick(BaseModel):
    """The keys of the job in these tests."""

    dataset: str | list[str] = Field(description="what to learn from")
    out: Path = Field(description="where to write")
    index: Path | None = Field(description="a key that is also the name of a group")
    epochs: int = Field(ge=0, description="rounds")
    lr: float = Field(gt=0, description="rate")
    ks: list[int] = Field(description="neighbours")
    workers: int | Literal["auto"] = Field(description="processes")
    amp: bool = Field(description="half precision")
    fold: int | None = Field(description="which fold")
    rates: dict[str, float] = Field(description="names of one's own")
    loss: dict[str, dict[str, Any]] = Field(min_length=1, description="what is minimised")
    head: dict[str, Any] = Field(description="the last layer")

    @model_validator(mode="after")
    def check_apart(self) -> "Brick":
        if str(self.out) == self.dataset:
            raise ValueError("out and dataset must differ")
        return self


YAMLS = {
    "brick.yaml": """# Lay bricks
defaults: [{head: flat}, {loss: [spring]}, _self_]
dataset: ???
out: ???
index: null
epochs: 3
lr: 0.001
ks: [1, 5]
workers: auto
amp: false
fold: null
rates: {}
""",
    "extra/named.yaml": "# @package _global_\n# names\nrates: {a.b.1: 0.5}\n",
    "other.yaml": "# Another\nbatch: 3\n",
    "head/flat.yaml": f"""# a flat head
_target_: {__name__}.Spring
margin: 0.1  # how # far
name: ${{dataset}}
size: [1, 1]
""",
    "head/bare.yaml": "# nothing to set\n_target_: builtins.dict\n",
    "head/timm.yaml": f"# any\n_target_: {__name__}.Spring\nname: ???  # which one\n",
    "loss/spring.yaml": f"""# pulls
spring:
  weight: 1.0  # how much it counts
  _target_: {__name__}.Spring
  margin: 0.2  # how far
  mining: all
  sizes: null
""",
    "loss/tension.yaml": f"# pushes\ntension: {{weight: 0.5, _target_: {__name__}.Spring, margin: 0.3}}\n",
    "index/exact.yaml": "# a group that brick does not use\n_target_: builtins.dict\n",
}


@pytest.fixture(autouse=True)
def conf(tmp_path, monkeypatch):
    folder = write(tmp_path / "conf", YAMLS)
    monkeypatch.setattr(catalogue, "CONF", folder)
    return folder


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def load(*arguments, **values):
    return config.load("brick", Brick, ["dataset=d", "out=o", *arguments], **values)


def complaint(*arguments):
    with pytest.raises(ConfigError) as caught:
        load(*arguments)
    message = str(caught.value)
    assert "Traceback" not in message
    assert "pydantic" not in message.lower()
    return message


def test_defaults_and_changes_come_out_as_plain_python():
    loaded = load("epochs=7", "ks=[2,3]", "lr=1", "head.margin=0.5")
    assert (loaded.epochs, loaded.ks, loaded.lr, loaded.out) == (7, [2, 3], 1.0, Path("o"))
    assert loaded.head == {"_target_": f"{__name__}.Spring", "margin": 0.5, "name": "d", "size": [1, 1]}
    assert type(loaded.head) is dict
    assert type(config.compose("brick", ["dataset=d", "out=o"])["ks"]) is list


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("epoch=3", ["epoch", "Did you mean epochs?"]),
        ("batch=3", ["brick has no such key", "It is a key of other"]),
        ("loss.spring.margn=1", ["loss.spring.margn", "Did you mean margin?", "margin, mining"]),
        ("margin=1", ["Did you mean head.margin or loss.spring.margin?"]),
        ("loss.tension.margin=1", ["loss=tension is not selected", "Add loss=tension"]),
        ("epochs.more=1", ["epochs has no keys of its own"]),
        ("loss=sprng", ["loss=sprng", "Did you mean spring?", "Choices: spring, tension"]),
        ("loss=[spring,tenson]", ["loss=tenson", "Did you mean tension?"]),
        ("head=[flat,bare]", ["takes one choice"]),
        ("head=null", ["no such head", "Choices: bare, flat, timm"]),
        ("head={a:1}", ["no such head"]),
        ("loss=[]", ["loss", "at least 1"]),
        ("epochs=abc", ["epochs=abc", "a whole number"]),
        ("epochs=1.5", ["epochs=1.5", "a whole number"]),
        ("epochs=true", ["epochs=true", "a whole number"]),
        ("epochs=null", ["epochs=null", "a whole number"]),
        ("epochs='3'", ["a whole number"]),
        ("epochs=", ["epochs=: has no value", "epochs=null"]),
        ("epochs=-1", ["epochs=-1", "at least 0"]),
        ("lr=0", ["lr=0: must be more than 0\n"]),
        ("amp=1", ["true or false"]),
        ("ks=[1,b]", ["ks=[1,b]", "each must be a whole number"]),
        ("ks=b", ["ks=b", "a list"]),
        ("workers=many", ["a whole number or one of auto"]),
        ("loss.spring.margin=abc", ["loss.spring.margin=abc", "a number"]),
        ("loss.spring.margin=-1", ["at least 0"]),
        ("loss.spring.mining=hrd", ["one of all, hard", "Did you mean hard?"]),
        ("loss.spring.sizes=[1,x]", ["loss.spring.sizes=[1,x]", "each must be a whole number"]),
        ("head.size=[3]", ["too few values"]),
        ("loss.spring.weight=x", ["a number"]),
        ("loss.spring.weight=-1", ["at least 0"]),
        ("loss.spring=3", ["loss.spring.margin"]),
        ("+loss.spring.extra=3", ["no such argument", "loss.spring takes"]),
        ("+head.weight=1", ["no such argument"]),
        ("+novel=3", ["novel", "no such key"]),
        ("~epochs", ["epochs: is required"]),
        ("head=timm", ["brick needs head.name=…"]),
        ("head.name=${nowhere}", ["head.name", "reference"]),
        ("head.name=${", ["reference"]),
        ("out=d", ["out and dataset must differ"]),
        ("epochs=1,2", ["epochs=[1,2]"]),
        ("ks=[1", ["ks=[1", "bracket"]),
        ("out='x", ["quote"]),
        ("=3", ["=3", "key=value"]),
        ("epochs", ["key=value"]),
        ("a b=3", ["key=value"]),
        ("loss@head=spring", ["key=value"]),
        ("hydra.run.dir=x", ["no such key"]),
        ("out=\udc80", ["UTF-8"]),
        (
            "+loss.mine._target_=no_such_module.Loss",
            ["loss.mine._target_", "cannot be imported", "no_such_module"],
        ),
        ("+loss.mine._target_=builtins.nothing", ["cannot be imported"]),
        ("conf_dir=nowhere", ["conf_dir=nowhere", "no such folder"]),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed(argument, words):
    message = complaint(argument)
    for word in words:
        assert word in f"{message}\n"
    assert len(message.splitlines()) <= 2


def test_missing_keys_are_all_named():
    with pytest.raises(ConfigError, match=r"brick needs dataset=… and out=…"):
        config.load("brick", Brick)


def test_every_wrong_value_is_reported():
    assert len(complaint("epochs=abc", "lr=-1", "amp=maybe").splitlines()) == 3


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2024", "2024"),
        ("1e5", "1e5"),
        ("007", "007"),
        ("photo (1)", "photo (1)"),
        ("données/été", "données/été"),
        ("a=b&c#1", "a=b&c#1"),
        ("~/x", str(Path.home() / "x")),
        ("'a,b'", "a,b"),
        ("x" * 300, "x" * 300),
    ],
)
def test_a_path_is_taken_as_typed(typed, meant):
    assert str(load(f"out={typed}").out) == meant


def test_text_arguments_of_targets_are_taken_as_typed():
    assert load("head.name=2024").head["name"] == "2024"


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("loss=tension", {"tension"}),
        ("loss=[tension]", {"tension"}),
        ("loss=[spring,tension]", {"spring", "tension"}),
        ("epochs=1", {"spring"}),
    ],
)
def test_losses_are_one_or_a_list(argument, names):
    assert set(load(argument).loss) == names


def test_the_last_choice_counts_and_order_does_not_matter():
    assert set(load("loss.tension.margin=1", "loss=spring", "loss=tension").loss) == {"tension"}


def test_a_key_may_have_the_name_of_a_foreign_group():
    assert load("index=some/folder").index == Path("some/folder")


def test_values_in_braces_and_deletions():
    assert load("loss.spring={margin: 1, mining: hard}").loss["spring"]["margin"] == 1
    assert "no such key" in complaint("loss.spring={marge: 1}")
    assert set(load("loss=[spring,tension]", "~loss.spring").loss) == {"tension"}


@pytest.mark.parametrize(
    ("arguments", "rates"),
    [
        ([], {}),
        (["rates={a.b.6: 0.5, head: 1.0}"], {"a.b.6": 0.5, "head": 1.0}),
        (["rates.a.b.6=0.5", "rates.head=1.0"], {"a.b.6": 0.5, "head": 1.0}),
        (["rates={a.*: 0.5}", "rates={head: 1.0}"], {"head": 1.0}),
        (["+extra=named", "rates.head=1.0"], {"a.b.1": 0.5, "head": 1.0}),
        (["rates=null", "rates.head=1.0"], {"head": 1.0}),
    ],
)
def test_a_mapping_that_is_empty_takes_names_with_dots(arguments, rates):
    assert load(*arguments).rates == rates


def test_such_a_mapping_is_changed_as_a_whole():
    values = load("rates.a.b=0.5")
    for changes in ({"rates": {"c.d": 2.0}}, {"rates.a.b": 2.0, "epochs": 1}):
        found = config.apply_changes("brick", values, changes, "here").rates
        assert found == ({"c.d": 2.0} if "rates" in changes else {"a.b": 2.0})
    assert complaint("rates={a.b: fast}") == "rates={a.b:fast}: must be a number"
    assert "must be keys with values" in complaint("rates=0.5")
    assert "rates.a.b" in complaint("rates={a.b: ???}")


def test_an_empty_list_that_is_too_short_is_named():
    assert complaint("+loss.spring.few=[]") == "loss.spring.few=[]: must be at least 1 long"


def test_own_code_on_the_command_line():
    loaded = load(f"+loss.mine._target_={__name__}.Spring", "loss.mine.margin=0.7", "~loss.spring")
    assert config.build(loaded.loss["mine"]).margin == 0.7
    assert set(load("loss=[]", f"+loss.mine._target_={__name__}.Spring").loss) == {"mine"}


def test_own_choices_in_a_folder(tmp_path):
    text = f"# mine\nmine: {{weight: 2.0, _target_: {__name__}.Spring, margin: 0.9}}\n"
    own = write(tmp_path / "my choices", {"loss/mine.yaml": text, "loss/spring.yaml": "spring: {}"})
    assert load(f"conf_dir={own}", "loss=[mine,spring]", "loss.mine.margin=1").loss["mine"]["margin"] == 1
    assert load(f"conf_dir={own}").loss["spring"]["margin"] == 0.2, "ours go first"
    with pytest.raises(ConfigError, match="Choices: mine, spring, tension"):
        load(f"conf_dir={own}", "loss=none")


def test_a_broken_file_of_ones_own_is_named(tmp_path):
    own = write(tmp_path / "own", {"loss/mine.yaml": "a: [1"})
    assert "mine.yaml" in complaint(f"conf_dir={own}", "loss=mine")


def test_python_values_need_no_quoting():
    loaded = load(**{"out": Path("a,b"), "loss": ["spring"], "loss.spring.margin": 1, "epochs": 2})
    assert (loaded.out, loaded.epochs, loaded.loss["spring"]["margin"]) == (Path("a,b"), 2, 1)
    with pytest.raises(ConfigError, match="whole number"):
        load(epochs="2")


def test_nested_targets_are_checked():
    node = f"{{_target_: {__name__}.Spring, margin: far}}"
    assert "loss.spring.miner.margin=far: must be a number" in complaint(f"+loss.spring.miner={node}")


def test_something_nested_can_be_left_out_or_replaced():
    node = f"{{_target_: {__name__}.Spring, margin: 1}}"
    assert load(f"+loss.spring.miner={node}", "loss.spring.miner=null").loss["spring"]["miner"] is None
    swapped = load(
        f"+loss.spring.miner={node}", f"loss.spring.miner={{_target_: {__name__}.keep, things: 3}}"
    )
    assert swapped.loss["spring"]["miner"] == {"_target_": f"{__name__}.keep", "things": 3}


def test_values_of_a_choice_that_is_not_made_are_named():
    with pytest.raises(ConfigError, match=r"loss\.old: has no _target_.*~loss\.old removes it"):
        config.build({"margin": 1}, "loss.old")


def test_build_gives_what_the_target_names():
    node = {"_target_": f"{__name__}.Spring", "margin": 1, "sizes": [1]}
    built = config.build(node, num_classes=4, dim=8)
    assert (built.margin, built.num_classes, type(built.sizes)) == (1, 4, list)
    later = config.build({**node, "_partial_": True}, num_classes=4)
    assert later(margin=2).num_classes == 4
    assert config.build({**node, "miner": node}).miner.margin == 1


def test_offered_objects_are_passed_untouched():
    things = [{"params": [object()]}]
    made = config.build({"_target_": f"{__name__}.keep"}, things=things)
    assert made is things


def keep(things):
    return things


def open_folder(root: Path, other: Path | None = None, name: str = "x"):
    return root, other, name


def test_text_becomes_a_path_where_the_target_wants_one():
    node = {"_target_": f"{__name__}.open_folder", "root": "a/b", "other": None, "name": "c"}
    assert config.build(node) == (Path("a/b"), None, "c")


@pytest.mark.parametrize("key", ["head", ""])
def test_build_turns_a_refusal_into_a_config_error(key):
    node = {"_target_": f"{__name__}.Spring", "margin": 3}
    with pytest.raises(ConfigError, match=f"{'head.' if key else 'Spring: '}margin=3: at most 2"):
        config.build(node, key)
    with pytest.raises(ConfigError, match="margin=3: at most 2"):
        config.build({"_target_": f"{__name__}.Spring", "miner": node}, "head")
    with pytest.raises(ConfigError, match="margin=3: at most 2"):
        config.build({**node, "_partial_": True}, key)()


def test_entries_have_the_comment_behind_the_value(conf):
    found = catalogue.entries(conf / "head" / "flat.yaml")
    assert [(entry.key, entry.text, entry.comment) for entry in found] == [
        ("margin", "0.1", "how # far"),
        ("name", "${dataset}", ""),
        ("size", "[1, 1]", ""),
    ]
    nested = catalogue.entries(conf / "loss" / "tension.yaml")
    assert [entry.key for entry in nested] == ["tension.weight", "tension.margin"]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_fits_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = usage.job_usage("brick", "Lay bricks", "lookalike brick", Brick)
    assert max(map(len, text.splitlines())) <= columns
    for word in (
        "epochs=3",
        "Rounds.",
        "dataset=…",
        "Required.",
        "* flat",
        "A flat head.",
        "tension",
        "One of auto.",
    ):
        assert word in text


def test_help_of_a_choice_lists_its_values():
    text = usage.job_usage(
        "brick", "Lay bricks", "lookalike brick", Brick, ["loss=[spring,tension]", "epochs=1"]
    )
    assert "loss.spring.margin=0.2" in text
    assert "How far." in text
    assert "loss.tension.weight=0.5" in text
    assert "head.name=…  Required. Which one." in usage.job_usage("brick", "", "", Brick, ["head=timm"])
    assert "has no values to set" in usage.job_usage("brick", "", "", Brick, ["head=bare"])
    with pytest.raises(ConfigError, match="Did you mean spring"):
        usage.job_usage("brick", "", "", Brick, ["loss=sprin"])
