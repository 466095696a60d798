#!/usr/bin/env python3
"""The Kubernetes manifests of examples/cluster: valid for the oldest version that the pages name, one between and the newest that
kubernetes-validate (PyPI) knows, and right where a schema cannot tell: an API server refuses what is broken in ways that
--strict lets through. Every rule is seen to find a manifest that breaks it.

    python3 tools/check_kubernetes.py
"""

import copy
import pathlib
import re

import kubernetes_validate
import yaml

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "examples/cluster"
VERSIONS = ["1.29", "1.34", "1.37"]
UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity(text):
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", str(text))
    return float(found[1]) * UNITS[found[2]] if found and found[2] in UNITS else None


def of_any_job(job):
    """What is wrong with a Job, by the documented rules of the API server and of medsegx"""
    pod = job["spec"]["template"]["spec"]
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", job["metadata"]["name"]):
        yield "name: lower-case letters, digits and -"
    if pod.get("restartPolicy") != "Never":
        yield "restartPolicy: Never, which exit code rules need too"
    for holder, name in ((job["spec"], "activeDeadlineSeconds"), (job["spec"], "ttlSecondsAfterFinished")):
        if holder.get(name, 0) < 0:
            yield f"{name}: 0 or more"
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    for container in pod["containers"]:
        command = container.get("command", [])
        if not command or command[0] != "medsegx":
            yield "command: medsegx itself, which a shell would keep signals from"
        if not {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes:
            yield "volumeMounts: a volume of the pod"
        resources = container.get("resources", {})
        for name in ("cpu", "memory"):
            request, limit = (quantity(resources.get(kind, {}).get(name)) for kind in ("requests", "limits"))
            if request is None or limit is None or limit < request:
                yield f"{name}: a quantity, the limit not below the request"


def of_shards(job):
    """What is wrong with an Indexed Job of shards"""
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    if spec.get("completionMode") != "Indexed":
        yield "completionMode: Indexed"
    completions = spec.get("completions", 0)
    words = [word for own in pod["containers"] for word in own.get("command", []) + own.get("args", [])]
    shards = words[words.index("--shard") + 1] if "--shard" in words[:-1] else ""
    if shards != f"$(JOB_COMPLETION_INDEX)/{completions}":
        yield "completions: the n of --shard, whose i is $(JOB_COMPLETION_INDEX)"
    if "--resume" not in words:
        yield "--resume: an index is tried again"
    if not 0 < spec.get("parallelism", 0) <= completions:
        yield "parallelism: 1 to completions"
    if "backoffLimitPerIndex" not in spec:
        yield "backoffLimitPerIndex: one shard's failures are not another's"
    if spec.get("maxFailedIndexes", 0) > completions:
        yield "maxFailedIndexes: at most completions"
    if pod.get("terminationGracePeriodSeconds", 30) < 10:
        yield "terminationGracePeriodSeconds: time to keep what is done"
    yield from of_rules(spec.get("podFailurePolicy", {}).get("rules", []), {own["name"] for own in pod["containers"]})


def of_rules(rules, containers):
    codes = {}
    for place, rule in enumerate(rules):
        if rule.get("action") not in ("FailJob", "FailIndex", "Ignore", "Count"):
            yield "action: FailJob, FailIndex, Ignore or Count"
        exit_codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if bool(exit_codes) == bool(conditions):
            yield "a rule: either onExitCodes or onPodConditions"
        for condition in conditions or []:
            if condition.get("status") != "True":
                yield "status: \"True\", which is required up to 1.34"
            if condition.get("type") == "DisruptionTarget" and (place, rule.get("action")) != (0, "Ignore"):
                yield "DisruptionTarget: ignored, before all other rules"
        if exit_codes:
            values = exit_codes.get("values", [])
            if values != sorted(set(values)) or not values:
                yield "values: sorted, each once"
            if exit_codes.get("operator") == "In" and 0 in values:
                yield "values: not 0 in a list of In"
            if exit_codes.get("containerName") not in containers:
                yield "containerName: one of the pod"
            codes.update(dict.fromkeys(values, rule.get("action")))
    if codes.get(3) != "FailIndex" or codes.get(2) != "FailJob":
        yield "exit codes: 3 ends the index, 2 the job"
    if not any(condition["type"] == "DisruptionTarget" for rule in rules for condition in rule.get("onPodConditions") or []):
        yield "DisruptionTarget: a rule of its own"


def wrong(job):
    return [*of_any_job(job), *(of_shards(job) if job["spec"].get("completions") else [])]


POLICY = ("spec", "podFailurePolicy", "rules")
POD = ("spec", "template", "spec")
CONTAINER = (*POD, "containers", 0)
# Where a good manifest is broken, how, and which rule has to say so.
BREAKS = [
    (("metadata", "name"), "Seg_Job", "name:"),
    ((*POD, "restartPolicy"), "OnFailure", "restartPolicy:"),
    (("spec", "activeDeadlineSeconds"), -1, "activeDeadlineSeconds:"),
    (("spec", "completionMode"), "indexed", "completionMode:"),
    (("spec", "completions"), 5, "completions:"),
    (("spec", "parallelism"), 9, "parallelism:"),
    (("spec", "backoffLimitPerIndex"), None, "backoffLimitPerIndex:"),
    (("spec", "maxFailedIndexes"), 5, "maxFailedIndexes:"),
    ((*POD, "terminationGracePeriodSeconds"), 1, "terminationGracePeriodSeconds:"),
    ((*CONTAINER, "command"), ["sh", "-c", "medsegx batch"], "command:"),
    ((*CONTAINER, "args"), ["--shard", "$(JOB_COMPLETION_INDEX)/3"], "completions:"),
    ((*CONTAINER, "args"), ["--shard", "1/4"], "completions:"),
    ((*CONTAINER, "volumeMounts", 0, "name"), "other", "volumeMounts:"),
    ((*CONTAINER, "resources", "limits", "cpu"), "two", "cpu:"),
    ((*CONTAINER, "resources", "limits", "memory"), "1Gi", "memory:"),
    ((*POLICY, 1, "action"), "FailIdx", "action:"),
    ((*POLICY, 0, "onPodConditions", 0, "status"), "False", "status:"),
    ((*POLICY, 0, "action"), "Count", "DisruptionTarget:"),
    ((*POLICY, 0, "onPodConditions"), None, "a rule:"),
    ((*POLICY, 1, "onPodConditions"), [{"type": "Ready", "status": "True"}], "a rule:"),
    ((*POLICY, 1, "onExitCodes", "values"), [2, 0], "values:"),
    ((*POLICY, 1, "onExitCodes", "values"), [0, 2], "values: not 0"),
    ((*POLICY, 1, "onExitCodes", "values"), [4], "exit codes:"),
    ((*POLICY, 1, "onExitCodes", "containerName"), "other", "containerName:"),
]


def broken(job, path, value):
    job = copy.deepcopy(job)
    holder = job
    for step in path[:-1]:
        holder = holder[step]
    if value is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return job


def main():
    jobs = {path.name: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
    assert len(jobs) == 2, jobs.keys()
    for name, job in jobs.items():
        for version in VERSIONS:
            kubernetes_validate.validate(job, version, strict=True)
        assert not wrong(job), f"{name}: {wrong(job)}"
    shards, let_through = jobs["kubernetes-job.yaml"], 0
    for path, value, rule in BREAKS:
        bad = broken(shards, path, value)
        assert any(said.startswith(rule) for said in wrong(bad)), f"{path} = {value}: {wrong(bad)}"
        try:
            kubernetes_validate.validate(bad, VERSIONS[-1], strict=True)
            let_through += 1
        except kubernetes_validate.ValidationError:
            pass
    print(f"{len(jobs)} manifests for Kubernetes {', '.join(VERSIONS)}; {len(BREAKS)} broken ones found by their rule, "
          f"{let_through} of which strict validation lets through")


if __name__ == "__main__":
    main()
