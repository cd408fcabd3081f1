import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def check_names():
    spec = importlib.util.spec_from_file_location("check_names", ROOT / "tools" / "check_names.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["found", "_told", "counted", "written", "within", "drawn", "chosen"])
def test_a_lone_participle_or_vague_word_is_no_name_for_a_function(check_names, name):
    problems = check_names.find_problems(f"class A:\n    def {name}(self): ...\n", "a.py", bindings=False)
    assert [line for line, _ in problems] == [2]


@pytest.mark.parametrize(
    "name", ["embed", "rank_gallery", "count_pairs", "has_collapsed", "effective_rank", "open"]
)
def test_verbs_with_objects_and_nouns_are_names_for_functions(check_names, name):
    assert not check_names.find_problems(f"def {name}(): ...\n", "a.py", bindings=True)


BINDINGS = {
    "variable": "found = 1",
    "constant": "PLACE = 1",
    "parameter": "def f(*, at): ...",
    "lambda": "f = lambda told: told",
    "loop": "for place in range(3): pass",
    "comprehension": "x = [own for own in 'ab']",
    "field": "class A:\n    which: int",
    "attribute": "class A:\n    def f(self):\n        self._place = 1",
    "error": "try:\n    pass\nexcept ValueError as said:\n    pass",
    "with": "with open('a') as beside: pass",
    "walrus": "if (where := 1): pass",
}


@pytest.mark.parametrize("kind", BINDINGS)
def test_a_vague_word_is_no_name_for_anything_in_the_package(check_names, kind):
    assert len(check_names.find_problems(BINDINGS[kind], "a.py", bindings=True)) == 1
    assert not check_names.find_problems(BINDINGS[kind], "a.py", bindings=False)


def test_every_exception_is_needed(check_names):
    for file, allowed in sorted(check_names.ALLOWED):
        tree = check_names.ast.parse((ROOT / "src" / file).read_text())
        names = {name for _, name in check_names.binding_names(tree)}
        assert allowed in names, f"{file}: {allowed} is gone, so it need not be allowed"


def test_all_names_of_the_project_pass(check_names, capsys):
    assert check_names.main(ROOT) == 0, capsys.readouterr().out
