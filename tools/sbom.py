#!/usr/bin/env python3
"""Writes docs/soup/sbom.cdx.json: the packages of Cargo.lock that medsegx is built of, as CycloneDX 1.5.

    python3 tools/sbom.py            # writes it
    python3 tools/sbom.py --check    # fails where the committed one is stale

Licences are those that the packages state (cargo metadata). No time and no serial number, so that the same lock file gives the same
bytes."""

import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "docs/soup/sbom.cdx.json"


def used(metadata):
    """Ids of what the package itself needs to build and run, tests left out."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(package["id"] for package in metadata["packages"] if package["name"] == "medsegx")
    found, waiting = set(), [root]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for dependency in nodes[name]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return found


def component(package, hashes):
    name, version = package["name"], package["version"]
    entry = {"type": "library", "bom-ref": f"{name}@{version}", "name": name, "version": version}
    if package["source"]:
        entry["purl"] = f"pkg:cargo/{name}@{version}"
    if package["license"]:
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if (name, version) in hashes:
        entry["hashes"] = [{"alg": "SHA-256", "content": hashes[name, version]}]
    return entry


def lock_hashes():
    hashes, entry = {}, {}
    for line in (ROOT / "Cargo.lock").read_text().splitlines() + ["[[package]]"]:
        if line == "[[package]]":
            if "checksum" in entry:
                hashes[entry["name"], entry["version"]] = entry["checksum"]
            entry = {}
        elif " = " in line:
            key, value = line.split(" = ", 1)
            entry[key] = value.strip('"')
    return hashes


def document():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    wanted, hashes = used(metadata), lock_hashes()
    packages = sorted((p for p in metadata["packages"] if p["id"] in wanted), key=lambda p: (p["name"], p["version"]))
    root = next(package for package in packages if package["name"] == "medsegx")
    names = {package["id"]: f"{package['name']}@{package['version']}" for package in packages}
    nodes = [node for node in metadata["resolve"]["nodes"] if node["id"] in wanted]
    depends = [
        {"ref": names[node["id"]], "dependsOn": sorted({names[d["pkg"]] for d in node["deps"] if d["pkg"] in wanted})}
        for node in sorted(nodes, key=lambda node: names[node["id"]])
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**component(root, {}), "type": "application"}},
        "components": [component(package, hashes) for package in packages if package is not root],
        "dependencies": depends,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail where the committed file is stale")
    check = parser.parse_args().check
    text = json.dumps(document(), indent=1) + "\n"
    if not check:
        FILE.write_text(text)
    elif FILE.read_text() != text:
        sys.exit(f"{FILE.relative_to(ROOT)} is stale: python3 tools/sbom.py")
    print(f"{text.count('bom-ref')} packages")


if __name__ == "__main__":
    main()
