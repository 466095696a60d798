#!/usr/bin/env python3
"""The public API, item by item with its declarations, as rustdoc shows it: docs/public-api.txt.

    cargo doc --no-deps && python3 tools/public_api.py [--check] [--doc target/doc/medsegx]

What is `#[doc(hidden)]` has no page and is no part of it. With --check nothing is written: it prints the lines that differ
and ends with 1 where there are any.
"""

import argparse
import difflib
import html.parser
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = ROOT / "docs" / "public-api.txt"
HEAD = "The public API of medsegx, by tools/public_api.py: a change here is a change for those who build on it.\n\n"
# Elements without an end.
VOID = {"br", "wbr", "img", "input", "hr", "link", "meta"}
TRAIT = re.compile(r"impl(?:<.*?>)? ([A-Z]\w*)(?:<.*>)? for ")
# Traits that types have without being given them.
AUTOMATIC = {
    "Any", "Borrow", "BorrowMut", "CastableFrom", "CloneToUninit", "DeserializeOwned", "Equivalent",
    "ErasedDestructor", "Freeze", "From", "Into", "IntoEither", "Pointable", "Read", "Receiver", "RefUnwindSafe",
    "Same", "StructuralPartialEq", "ToOwned", "ToString", "TryFrom", "TryInto", "Unpin", "UnsafeUnpin",
    "UnwindSafe",
}


class Code(html.parser.HTMLParser):
    """Texts of the declarations on a page, and the links of the list of all items."""

    def __init__(self):
        super().__init__()
        self.found, self.links, self.depth, self.text = [], [], 0, ""

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        classes = (attributes.get("class") or "").split()
        if self.depth:
            self.depth += tag not in VOID
        elif (tag == "pre" and "item-decl" in classes) or (tag in ("h3", "h4") and "code-header" in classes):
            self.depth, self.text = 1, ""
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])

    def handle_endtag(self, tag):
        if self.depth and tag not in VOID:
            self.depth -= 1
            if self.depth == 0:
                # Comments, and the button in front of many fields.
                code = re.sub(r"/\*.*?\*/|// [^\n]*|Show \d+ \w+", "", self.text)
                self.found.append(re.sub(r"\s+", " ", code).strip())

    def handle_data(self, data):
        if self.depth:
            self.text += data


def page(path):
    code = Code()
    code.feed(path.read_text(encoding="utf-8"))
    return code


def listing(folder):
    lines = []
    for link in sorted({link for link in page(folder / "all.html").links if re.match(r"[\w/]*\w+\.\w+\.html$", link)}):
        kind, name = pathlib.PurePosixPath(link).name.split(".")[:2]
        path = "::".join(["medsegx", *pathlib.PurePosixPath(link).parent.parts, name])
        first, *rest = page(folder / link).found or [""]
        lines.append(f"{kind} {path}\n    {first}")
        members = [text for text in rest if text.startswith("pub ")]
        lines.extend(f"    {text}" for text in dict.fromkeys(members))
        traits = {found[1] for text in rest if (found := TRAIT.match(text)) and found[1] not in AUTOMATIC}
        if traits:
            lines.append(f"    impl {', '.join(sorted(traits))}")
    return HEAD + "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--doc", type=pathlib.Path, default=ROOT / "target" / "doc" / "medsegx")
    arguments = parser.parse_args()
    found = listing(arguments.doc)
    if not arguments.check:
        LIST.write_text(found, encoding="utf-8")
        print(f"wrote {LIST.relative_to(ROOT)}: {found.count(chr(10))} lines")
        return 0
    known = LIST.read_text(encoding="utf-8")
    if known == found:
        return 0
    sys.stdout.writelines(difflib.unified_diff(
        known.splitlines(True), found.splitlines(True), "docs/public-api.txt", "as documented", n=0))
    print("the public API is not that of docs/public-api.txt: python3 tools/public_api.py writes it anew")
    return 1


if __name__ == "__main__":
    sys.exit(main())
