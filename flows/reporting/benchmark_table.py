"""What the terminal shows of a benchmark: our figures beside the published ones."""

from typing import Any

from rich.text import Text

from flows.reporting import console


def show(outcome: dict[str, Any]) -> None:
    """Our figures beside the published ones, what differs, and where everything is."""
    train, val = (outcome["images"].get(split) for split in ("train", "val"))
    trained = "" if train is None else f"trained on {train} images, "
    title = f"{outcome['benchmark']}, percent; {trained}evaluated on {val}"
    rows = console.table(title, ("system", "backbone"), ("accuracy / mIoU", "linear probe"))
    for row in outcome["rows"]:
        if row["accuracy"] is not None:
            ours, probe = _pair(row), _pair(row, "linear_")
            rows.add_row(Text(row["system"]), Text(row["backbone"]), ours, probe)
    console.results.print(rows)
    for departure in outcome["departures"]:
        console.line(f"not as published: {departure}")
    for difference in outcome["differences"]:
        console.line(f"differs from the released code: {difference}")
    for remark in filter(None, (outcome["counting"], _label_selected(outcome["best"]))):
        console.line(remark)
    if outcome["unusable"]:
        console.say(
            f"warning: {outcome['unusable']} images could not be used, so the figures do not "
            "compare with published ones; the report lists them. Mend them and run again in "
            "another --workspace"
        )
    for name, place in outcome["figures"].items():
        console.line(f"{name}: {place}")
    for kind in ("figure", "table", "document", "report"):
        console.line(f"{kind}: {outcome[kind]}")


def _pair(figures: dict[str, Any], prefix: str = "") -> str:
    names = f"{prefix}accuracy", f"{prefix}miou"
    return " / ".join(console.figure(figures[name]) for name in names)


def _label_selected(best: dict[str, Any] | None) -> str | None:
    if best is None:
        return None
    return (
        f"best of the checkpoints, chosen by the validation labels: {_pair(best)} after "
        f"{best['steps']} steps"
    )
