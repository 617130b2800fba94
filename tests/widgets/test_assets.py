"""The texts that the browser gets: every module once, needed ones first, in one scope."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from workbench.widgets import assets
from workbench.widgets.assets import script, style

STATIC = Path(assets.__file__).parent / "static"


def _write(folder: Path, **modules: str) -> Path:
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder


def test_modules_come_once_and_after_what_they_need(tmp_path: Path) -> None:
    folder = _write(
        tmp_path,
        a='import { b } from "./b.js";\nimport { c, d } from "./c.js";\nexport default { b, c, d };\n',
        b='import { c } from "./c.js";\nexport const b = c + 1;\n',
        c="export const c = 1;\nexport function d() {}\n",
    )
    text = script("a.js", folder)
    assert text.index("const c = 1") < text.index("const b = c") < text.index("export default")
    assert text.count("const c = 1") == 1
    assert "import" not in text
    assert re.findall(r"^export.*", text, re.MULTILINE) == ["export default { b, c, d };"]


def test_comments_and_indents_stay_behind_and_code_does_not(tmp_path: Path) -> None:
    folder = _write(
        tmp_path,
        a="/** What a is.\n * @returns {number}\n */\nexport function a() {\n  // why\n  return 2 // two\n"
        "    * 3;\n}\nexport default `http://a`; /* said */\n",
    )
    assert script("a.js", folder) == (
        "// a.js\nfunction a() {\nreturn 2 // two\n* 3;\n}\nexport default `http://a`; /* said */\n"
    )


def test_a_template_of_several_lines_is_refused(tmp_path: Path) -> None:
    folder = _write(tmp_path, a="// a `name\nconst a = `${1}` + `one\n  two`;\n")
    with pytest.raises(ValueError, match=r"a\.js: a template literal has to end in its line"):
        script("a.js", folder)


def test_a_name_used_by_two_modules_is_refused(tmp_path: Path) -> None:
    folder = _write(
        tmp_path,
        a='import { b } from "./b.js";\nconst size = 1;\n',
        b="const size = 2;\nexport const b = 1;\n",
    )
    with pytest.raises(ValueError, match=r"size is a top-level name of b\.js and of a\.js"):
        script("a.js", folder)


def test_modules_that_need_each_other_are_refused(tmp_path: Path) -> None:
    folder = _write(
        tmp_path,
        a='import { b } from "./b.js";\nexport const a = 1;\n',
        b='import { a } from "./a.js";\nexport const b = 1;\n',
    )
    with pytest.raises(ValueError, match=r"a\.js → b\.js → a\.js"):
        script("a.js", folder)


@pytest.mark.parametrize(
    "line",
    [
        'import * as b from "./b.js";',
        'import b from "./b.js";',
        'import { b } from "../b.js";',
        'import { b } from "https://cdn.example/b.js";',
        "export { b };",
    ],
)
def test_other_ways_to_import_and_export_are_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)):
        script("a.js", _write(tmp_path, a=f"{line}\n", b="export const b = 1;\n"))


def test_only_the_entry_has_a_default_export(tmp_path: Path) -> None:
    folder = _write(tmp_path, a='import { b } from "./b.js";\n', b="export const b = 1;\nexport default b;\n")
    with pytest.raises(ValueError, match=r"b\.js.*export default in entries alone|b\.js: expected"):
        script("a.js", folder)


def test_an_import_of_what_is_not_exported_is_refused(tmp_path: Path) -> None:
    folder = _write(tmp_path, a='import { b, c } from "./b.js";\n', b="export const b = 1;\nconst c = 2;\n")
    with pytest.raises(ValueError, match=r"a\.js imports c, which b\.js does not export"):
        script("a.js", folder)


def test_a_missing_module_is_named_with_its_reader(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.js, which a\.js imports"):
        script("a.js", _write(tmp_path, a='import { x } from "./gone.js";\n'))


@pytest.mark.parametrize(
    "entry",
    [file.name for file in sorted(STATIC.glob("*.js")) if "export default" in file.read_text("utf-8")],
)
def test_every_entry_is_one_module_that_node_can_parse(entry: str) -> None:
    text = script(entry)
    assert len(re.findall("^export default", text, re.MULTILINE)) == 1
    assert not re.search("^import", text, re.MULTILINE)
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    done = subprocess.run(
        [node, "--check", "--input-type=module"], input=text, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_texts_reach_outside_nowhere() -> None:
    for file in [*STATIC.glob("*.js"), *STATIC.glob("*.css")]:
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert "http:" not in text, file.name
        assert "https:" not in text, file.name
        assert "innerHTML" not in text, file.name


def test_the_shared_style_sheet_leads() -> None:
    text = style()
    assert text.startswith((STATIC / "view.css").read_text("utf-8"))
    assert all(sheet.read_text("utf-8") in text for sheet in STATIC.glob("*.css"))
