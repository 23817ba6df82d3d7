"""The documents of an OpenSLO file, found by what refers to them."""

from __future__ import annotations

from scripts.slo_config.openslo_annotations import ANNOTATIONS
from scripts.slo_config.yaml_parts import Part, documents

VERSION = "openslo/v1"
KINDS = ("SLO", "SLI", "Service", "AlertPolicy", "AlertCondition", "AlertNotificationTarget")


class Objects:
    """The documents of a file by kind and name."""

    def __init__(self, text: str, source: str, faults: list[str], notes: list[str]) -> None:
        self.found: dict[tuple[str, str], Part] = {}
        self.used: set[tuple[str, str]] = set()
        for n, data in enumerate((d for d in documents(text, source) if d is not None), start=1):
            if not isinstance(data, dict):
                faults.append(f"document {n}: must be a mapping")
                continue
            kind, metadata = data.get("kind"), data.get("metadata")
            name = metadata.get("name") if isinstance(metadata, dict) else None
            part = Part(data, f"document {n} ({kind} {name})", "", faults, notes)
            if data.get("apiVersion") != VERSION:
                part.fault("apiVersion", f"must be {VERSION}")
            if kind not in KINDS:
                part.fault("kind", f"nothing here goes by a {kind}; known: {', '.join(KINDS)}")
            elif name_of(part) is not None:
                key = (str(kind), str(name))
                if key in self.found:
                    part.fault("metadata.name", f"is that of {self.found[key].label} too")
                self.found.setdefault(key, part)

    def of(self, kind: str) -> list[Part]:
        return [part for (found, _), part in self.found.items() if found == kind]

    def refer(self, part: Part, name: str, kind: str) -> Part | None:
        """What a field that names an object means; None with a fault where there is no such object."""
        wanted = part.text(name)
        if wanted is None:
            return None
        found = self.found.get((kind, wanted))
        if found is None:
            part.fault(name, f"there is no {kind} {wanted!r} in the file")
        self.used.add((kind, wanted))
        return found


def name_of(part: Part) -> str | None:
    """`metadata.name`; what else stands in `metadata` is checked and noted."""
    metadata = part.part("metadata")
    if metadata is None:
        return None
    metadata.only("name", "displayName", "labels", "annotations")
    metadata.note("labels", *(() if part.value.get("kind") == "SLO" else ("displayName",)))
    annotations = metadata.part("annotations", required=False)
    for name in annotations.value if annotations else ():
        if annotations and str(name).startswith("f0ops."):
            if part.value.get("kind") != "AlertPolicy" or name not in ANNOTATIONS:
                annotations.fault(name, f"known, in an AlertPolicy: {', '.join(ANNOTATIONS)}")
        elif annotations:
            annotations.note(name)
    return metadata.text("name")
