"""Listings as people and programs write them: their columns, separators and mistakes."""

import pytest

from tests.data_in_the_wild.cases import Case, check
from tests.data_in_the_wild.making import as_json, in_folder, pictures

FILES = pictures(["0.png", "1.png", "2.png"])
CATS = {"cat": 2, "dog": 1}


def listing(name: str, text: str | bytes, **how) -> Case:
    """A case of a listing beside the three pictures, called by the listing's beginning."""
    return Case(f"{name} {text[:50]!r}", in_folder(FILES, {name: text}, source=name), **how)


CASES = [
    listing("a.tsv", "path\tlabel\n0.png\tcat\n1.png\tdog\n2.png\tcat\n", taken=CATS),
    listing("a.csv", "path;label\n0.png;cat\n1.png;dog\n2.png;cat\n", taken=CATS),
    listing("a.csv", "sep=;\npath;label\n0.png;cat\n1.png;dog\n2.png;cat\n", taken=CATS),
    listing("a.csv", "path|label\n0.png|cat\n1.png|dog\n2.png|cat\n", taken=CATS),
    listing("a.csv", "\ufeffPath , Label\r\n0.png, cat\r\n1.png, dog \r\n2.png, cat\r\n", taken=CATS),
    listing("a.csv", "Image File,Class Name\n0.png,cat\n1.png,dog\n2.png,cat\n".encode("utf-16"), taken=CATS),
    listing("a.csv", "0.png,cat\n1.png,dog\n2.png,cat\n", taken=CATS),
    listing("a.txt", "0.png cat\n1.png dog\n2.png cat\n", taken=CATS),
    listing("a.txt", "0.png\n1.png\n2.png\n", taken={None: 3}),
    listing("a.txt", "path\tlabel\n0.png\tcat\n1.png\tdog\n2.png\tcat\n", taken=CATS),
    listing("a.json", as_json([{"image": f"{i}.png", "label": c} for i, c in enumerate(["cat", "dog", "cat"])]), taken=CATS),
    listing("a.json", as_json({"0.png": "cat", "1.png": "dog", "2.png": "cat"}), taken=CATS),
    listing("a.json", as_json({"labels": [["0.png", "cat"], ["1.png", "dog"], ["2.png", "cat"]]}), taken=CATS),
    listing("a.json", as_json({"data": [{"path": "0.png", "class": "cat"}]}), taken={"cat": 1}),
    listing("a.json", '{"path": "0.png", "label": 0}\n{"path": "1.png", "label": 1}\n', taken={"0": 1, "1": 1}),
    listing("a.json", '{"images": [], "annotations": []}', refused="is no listing"),
    listing("a.json", "[" * 100_000, refused="nested too deeply"),
    listing("a.jsonl", '{"path": "0.png", "label": ' + "[" * 100_000, refused="line 1: no JSON"),
    listing("a.jsonl", '{"path": "0.png", "label": ["cat"]}', refused=r"line 1: label \['cat'\], neither"),
    *(
        listing("a.csv", f"path,{column}\n0.png,cat\n1.png,dog\n2.png,cat\n", taken=CATS)
        for column in ("labels", "target", "category", "y", "class_id", "Category ID", "className")
    ),
    listing("a.csv", "path,x,y\n0.png,3,1\n1.png,4,1\n", taken={None: 2}, says=["not used: 'x', 'y'"]),
    listing("a.csv", "path,lable\n0.png,cat\n1.png,dog\n", refused="'lable'; did you mean 'label'"),
    listing("a.csv", "path,colour\n0.png,red\n1.png,red\n", taken={None: 2}, says=["not used: 'colour'; --label_column colour takes one"]),
    Case("--label_column", in_folder(FILES, {"a.csv": "path,colour\n0.png,red\n1.png,red\n"}, source="a.csv"), options=["--label_column=colour"], taken={"red": 2}),
    Case("--image_column", in_folder(FILES, {"a.csv": "what,label\n0.png,red\n1.png,red\n"}, source="a.csv"), options=["--image_column=what"], taken={"red": 2}),
    Case("--label_column that is not there", in_folder(FILES, {"a.csv": "path,colour\n0.png,red\n"}, source="a.csv"), options=["--label_column=color"], refused="did you mean 'colour'"),
    listing("a.csv", "path,label,category,x\n0.png,cat,3,1\n1.png,dog,2,1\n", taken={"cat": 1, "dog": 1}, says=["column 'label'; not used: 'category', 'x'"]),
    listing("a.csv", "path,cat,dog\n0.png,1,0\n1.png,0,1\n2.png,1,0\n", taken=CATS, says=["columns 'cat', 'dog', of which one is 1"]),
    listing("a.csv", "path,cat,dog\n0.png,1,1\n1.png,0,1\n2.png,1,0\n", taken={None: 3}, says=["2 hold 0 and 1, and not one 1 in each row"]),
    listing("a.csv", "path,label,label\n0.png,1,2\n", refused="two columns called 'label'"),
    listing("a.csv", "path,label\n0,0.png,cat\n", refused="line 2: 3 cells under 2 columns"),
    listing("a.csv", 'path,label\n"0.png,cat\n1.png,dog\n2.png,cat\n', refused="quotation mark may be left open"),
    listing("a.csv", 'path,label\n"0.png,cat\n1.png,dog\n"2.png,cat\n', refused="quotation mark may be left open"),
    listing("a.csv", "path,label\n0.png,cat\n1.png,dog\n0.png,cat\n", taken={"cat": 2, "dog": 1}, says=["listed again, and are .* as often: 1, such as 0.png in line 4 and 2"]),
    listing("a.csv", "path,label\n0.png,cat\n1.png,dog\n./0.png,dog\n", taken={"cat": 1, "dog": 2}, says=["under another class.*: 1, such as ./0.png in line 4 and 2"]),
    listing("a.csv", "path,label\nhttps://example.org/0.png,cat\n", refused="line 2: https://example.org/0.png is a URL: download"),
    listing("a.csv", "path,label\nC:\\data\\0.png,cat\n", refused="line 2: C:.* path of a machine with Windows"),
    listing("a.csv", "path,label\n\\\\server\\0.png,cat\n", refused="path of a machine with Windows"),
    Case("backslashes in a listing", in_folder({f"a/{n}": b for n, b in FILES.items()}, {"a.csv": "path\na\\0.png\na\\1.png\n"}, source="a.csv"), taken={None: 2}, says=[r"paths with \\, taken for /: 2"]),
    listing("a.csv", "path\nx/0.png\nx/1.png\n", refused="x/0.png cannot be read, nor any other of the 2 files"),
    listing("a.csv", "path\n0.png\nx/1.png\n", refused="x/1.png cannot be read as an image .No such file"),
    listing("a.csv", "path\n0.png\n.\n", refused="cannot be read as an image .Is a directory"),
    listing("a.csv", "path,label\n0.png,k\xe4tzchen\n".encode("latin-1"), refused="no text in UTF-8"),
    listing("a.csv", "path,label\n0.png\n1.png\n", taken={None: 2}),
    listing("a.csv", "path\n" + "x" * 200_000, refused="cannot be read as a CSV file"),
    listing("a.csv", "what is this?", refused="no column 'path'"),
    listing("a.json", "[]", refused="lists no images"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_listings(case, tmp_path, capsys):
    check(case, tmp_path, capsys)
