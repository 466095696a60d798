#!/usr/bin/env python3
"""Circles among the files of src/, and arrows that go up between its rooms.

An arrow goes from a file to the file that defines what it names by `use` or by a path, followed through re-exports; tests are
left out, and so is the `mod` with which a file declares its parts. Prints every circle and ends with 1 where there is one.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent / "src"
ITEM = re.compile(
    r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:unsafe\s+)?(?:const\s+)?(?:extern\s+\"C\"\s+)?"
    r"(?:fn|struct|enum|trait|static|type|const|union|macro_rules!)\s+(\w+)",
    re.M,
)


def without_tests(text):
    text = re.sub(r"//[^\n]*", "", text)
    found = re.search(r"#\[cfg\(test\)\]\s*mod \w+ \{", text)
    return text[: found.start()] if found else text


def module_of(path):
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] in ("mod", "lib"):
        parts.pop()
    return tuple(parts)


FILES = {}
for path in sorted(ROOT.rglob("*.rs")):
    if path.name not in ("tests.rs", "main.rs"):
        FILES[module_of(path)] = without_tests(path.read_text())
ITEMS = {module: set(ITEM.findall(text)) for module, text in FILES.items()}


def expand(tree):
    """The paths of a use tree."""
    tree = tree.strip()
    if "{" not in tree:
        return [tree]
    head, rest = tree.split("{", 1)
    rest = rest[: rest.rindex("}")]
    parts, depth, start = [], 0, 0
    for at, c in enumerate(rest):
        depth += (c == "{") - (c == "}")
        if c == "," and depth == 0:
            parts.append(rest[start:at])
            start = at + 1
    parts.append(rest[start:])
    return [head + path for part in parts if part.strip() for path in expand(part)]


def uses(module):
    for public, tree in re.findall(r"^\s*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", FILES[module], re.M):
        for path in expand(re.sub(r"\s+", " ", tree)):
            path, _, alias = path.partition(" as ")
            names = [name.strip() for name in path.strip().split("::")]
            if names[-1] == "self":
                names.pop()
            yield bool(public), names, alias.strip() or names[-1]


def absolute(module, names):
    if names[0] == "crate":
        return tuple(names[1:])
    base, names = list(module), list(names)
    if names[0] == "self":
        return tuple(base + names[1:])
    if names[0] == "super":
        while names and names[0] == "super":
            base.pop()
            names.pop(0)
        return tuple(base + names)
    if tuple(base + [names[0]]) in FILES:
        return tuple(base + names)
    return None


def resolve(path, seen=()):
    """The file that defines what `path` names."""
    if path is None or path in seen:
        return None
    if path in FILES:
        return path
    for cut in range(len(path) - 1, -1, -1):
        module, rest = path[:cut], path[cut:]
        if module not in FILES:
            continue
        if rest[0] in ITEMS[module]:
            return module
        for public, names, alias in uses(module):
            if alias == rest[0]:
                target = absolute(module, names)
                if target is not None:
                    return resolve(target + rest[1:], seen + (path,))
        return None
    return None


def arrows(module):
    text = FILES[module]
    paths = [names for _, names, _ in uses(module)]
    paths += [p.split("::") for p in re.findall(r"\b((?:crate|super|self)(?:::\w+)+)", text)]
    paths += [p.split("::") for p in re.findall(r"(?<![:\w])(\w+(?:::\w+)+)", text)]
    found = {resolve(absolute(module, names)) for names in paths}
    public = {resolve(absolute(module, names)) for is_public, names, _ in uses(module) if is_public}
    private = {resolve(absolute(module, names)) for is_public, names, _ in uses(module) if not is_public}
    # A file that only hands something on does not need it.
    inline = {resolve(absolute(module, p.split("::"))) for p in re.findall(r"(?<![:\w])(\w+(?:::\w+)+)", re.sub(r"\buse\s[^;]+;", "", text))}
    return {f for f in found if f is not None and f != module and (f not in public or f in private or f in inline)}


def circles(graph):
    """Strongly connected components of more than one node."""
    index, low, stack, on, out, counter = {}, {}, [], set(), [], [0]

    def visit(node):
        index[node] = low[node] = counter[0]
        counter[0] += 1
        stack.append(node)
        on.add(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = []
            while True:
                other = stack.pop()
                on.discard(other)
                part.append(other)
                if other == node:
                    break
            if len(part) > 1:
                out.append(sorted(part))

    sys.setrecursionlimit(10000)
    for node in graph:
        if node not in index:
            visit(node)
    return out


def main():
    graph = {module: arrows(module) for module in FILES}
    of_files = circles(graph)
    rooms = {}
    for module, others in graph.items():
        if module:
            rooms.setdefault(module[0], set()).update(o[0] for o in others if o and o[0] != module[0])
    of_rooms = circles(rooms)
    for part in of_files:
        print("files:", ", ".join("/".join(m) or "lib" for m in part))
    for part in of_rooms:
        print("rooms:", ", ".join(part))
    if "-v" in sys.argv:
        for part in of_files:
            for m in part:
                print("  ", "/".join(m), "->", ", ".join("/".join(o) for o in graph[m] if o in part))
        for part in of_rooms:
            for module, others in graph.items():
                for other in others:
                    if module and other and module[0] in part and other[0] in part and module[0] != other[0]:
                        print("  ", "/".join(module), "->", "/".join(other))
    print(f"{len(FILES)} files, {sum(map(len, graph.values()))} arrows, {len(of_files)} circles of files, {len(of_rooms)} of rooms")
    return bool(of_files or of_rooms)


if __name__ == "__main__":
    sys.exit(main())
